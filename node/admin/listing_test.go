package admin

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

// A source's standing is shown with every node's answer, and a zones file with
// faults is refused with all of them.
func TestListingRoutes(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	if rec := tell(s, operatorToken, http.MethodPut, "/v1/lists", `{"zones":"y"}`); rec.Code != 422 || !strings.Contains(rec.Body.String(), "and that") {
		t.Errorf("a bad file: %d %s", rec.Code, rec.Body)
	}
	if rec := tell(s, operatorToken, http.MethodPut, "/v1/lists", `{"zones":"x","round":"1ns"}`); rec.Code != 422 {
		t.Errorf("a bad round: %d %s", rec.Code, rec.Body)
	}
	rec := tell(s, operatorToken, http.MethodGet, "/v1/listings/192.0.2.10", "")
	if !strings.Contains(rec.Body.String(), `"level":"unheard"`) {
		t.Errorf("without lists: %s", rec.Body)
	}
	rec = tell(s, operatorToken, http.MethodPut, "/v1/lists", `{"zones":"x","round":"2s"}`)
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), `"every":"1s"`) || !strings.Contains(rec.Body.String(), `"apart":"2s"`) {
		t.Fatalf("a good file: %d %s", rec.Code, rec.Body)
	}
	src := w.State().SourceByAddr(netip.MustParseAddr("192.0.2.10"))
	op := tenant.Observe{Node: 1, Seen: []tenant.Seen{{Source: src.ID, Zone: "zen.test", At: time.Now().Add(-time.Second), Values: []netip.Addr{netip.MustParseAddr("127.0.0.2")}, Text: "bad"}}}
	if _, _, err := w.Propose(context.Background(), tenant.RequestID{}, op); err != nil {
		t.Fatal(err)
	}
	rec = tell(s, operatorToken, http.MethodGet, "/v1/listings/192.0.2.10", "")
	for _, want := range []string{`"level":"warning"`, `"delist":"https://zen.test/?192.0.2.10"`, `"codes":["127.0.0.2"]`, `"means":["spam"]`, `"text":"bad"`, `"node":"n1"`} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("no %s in %s", want, rec.Body)
		}
	}
	now := time.Now().Add(-time.Second)
	denied := tenant.Denied{Node: src.Node, Denials: []tenant.Denial{{Source: src.ID, At: now, Attempts: 400, Refused: 20, Messages: 20,
		Providers: []tenant.ProviderDenial{{Provider: "comcast", Refused: 10, Messages: 10}, {Provider: "gmx", Refused: 6, Messages: 6}, {Provider: "yahoo", Refused: 4, Messages: 4}},
		Named:     []tenant.Naming{{Zone: "zen.test", At: now}}}}}
	if _, _, err := w.Propose(context.Background(), tenant.RequestID{}, denied); err != nil {
		t.Fatal(err)
	}
	told := tenant.ListTold{Node: src.Node, Notices: []tenant.ListNotice{{Zone: "bl.spamcop.net", At: now, Sources: []tenant.SourceID{src.ID}}}}
	if _, _, err := w.Propose(context.Background(), tenant.RequestID{}, told); err != nil {
		t.Fatal(err)
	}
	rec = tell(s, operatorToken, http.MethodGet, "/v1/listings/192.0.2.10", "")
	if !strings.Contains(rec.Body.String(), `"written":[{"zone":"bl.spamcop.net","first":`) {
		t.Errorf("what an operator wrote is not in %s", rec.Body)
	}
	for _, want := range []string{`"attempts":400,"refused":20,"messages":20,"providers":[{"provider":"comcast","refused":10},`, `"named":["zen.test"],"counts":50}`} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("no %s in %s", want, rec.Body)
		}
	}
	rec = tell(s, operatorToken, http.MethodGet, "/v1/listings", "")
	if strings.Count(rec.Body.String(), `"addr"`) != 4 {
		t.Errorf("the list is %s", rec.Body)
	}
}
