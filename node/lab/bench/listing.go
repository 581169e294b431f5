package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"postern/node/admin"
)

// The street: tenants that leave by one shared source of the first node, half
// of them with a backup on each of the others, and what is queued for all.
const (
	streetTenants = 20
	streetMails   = 100_000
)

// listing pretends that the source of twenty tenants is listed while all of
// them send from a full queue, and watches at the exchangers what leaves by
// which source. A drill goes the whole way of a listing.
func listing(ctx context.Context, t target, scale float64) (map[string]float64, error) {
	p, err := theNode(t)
	if err != nil {
		return nil, err
	}
	c, err := startNodes(ctx, filepath.Join(filepath.Dir(p.dir), "listing"), p.bin, p.profile)
	defer c.Stop()
	if err != nil {
		return nil, err
	}
	s := &listedStreet{cluster: c, each: max(10, int(streetMails/streetTenants*scale))}
	defer s.close()
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	if err := s.fill(ctx); err != nil {
		return nil, err
	}
	return s.list(ctx)
}

type listedStreet struct {
	*cluster
	each  int // mails a tenant
	doors []*door
	who   []identity
}

// door is one tenant's only mail exchanger. It knows each message by its
// recipient.
type door struct {
	tenant, domain string
	l              net.Listener

	mu    sync.Mutex // guards what follows
	seen  map[string]int
	old   time.Time // the last end of data from the listed source
	fresh time.Time // the first one from another
}

func (d *door) accept(listed string) {
	for {
		c, err := d.l.Accept()
		if err != nil {
			return
		}
		go d.serve(c, listed) // ends with its connection
	}
}

func (d *door) serve(c net.Conn, listed string) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Minute))
	ip, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	takeMail(c, func(rcpt string) {
		now := time.Now()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.seen[rcpt]++
		switch {
		case ip == listed:
			d.old = now
		case d.fresh.IsZero():
			d.fresh = now
		}
	})
}

func (d *door) came() (mails, twice int, fresh time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.seen {
		twice += n - 1
	}
	return len(d.seen), twice, d.fresh
}

func streetSource(node int) string { return fmt.Sprintf("127.77.%d.31", node+1) }

// open makes the tenants, their exchangers and the way there.
func (s *listedStreet) open(ctx context.Context) error {
	api := s.nodes[0].api
	for i, p := range s.nodes {
		x := admin.NewSource{Node: p.name, Addr: streetSource(i), EHLO: fmt.Sprintf("out-%d.relay.test", i+1), Shared: true}
		if _, err := api.AddSource(ctx, x); err != nil {
			return err
		}
	}
	for i := range streetTenants {
		name := fmt.Sprintf("t%d", i+1)
		d := &door{tenant: name, domain: name + ".inbox.test", seen: map[string]int{}}
		var err error
		if d.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
		s.doors = append(s.doors, d)
		go d.accept(streetSource(0)) // ends when the listener is closed
		if err := s.nodes[0].route(ctx, d.domain, d.l.Addr().String()); err != nil {
			return err
		}
		t := admin.NewTenant{Name: name, Hostname: name + ".relay.test", Home: admin.Place{Node: s.nodes[0].name},
			Backup: &admin.Place{Node: s.nodes[1+i%2].name}}
		if _, err := api.AddTenant(ctx, t); err != nil {
			return err
		}
		if _, err := api.SetDomain(ctx, name, name+".test", admin.SetDomain{}); err != nil {
			return err
		}
		made, err := api.AddAccount(ctx, admin.NewAccount{Tenant: name, Username: "mail@" + name + ".test"})
		if err != nil {
			return err
		}
		s.who = append(s.who, identity{"mail@" + name + ".test", made.Password})
	}
	return s.settled(ctx)
}

func (s *listedStreet) close() {
	for _, d := range s.doors {
		d.l.Close()
	}
}

