package admin

import (
	"encoding/json"
	"net/http"
	"testing"
)

// Whatever a body holds, the answer is a plain one, never a fault of ours, and
// the state stays whole.
func FuzzBodies(f *testing.F) {
	routes := []struct{ verb, path string }{
		{"POST", "/v1/nodes"}, {"POST", "/v1/sources"}, {"POST", "/v1/tenants"}, {"POST", "/v1/accounts"},
		{"PATCH", "/v1/accounts/info@acme.example"}, {"PUT", "/v1/tenants/acme/domains/acme.example"}, {"PUT", "/v1/tenants/acme/place"},
		{"PUT", "/v1/tenants/acme/hold"}, {"PUT", "/v1/routes/x.example"}, {"PUT", "/v1/nodes/n1/maintenance"}, {"POST", "/v1/queue/flush"},
	}
	for _, body := range bodies {
		for i := range routes {
			f.Add(uint8(i), []byte(body))
		}
	}
	f.Add(uint8(3), []byte(`{"tenant":"acme","username":"a@b.example","plan":{"max_size":-1},"networks":["::/0","0.0.0.0/0"]}`))
	f.Add(uint8(2), []byte(`{"name":"\u0000","hostname":"\ud800","home":{"node":"n1","source":"192.0.2.11%eth0"}}`))
	w := newWorld(f)
	s, start := newServer(f, w), w.st
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		w.st, w.index = start, start.Index() // a state never changes, so it can be gone back to
		r := routes[int(which)%len(routes)]
		rec := tell(s, operatorToken, r.verb, r.path, string(body))
		if rec.Code >= 500 || rec.Code < 200 {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
		if rec.Code != http.StatusNoContent && !json.Valid(rec.Body.Bytes()) {
			t.Fatalf("no JSON: %s", rec.Body)
		}
		if err := w.State().Check(); err != nil {
			t.Fatalf("state: %v", err)
		}
	})
}

// Whatever an Authorization header and a path hold, only the tokens open.
func FuzzIdentify(f *testing.F) {
	s := newServer(f, newWorld(f))
	f.Add("Bearer " + operatorToken + " ")
	f.Add("Bearer  x")
	f.Fuzz(func(t *testing.T, header string) {
		if who, ok := s.identify(header); ok && who != (caller{}) {
			if h := TokenHash(header[len("Bearer "):]); h != TokenHash(operatorToken) && h != TokenHash(tokenA) && h != TokenHash(tokenB) {
				t.Fatalf("%q opens as %+v", header, who)
			}
		}
	})
}
