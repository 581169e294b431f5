package node

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"postern/cluster"
	"postern/node/queue"
	"postern/tenant"
)

// reconciled is a cluster of one and a queue with one tenant that nobody has
// adopted in this process.
func reconciled(t *testing.T) (*owned, *tenant.Tenant, tenant.AccountID) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	fatal := func(err error) { t.Errorf("fatal: %v", err) }
	c, err := cluster.New(cluster.Config{Dir: t.TempDir(), Name: "n1", Bootstrap: true, Fatal: fatal, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	q, err := queue.New(queue.Config{Dir: t.TempDir(), FreeFloor: 1, Fatal: fatal, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	propose := func(op tenant.Op) {
		if _, _, err := c.Propose(t.Context(), tenant.RequestID{}, op); err != nil {
			t.Fatalf("%T: %v", op, err)
		}
	}
	propose(tenant.AddNode{Name: "n1"})
	node := c.State().NodeByName("n1").ID
	propose(tenant.AddSource{Node: node, Addr: netip.MustParseAddr("127.77.1.11"), EHLO: "out-1.relay.test", Shared: true})
	propose(tenant.AddTenant{Name: "shoes", Hostname: "shoes.relay.test", Home: tenant.Place{Node: node}})
	propose(tenant.AddAccount{Tenant: c.State().TenantByName("shoes").ID, Username: "news@shoes.test", Plan: tenant.Plan{MailsPerMonth: 10}})
	g := newGrants(c.State, func() tenant.NodeID { return node }, nil, time.Now)
	return newOwned("n1", false, c, q, g, log), c.State().TenantByName("shoes"), c.State().AccountByUsername("news@shoes.test").ID
}

// When the answer to Own is lost, the next step must find out what became of
// it: the tenant is owned again, what an old epoch spent is counted once, and
// its mail is at hand.
func TestALostAnswerToOwnHeals(t *testing.T) {
	for _, applied := range []bool{false, true} {
		o, tn, acc := reconciled(t)
		ctx := t.Context()
		if err := o.step(ctx, o.cluster.State()); err != nil {
			t.Fatal(err)
		}
		first := o.epoch(tn.ID)
		month := tenant.WindowAt(tenant.Month, time.Now())
		w, err := o.queue.NewMessage(tn.ID)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte("Subject: x\r\n\r\nx\r\n"))
		if _, err := w.Put(ctx, nil, &queue.Envelope{
			Account: acc, Kind: queue.Submitted, From: "news@shoes.test", Rcpts: []queue.Rcpt{{Addr: "u@far.test"}},
			Arrived: time.Now(), Expires: time.Now().Add(time.Hour),
		}, []queue.Spend{{Window: month, Amount: tenant.Amount{Mails: 3, Bytes: 30}}}); err != nil {
			t.Fatal(err)
		}

		// Another life of the process adopts, and its Own has no answer.
		o.set(tn.ID, 0, true)
		spent, err := o.queue.Adopt(tn.ID, first+1)
		if err != nil || len(spent) != 1 {
			t.Fatalf("adopt: %+v, %v", spent, err)
		}
		if applied {
			if _, _, err := o.cluster.Propose(ctx, tenant.RequestID{}, tenant.Own{
				Tenant: tn.ID, Node: tn.Owner, Expect: first, Spent: spent}); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.queue.Release(tn.ID); err != nil {
			t.Fatal(err)
		}

		if err := o.step(ctx, o.cluster.State()); err != nil {
			t.Fatalf("applied %v: %v", applied, err)
		}
		st := o.cluster.State()
		if e := st.Tenant(tn.ID).Epoch; e != o.epoch(tn.ID) || !o.Settled() {
			t.Errorf("applied %v: epoch %d here, %d in the state", applied, o.epoch(tn.ID), e)
		}
		if got := st.UsageOf(acc, month); got != (tenant.Amount{Mails: 3, Bytes: 30}) {
			t.Errorf("applied %v: settled use %v, want 3 mails once", applied, got)
		}
		if n := o.queue.Count()[tn.ID]; n.Messages != 1 {
			t.Errorf("applied %v: counts %+v", applied, n)
		}
		lanes, err := o.queue.Wait(ctx)
		if err != nil || len(lanes) != 1 {
			t.Fatalf("applied %v: lanes %v, %v", applied, lanes, err)
		}
		items, _, err := o.queue.Take(lanes[0], 8)
		if err != nil || len(items) != 1 {
			t.Errorf("applied %v: %d items, %v", applied, len(items), err)
		}
		o.queue.GiveBack(items...)
	}
}
