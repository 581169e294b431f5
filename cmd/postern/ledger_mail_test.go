package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"postern/node/admin"
	"postern/node/lab"
)

// mailRig is a rig with a lab for the Internet, tenants on it, and the books
// over both.
type mailRig struct {
	*rig
	lab       *lab.Lab
	tenants   []rigTenant
	chronicle *lab.Chronicle

	cutOff bool // nodes lose their network for a time

	// Counted by processes that are gone.
	doubts, mismatches float64

	mu        sync.Mutex // guards what follows
	books     []*book
	postponed map[lab.Key]string // what the client was told
	taken     map[lab.Key]string // the same of what awaits its end
}

type rigTenant struct {
	name  string
	daily lab.Sender // without a limit
}

// book is one load with its ledger.
type book struct {
	mark   lab.RunID
	ledger *lab.Ledger
	sum    lab.LoadSum
}

// The account whose quota is to be hit exactly.
const (
	smallLimit = 151
	smallUser  = "small@t1.test"
)

// newMailRig forms a cluster of n nodes and gives it tenants.
func newMailRig(t *testing.T, p *place, n, tenants int) *mailRig {
	t.Helper()
	m := &mailRig{postponed: map[lab.Key]string{}, taken: map[lab.Key]string{}}
	nodes, domains := map[string]string{}, map[string]string{}
	world := lab.UsualAt(p.exchanger())
	for i := range n {
		for k := range 4 {
			nodes[p.source(i, k).String()] = fmt.Sprintf("n%d", i+1)
			world.AddSource(p.source(i, k), fmt.Sprintf("out-%d-%d.relay.test", i+1, k+1))
		}
	}
	for i := range tenants {
		name := fmt.Sprintf("t%d", i+1)
		m.tenants = append(m.tenants, rigTenant{name: name})
		domains[name+".test"] = name
		world.AddSender(name+".test", "mx.inbox.test", netip.PrefixFrom(p.addr(0), 24))
		world.Names[name+".relay.test"] = lab.Name{Records: []string{"A " + p.node(0).String()}}
	}
	world.Names[rigName] = lab.Name{Records: []string{"A " + p.node(0).String()}}
	m.chronicle = lab.NewChronicle(nodes, domains)
	m.books = []*book{m.newBook(), m.newBook(), m.newBook()}
	m.startLab(t, world, p)
	m.rig = newRig(t, p, n, m.lab.DNS(), m.lab.MXPort())
	m.form()
	m.provision()
	return m
}

func (m *mailRig) newBook() *book {
	return &book{mark: lab.NewRunID(), ledger: lab.NewLedger(0)}
}

// also takes a further load into the books.
func (m *mailRig) also(b *book) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.books = append(m.books, b)
}

// enter books a mail with the load it is of.
func (m *mailRig) enter(x *lab.Mail) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.books {
		if lab.Book(b.ledger, b.mark, x) {
			return
		}
	}
}

// The three loads: everybody's daily mail, what must be refused, and the
// account with the small quota.
func (m *mailRig) daily() *book   { return m.books[0] }
func (m *mailRig) refused() *book { return m.books[1] }
func (m *mailRig) small() *book   { return m.books[2] }

