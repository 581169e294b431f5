package cluster

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"postern/tenant"
)

// FuzzCalls gives a leader's answers to other nodes any octets: it never
// panics, every answer can be read, and nothing but a good command changes the
// state.
func FuzzCalls(f *testing.F) {
	good, err := tenant.EncodeCommand(tenant.Command{Request: tenant.RequestID{1}, At: time.Unix(1_800_000_000, 0), Op: tenant.AddNode{Name: "x"}})
	if err != nil {
		f.Fatal(err)
	}
	noID, err := tenant.EncodeCommand(tenant.Command{At: time.Unix(1_800_000_000, 0), Op: tenant.AddNode{Name: "y"}})
	if err != nil {
		f.Fatal(err)
	}
	ask, err := json.Marshal(leaseAsk{Index: 7, Digest: make([]byte, 32), Wall: 1, Want: true})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{good, noID, ask, []byte("{}"), []byte(`{"Index":18446744073709551615,"Wall":-9223372036854775808}`), nil, make([]byte, MaxCommand+1)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, req []byte) {
		synctest.Test(t, func(t *testing.T) {
			x := newTrio(t, 1)
			leader := x.awaitLeader()
			before := leader.State().Index()
			body, err := leader.answerPropose(t.Context(), "n2", req)
			var a forwardAnswer
			if err != nil || json.Unmarshal(body, &a) != nil {
				t.Fatalf("%q, %v", body, err)
			}
			if _, err := tenant.DecodeCommand(req); (err != nil || len(req) > MaxCommand) && (a.Status == forwardDone || leader.State().Index() != before) {
				t.Errorf("carried out: %+v", a)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, _ = answering(leader.answerLease)(ctx, "n1", req)
			_, _ = answering(leader.answerRead)(ctx, "n1", req)
			leader.judgeClock()
			leader.lagging()
			_ = leader.Status()
			if r, err := leader.readOnce(ctx); err != nil || r == nil {
				t.Errorf("read after it: %v", err)
			}
		})
	})
}