// fill queues the mails of paused tenants.
func (s *listedStreet) fill(ctx context.Context) error {
	var g sync.WaitGroup
	errs := make([]error, len(s.doors))
	busy := make(chan struct{}, 4)
	for i, d := range s.doors {
		if _, err := s.nodes[0].api.PauseTenant(ctx, d.tenant, "measured"); err != nil {
			return err
		}
		g.Go(func() {
			busy <- struct{}{}
			defer func() { <-busy }()
			fmt.Fprintf(os.Stderr, "\r%-70s", fmt.Sprintf("listing: filling the queue of tenant %d of %d", i+1, len(s.doors)))
			_, errs[i] = load(ctx, loadSpec{addr: s.nodes[0].plain, from: s.who[i].sender, password: s.who[i].password, size: small,
				sessions: 8, n: s.each, each: d.domain})
		})
	}
	g.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// list lets all send, pretends the listing as soon as all do, and waits until
// everything has arrived.
func (s *listedStreet) list(ctx context.Context) (map[string]float64, error) {
	api := s.nodes[0].api
	for _, d := range s.doors {
		if _, err := api.PauseTenant(ctx, d.tenant, ""); err != nil {
			return nil, err
		}
	}
	all := func(ok func(d *door) bool) func() bool {
		return func() bool { return !slices.ContainsFunc(s.doors, func(d *door) bool { return !ok(d) }) }
	}
	if err := until(ctx, time.Minute, "tenants do not send", all(func(d *door) bool { n, _, _ := d.came(); return n > 0 })); err != nil {
		return nil, err
	}
	stop := s.nodes[1].Profile(ctx, "listing") // a node that takes tenants over
	x, err := api.Drill(ctx, streetSource(0), "")
	if err != nil {
		return nil, err
	}
	left := 0
	for _, d := range s.doors {
		n, _, _ := d.came()
		left += s.each - n
	}
	err = until(ctx, time.Minute, "tenants do not send from their backups", all(func(d *door) bool { _, _, fresh := d.came(); return !fresh.IsZero() }))
	stop()
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "\rlisting: %d of %d were queued at the verdict%30s\n", left, s.each*len(s.doors), "")
	m := map[string]float64{}
	if err := until(ctx, 5*time.Minute, "", all(func(d *door) bool { n, _, _ := d.came(); return n >= s.each })); ctx.Err() != nil {
		return nil, err
	} // what has not come by then counts as lost
	m["all"] = time.Since(x.Raised).Seconds()
	var firsts []time.Duration
	for _, d := range s.doors {
		n, twice, fresh := d.came()
		m["lost"] += float64(s.each - n)
		m["twice"] += float64(twice)
		m["dot"] = max(m["dot"], d.old.Sub(x.Raised).Seconds())
		firsts = append(firsts, fresh.Sub(x.Raised))
	}
	m["first"], m["first50"] = slices.Max(firsts).Seconds(), quantile(firsts, 0.5).Seconds()
	m["moved"], err = s.moved(ctx, x.ID)
	return m, err
}

// moved is how long after the verdict the last tenant was taken over: its new
// node had its whole log by then, for a copy is complete before a handover ends.
func (s *listedStreet) moved(ctx context.Context, id uint64) (float64, error) {
	all, err := s.nodes[0].api.Cases(ctx, admin.List{})
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(all.Items, func(c admin.Case) bool { return c.ID == id })
	if i < 0 {
		return 0, fmt.Errorf("the nodes do not know case %d", id)
	}
	last, n := time.Duration(0), 0
	for _, t := range all.Items[i].Tenants {
		if t.Owned != nil {
			last, n = max(last, t.Owned.Sub(all.Items[i].Raised)), n+1
		}
	}
	if n != len(s.doors) {
		return 0, fmt.Errorf("%d of %d tenants were taken over", n, len(s.doors))
	}
	return last.Seconds(), nil
}

// until waits for something to be so.
func until(ctx context.Context, most time.Duration, not string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for !ok() {
		if pause(ctx, 5*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("%s: %w", not, ctx.Err())
		}
	}
	return nil
}
