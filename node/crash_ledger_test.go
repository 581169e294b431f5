package node

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"postern/node/admin"
	"postern/node/lab"
)

// crashTenant is a tenant of the proof with its accounts.
type crashTenant struct {
	name, domain string
	accounts     []lab.Sender
}

// fewMails is the month's quota of the small account.
const fewMails = 10

// found provisions the node: a tenant with an IP of its own, two that share one.
func (r *crashRig) found(sources []netip.Addr, domains []string) []crashTenant {
	r.t.Helper()
	ctx := r.t.Context()
	must := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	for i, s := range sources {
		_, err := r.api.AddSource(ctx, admin.NewSource{
			Node: "n1", Addr: s.String(), EHLO: []string{"out-1.relay.test", "out-2.relay.test"}[i], Shared: i > 0,
		})
		must(err)
	}
	var all []crashTenant
	for i, d := range domains {
		t := crashTenant{name: []string{"shoes", "books", "hotel"}[i], domain: d}
		place := admin.Place{Node: "n1"}
		if i == 0 {
			place.Source = sources[0].String()
		}
		_, err := r.api.AddTenant(ctx, admin.NewTenant{Name: t.name, Hostname: t.name + ".relay.test", Home: place})
		must(err)
		set := admin.SetDomain{}
		if i == 1 {
			set = admin.SetDomain{Selector: "s1", Key: string(pemOf(r.t, "PRIVATE KEY", newRSA(r.t, 2048)))}
		}
		_, err = r.api.SetDomain(ctx, t.name, d, set)
		must(err)
		for _, plan := range []admin.Plan{{}, {MailsPerMonth: fewMails}} {
			name := "daily@" + d
			if plan.MailsPerMonth > 0 {
				name = "small@" + d
			}
			c, err := r.api.AddAccount(ctx, admin.NewAccount{Tenant: t.name, Username: name, Plan: plan, Reference: "office@" + d})
			must(err)
			t.accounts = append(t.accounts, lab.Sender{Username: name, Password: c.Password, From: name})
		}
		all = append(all, t)
	}
	return all
}

// used is what an account spent of all its windows, by the state and by the
// live grants.
func (r *crashRig) used(account string) (state, live uint64) {
	r.t.Helper()
	n := r.life.node
	st := n.cluster.State()
	a := st.AccountByUsername(account)
	if a == nil {
		r.t.Fatalf("account %s is gone", account)
	}
	v := &views{node: n}
	for _, u := range st.UsagesOf(a.ID) {
		state += u.Used.Mails
		live += v.used(a.ID, u.Window).Mails
	}
	return state, live
}

// TestLedgerSurvivesPowerCuts is the product's promise on a disk that forgets
// what was not synced: a whole node under real submissions, its power cut at
// random, also while it starts. Every 250 is delivered or bounced, no refusal
// is delivered, bodies stay as they were, what came twice was in doubt, and the
// quota knows every recipient accepted and no other.
func TestLedgerSurvivesPowerCuts(t *testing.T) {
	if testing.Short() {
		t.Skip("a whole node, many times")
	}
	cuts := 6
	if os.Getenv("POSTERN_SOAK") != "" {
		cuts = 100
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	sources := []netip.Addr{netip.MustParseAddr("127.77.8.11"), netip.MustParseAddr("127.77.8.12")}
	domains := []string{"shoes.test", "books.test", "hotel.test"}
	r := newCrashRig(t, seed, sources, domains)
	moody := []string{"grey.test", "busy.test", "full.test", "hangup.test", "forgetful.test", "slow.test", "blackhole.test"}
	for mx, m := range map[string]lab.Mood{
		"grey.test": {Kind: lab.Greylist, Wait: 300 * time.Millisecond}, "slow.test": {Kind: lab.Tarpit, Wait: 30 * time.Millisecond},
	} {
		if err := r.world.SetMood(mx, m); err != nil {
			t.Fatal(err)
		}
	}
	r.powerOn()
	r.ready()
	tenants := r.found(sources, domains)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	loads := r.startLoads(ctx, tenants, moody)
	for n := 0; len(r.cuts) < cuts; n++ {
		if n%4 != 3 { // else the power goes again while the node starts
			r.ready()
			r.checkQuota(tenants)
			r.life.gate.unbar()
			r.wait(400*time.Millisecond, 1600*time.Millisecond)
		} else {
			r.wait(0, 150*time.Millisecond)
		}
		r.cut(n%4 == 0) // a whole start follows these
		r.powerOn()
	}
	r.ready()
	r.checkQuota(tenants)
	r.life.gate.unbar()
	r.wait(300*time.Millisecond, 600*time.Millisecond)
	stop()
	loads.Wait()
	for _, mx := range moody { // what can arrive does
		if err := r.world.SetMood(mx, lab.Mood{Kind: lab.Fine}); err != nil {
			t.Fatal(err)
		}
	}
	r.quiet(3 * time.Minute)
	r.cut(false) // once more at rest: what was settled stays so, and use is exact
	r.powerOn()
	r.ready()
	r.quiet(time.Minute)
	r.judge(tenants)
	r.stop()
}

func (r *crashRig) wait(least, most time.Duration) {
	pause := time.NewTimer(least + time.Duration(r.rng.Int64N(int64(most-least))))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-r.t.Context().Done():
	}
}

