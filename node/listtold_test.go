package node

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"postern/node/bounce"
	"postern/node/submission"
	"postern/tenant"
)

// A notice in the name of a list's operator counts when the operator signed it:
// for the account whose reference it returns, and about the sources it names.
func TestSignedNoticesAreTold(t *testing.T) {
	st := clinicState(t, nil)
	do := func(op tenant.Op) {
		t.Helper()
		next, _, err := tenant.Apply(st, st.Index()+1, tenant.Command{At: time.Now(), Op: op})
		if err != nil {
			t.Fatal(err)
		}
		st = next
	}
	do(tenant.AddAccount{Tenant: 1, Username: "news@shoes.test"})
	seal, err := newSealer(make([]byte, secretSize))
	if err != nil {
		t.Fatal(err)
	}
	l := newListTold("n1", nil, seal.references, discard())
	r, err := newReports(newKeptReports(filepath.Join(t.TempDir(), "intake")), func() *tenant.State { return st }, newHeard("n1", nil, seal.references, discard()), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r.signed = l.notice
	take := func(p submission.Proof, account tenant.AccountID, addrs ...string) {
		t.Helper()
		x := submission.IntakeReport{At: time.Now(), Proof: p}
		x.Kind, x.Zone, x.Rcpt = bounce.KindList, "bl.spamcop.net", -1
		x.By = submission.ByNothing
		if account != 0 {
			x.By, x.Tenant, x.Account, x.Transaction = submission.ByReference, 1, account, [16]byte{9}
		}
		for _, a := range addrs {
			x.Clues.Sources = append(x.Clues.Sources, netip.MustParseAddr(a))
		}
		if err := r.Take(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	take(submission.ProofAbsent, 1, "127.77.1.11")
	take(submission.ProofBlind, 1, "127.77.1.11")
	take(submission.ProofSigned, 0, "192.0.2.99") // of nobody here
	if len(l.notices) != 0 {
		t.Fatalf("%+v is to be told", l.notices)
	}
	take(submission.ProofSigned, 1, "192.0.2.99", "127.77.2.12", "127.77.1.11", "127.77.2.12")
	take(submission.ProofSigned, 7, "127.77.1.12") // an account that is gone
	if op, _ := l.batch(st, time.Now()); op != nil {
		t.Fatalf("%+v is told to programs that do not know it", op)
	}
	version := uint32(tenant.NewestVersion)
	for n := range tenant.NodeID(2) {
		do(tenant.SetNode{Node: n + 1, Version: &version})
	}
	op, id := l.batch(st, time.Now())
	if op == nil || op.Node != 1 || len(op.Notices) != 2 || op.Notices[0].Account != 1 || op.Notices[0].Ref == 0 || len(op.Notices[0].Sources) != 2 || op.Notices[1].Account != 0 {
		t.Fatalf("told %+v", op)
	}
	if again, same := l.batch(st, time.Now()); again != op || same != id {
		t.Error("what may have been told is not told again as it was")
	}
	do(tenant.SetContain{Contain: tenant.Contain{Mode: tenant.AutomationOn, Rule: tenant.DefaultContainRule()}})
	do(*op)
	if st.Lacks(tenant.Echo{Account: 1, Kind: tenant.EchoList, Ref: op.Notices[0].Ref}) {
		t.Error("the account's message does not count")
	}
	for addr, want := range map[string]int{"127.77.1.11": 1, "127.77.1.12": 1, "127.77.2.12": 1} {
		if got := st.ListWords(st.SourceByAddr(netip.MustParseAddr(addr)).ID); len(got) != want || got[0].Zone != "bl.spamcop.net" {
			t.Errorf("%s: %+v", addr, got)
		}
	}
	l.told.done()
	if op, _ := l.batch(st, time.Now()); op != nil {
		t.Errorf("%+v is told twice", op)
	}
	for proof, want := range map[submission.Proof]float64{submission.ProofSigned: 3, submission.ProofAbsent: 1, submission.ProofBlind: 1} {
		var m dto.Metric
		if err := r.lists.WithLabelValues("bl.spamcop.net", string(proof)).Write(&m); err != nil || m.GetCounter().GetValue() != want {
			t.Errorf("%s: %v, %v", proof, m.GetCounter().GetValue(), err)
		}
	}
	for range 2 * maxListPending {
		take(submission.ProofSigned, 0, "127.77.1.11")
	}
	if len(l.notices) != maxListPending {
		t.Errorf("%d wait", len(l.notices))
	}
}