// startLab runs the lab until everything else of the test has ended.
func (m *mailRig) startLab(t *testing.T, w lab.World, p *place) {
	t.Helper()
	var err error
	m.lab, err = lab.New(lab.Config{World: w, Addr: p.lab(), Keep: 100, Log: slog.New(slog.DiscardHandler), Taken: func(x *lab.Mail) {
		m.chronicle.Taken(x)
		m.enter(x)
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.lab.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-done; err != nil {
			t.Errorf("run lab: %v", err)
		}
	})
}

// provision gives each tenant a home and a backup on the next node. The first
// ones have sources of their own at both.
func (m *mailRig) provision() {
	t, api, n := m.t, m.nodes[0].api, len(m.nodes)
	t.Helper()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for i, x := range m.nodes {
		for k := range 4 {
			_, err := api.AddSource(t.Context(), admin.NewSource{Node: x.name, Addr: m.place.source(i, k).String(),
				EHLO: fmt.Sprintf("out-%d-%d.relay.test", i+1, k+1), Shared: k >= 2})
			must("add source", err)
		}
	}
	for i := range m.tenants {
		x := &m.tenants[i]
		home, next := i%n, (i+1)%n
		new := admin.NewTenant{Name: x.name, Hostname: x.name + ".relay.test", Home: admin.Place{Node: m.nodes[home].name}}
		if n > 1 {
			new.Backup = &admin.Place{Node: m.nodes[next].name}
		}
		if i < n {
			new.Home.Source = m.place.source(home, 0).String()
			if n > 1 {
				new.Backup.Source = m.place.source(next, 1).String()
			}
		}
		_, err := api.AddTenant(t.Context(), new)
		must("add tenant", err)
		_, err = api.SetDomain(t.Context(), x.name, x.name+".test", admin.SetDomain{})
		must("set domain", err)
		x.daily = m.account(x.name, "daily@"+x.name+".test", admin.Plan{})
	}
	for _, x := range m.nodes {
		m.ready(x)
	}
}

func (m *mailRig) account(tenant, username string, plan admin.Plan) lab.Sender {
	m.t.Helper()
	c, err := m.nodes[0].api.AddAccount(m.t.Context(), admin.NewAccount{Tenant: tenant, Username: username, Plan: plan})
	if err != nil {
		m.t.Fatalf("add account: %v", err)
	}
	return lab.Sender{Username: username, Password: c.Password, From: username}
}

// traffic is a stream of mail over every node. A client whose connection fails
// goes on with the next node of its list.
type traffic struct {
	senders  []lab.Sender
	domains  []string
	sessions int
	rcpts    int
	rate     float64
	count    int64
}

func (m *mailRig) send(ctx context.Context, b *book, f traffic) lab.LoadSum {
	var addrs []string
	for i := range m.nodes {
		addrs = append(addrs, m.place.at(i, portSubmission))
	}
	for i := range m.nodes {
		addrs = append(addrs, m.place.at(i, portSubmission2))
	}
	sum, err := lab.Load{
		Addrs: addrs, TLS: m.roots, Run: b.mark, Senders: f.senders, Domains: f.domains, Rcpts: f.rcpts,
		Sessions: f.sessions, PerConn: 25, Rate: f.rate, Count: f.count, Size: 6000, Timeout: 100 * time.Second, Elsewhere: true,
		Sent: func(s *lab.Submission) {
			lab.Record(b.ledger, s)
			m.keepReply(s)
		},
	}.Send(ctx)
	if err != nil {
		m.t.Error(err)
	}
	return sum
}

// pruneAt bounds what is remembered of mail whose end is known.
const pruneAt = 50_000

// keepReply remembers what the client was told: of what is never to arrive, to
// tell of it if it does, and of what was taken, to name it if it is lost.
func (m *mailRig) keepReply(s *lab.Submission) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, v := range s.Verdict {
		k := lab.KeyOf(s.UID, s.Rcpts[i])
		told := fmt.Sprintf("%s from %s to %s, begun %s: %d %s",
			s.UID, s.From, s.Rcpts[i], s.At.Format("15:04:05.000"), s.Reply.Code, s.Reply.Text)
		switch v {
		case lab.Postponed:
			m.postponed[k] = told
		case lab.Accepted:
			m.taken[k] = told
		}
	}
	if len(m.taken) > pruneAt {
		maps.DeleteFunc(m.taken, func(k lab.Key, _ string) bool {
			return !slices.ContainsFunc(m.books, func(b *book) bool { return b.ledger.Awaits(k) })
		})
	}
}

// lost names mail that was taken and came to no end.
func (m *mailRig) lost(l *lab.Ledger) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range l.Open(10) {
		m.t.Logf("no end: %x: %s", k, cmp.Or(m.taken[k], m.postponed[k]))
	}
}

// ghosts tells of mail that arrived although its client was told to try again.
func (m *mailRig) ghosts() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, what := range m.postponed {
		for _, at := range m.chronicle.Arrivals(k) {
			m.t.Logf("arrived at %s all the same: %s", at.Format("15:04:05.000"), what)
		}
	}
}

// moody are the exchangers that do not take everything at once.
func moody() []string {
	return []string{"grey.test", "busy.test", "full.test", "hangup.test", "forgetful.test", "slow.test", "blackhole.test"}
}

// everywhere are the domains of daily mail: a third is difficult.
func everywhere() []string {
	all := slices.Concat(moody(), []string{"nobody.test", "sixfirst.test", "spare.test", "implicit.test", "nullmx.test", "gone.test"})
	for len(all) < 39 {
		all = append(all, "inbox.test", "secure.test")
	}
	return all
}

// unrest gives the exchangers their moods, calm takes them back, so that what
// can arrive does.
func (m *mailRig) unrest() {
	m.t.Helper()
	for mx, mood := range map[string]lab.Mood{
		"grey.test": {Kind: lab.Greylist, Wait: time.Second}, "slow.test": {Kind: lab.Tarpit, Wait: 50 * time.Millisecond},
	} {
		if err := m.lab.SetMood(mx, mood); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m *mailRig) calm() {
	m.t.Helper()
	for _, mx := range moody() {
		if err := m.lab.SetMood(mx, lab.Mood{Kind: lab.Fine}); err != nil {
			m.t.Fatal(err)
		}
	}
}

// open is what the ledgers have not heard of yet.
func (m *mailRig) open() (n int64) {
	for _, b := range m.books[:3] {
		n += b.ledger.Counts().Queued
	}
	return n
}

// quiet waits until every queue is empty and all notices have come.
func (m *mailRig) quiet(within time.Duration) {
	m.t.Helper()
	var flushed time.Time
	deadline := time.Now().Add(within)
	for {
		queued, err := m.queued()
		if err == nil && queued == 0 && m.open() == 0 {
			return
		}
		if time.Now().After(deadline) || queued < 0 && m.open() == 0 {
			m.t.Errorf("not quiet within %v: %d recipients queued at the nodes (%v), %d open in the ledgers", within, queued, err, m.open())
			return
		}
		if time.Since(flushed) > 2*time.Second {
			_, _ = m.nodes[0].api.Flush(m.t.Context(), admin.Match{})
			flushed = time.Now()
		}
		time.Sleep(100 * time.Millisecond)
	}
}

var errPartial = errors.New("some owners gave no answer")

// queued is the sum over all tenants, as any node tells it.
func (m *mailRig) queued() (int, error) {
	page, err := m.nodes[0].api.Tenants(m.t.Context(), admin.List{Limit: 100})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, x := range page.Items {
		if x.Queued == nil {
			return n, errPartial
		}
		n += *x.Queued
	}
	return n, nil
}