// startLoads sends small mail, mail of a chunk file each, and mail to be refused.
func (r *crashRig) startLoads(ctx context.Context, tenants []crashTenant, moody []string) *sync.WaitGroup {
	to := slices.Concat(moody, []string{"nobody.test", "sixfirst.test", "spare.test", "implicit.test", "nullmx.test", "gone.test"})
	for len(to) < 36 {
		to = append(to, "inbox.test", "secure.test")
	}
	var daily, few []lab.Sender
	for _, t := range tenants {
		daily, few = append(daily, t.accounts[0]), append(few, t.accounts[1])
	}
	foreign := daily[0]
	foreign.From = "somebody@elsewhere.test"
	all := &sync.WaitGroup{}
	for _, l := range []lab.Load{
		{Senders: daily, Domains: to, Sessions: 6, Rate: 150, Size: 6000},
		{Senders: daily[:2], Domains: []string{"inbox.test", "secure.test", "grey.test", "forgetful.test"}, Sessions: 2, Rate: 6, Size: 300_000, Implicit: true},
		{Senders: few, Domains: to, Sessions: 3, Rate: 6, Size: 2000},
		{Senders: []lab.Sender{foreign}, Domains: []string{"inbox.test"}, Rate: 5, Size: 2000},
	} {
		all.Go(func() { r.load(ctx, l) })
	}
	return all
}

// checkQuota compares, while nobody is let in, each account's use with what was
// acknowledged: all of it, and besides only what got no answer.
func (r *crashRig) checkQuota(tenants []crashTenant) {
	r.t.Helper()
	for _, t := range tenants {
		for i, a := range t.accounts {
			least, most := r.books.spent(a.From)
			state, live := r.used(a.From)
			if state != live {
				r.t.Errorf("after cut %d: %s spent %d by the state, %d by the node", len(r.cuts), a.From, state, live)
			}
			if state < least || state > most {
				r.t.Errorf("after cut %d: %s spent %d, but %d were acknowledged and %d at most kept", len(r.cuts), a.From, state, least, most)
			}
			if i == 1 && state > fewMails {
				r.t.Errorf("after cut %d: %s spent %d of %d", len(r.cuts), a.From, state, fewMails)
			}
		}
	}
}

func (r *crashRig) judge(tenants []crashTenant) {
	t := r.t
	t.Helper()
	c := r.books.ledger.Final()
	doubles, byCut, oldest, unexcused := r.books.doubles(r.cuts)
	_, errs := r.log.read()
	t.Logf("%d cuts: %+v", len(r.cuts), c)
	t.Logf("%d came twice; by each cut %v, at most %v before it", doubles, byCut, oldest)
	if err := c.Sound(); err != nil {
		t.Error(err)
	}
	for _, x := range tenants {
		for _, a := range x.accounts {
			want := r.books.spentInAll(a.From)
			if state, live := r.used(a.From); state != want || live != want {
				t.Errorf("%s spent %d by the state, %d by the node; %d were kept", a.From, state, live, want)
			}
		}
	}
	if len(unexcused) > 0 {
		t.Errorf("%d doubles without a doubt: %v", len(unexcused), unexcused[:min(3, len(unexcused))])
	}
	// A start is written before the dot and not synced: it outlives the process,
	// not the power. So only a cut that kept what was written must know its doubts;
	// a share of a message has two recipients at most.
	for i, cut := range r.cuts {
		if cut.whole && byCut[i] > 2*cut.doubts {
			t.Errorf("%d doubles by cut %d, but only %d in doubt", byCut[i], i, cut.doubts)
		}
	}
	if int64(doubles) != c.Twice {
		t.Errorf("%d doubles by time, %d by ledger", doubles, c.Twice)
	}
	if c.Accepted < 200 || c.Bounced == 0 || c.Refused == 0 || c.Delivered == 0 {
		t.Errorf("the load did not try enough: %+v", c)
	}
	if r.books.fault != "" {
		t.Errorf("a fault in what left: %s", r.books.fault)
	}
	if len(errs) > 0 {
		t.Errorf("%d errors logged, first %s", len(errs), errs[0])
	}
}
