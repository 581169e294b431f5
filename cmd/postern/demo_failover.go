package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/node/admin"
	"postern/node/lab"
)

// breakdown is a node that died, until its tenants send again.
type breakdown struct {
	node    string
	at      time.Time
	leader  bool
	waiting []string // tenants it owned that have not sent since
	moved   []string // those that have
	slowest time.Duration
}

// invite says how to break the cluster.
func (d *demo) invite(ctx context.Context) {
	if len(d.nodes) == 1 {
		return
	}
	leader := d.leader(ctx)
	say := d.screen.say
	say("Now break it, with one of")
	for _, m := range d.nodes {
		if n := d.current(m); n != nil {
			what := fmt.Sprintf("node %s", m.name)
			if m.name == leader {
				what += ", the leader"
			}
			say("  kill -9 %-8d # %s", n.pid, what)
		}
	}
	say("and send the same message again, the same line: another node takes it.")
	if d.opt.restart > 0 {
		say("The node that died is started again after %v.", d.opt.restart)
	}
	say("")
}

func (d *demo) leader(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := ask(d, func(c *admin.Client) (admin.Cluster, error) { return c.Cluster(ctx) })
	if err != nil {
		return ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.led = c.Leader
	return c.Leader
}

// noteBreakdown begins to watch for a dead node's tenants.
func (d *demo) noteBreakdown(m *member, at time.Time) {
	if len(d.nodes) == 1 {
		return
	}
	d.mu.Lock()
	b := &breakdown{node: m.name, at: at, leader: d.led == m.name}
	for name, place := range d.places {
		if place.owner == m.name {
			b.waiting = append(b.waiting, name)
		}
	}
	slices.Sort(b.waiting)
	d.broken = b
	owned := first(strings.Join(b.waiting, ", "), "no tenant")
	d.mu.Unlock()
	role := ""
	if b.leader {
		role = ", the leader,"
	}
	d.screen.say("node %s%s owned %s; others take over ...", m.name, role, owned)
}

// noteArrival sees a dead node's tenant send from another node's source.
func (d *demo) noteArrival(m *lab.Mail) {
	_, domain, _ := strings.Cut(m.From, "@")
	name := strings.TrimSuffix(strings.ToLower(domain), ".test")
	d.mu.Lock()
	if strings.EqualFold(m.From, d.small) {
		d.arrivedSmall += len(m.Rcpts)
	}
	b := d.broken
	if b == nil || !m.At.After(b.at) || !slices.Contains(b.waiting, name) || sourceNode(m.Source) == b.node {
		d.mu.Unlock()
		return
	}
	b.waiting = slices.DeleteFunc(b.waiting, func(x string) bool { return x == name })
	b.moved = append(b.moved, name)
	took := m.At.Sub(b.at)
	b.slowest = max(b.slowest, took)
	d.mu.Unlock()
	d.screen.say("%s sends again: from %s of %s, %.1f s after %s died", name, m.Source, first(sourceNode(m.Source), "?"), took.Seconds(), b.node)
}

// sourceNode names the node an address belongs to.
func sourceNode(addr string) string {
	for _, s := range demoSources(maxDemoNodes) {
		if s.addr.String() == addr {
			return nodeNamed(s.node)
		}
	}
	return ""
}

// noteUse remembers what the small account had used before this demo began.
func (d *demo) noteUse(ctx context.Context) {
	small := d.dir.state.Tenants[min(5, len(d.dir.state.Tenants)-1)].Username
	used, _, ok := d.usedOf(ctx, small)
	d.mu.Lock()
	defer d.mu.Unlock()
	if ok {
		d.small, d.usedBefore = small, used
	}
}

func (d *demo) usedOf(ctx context.Context, account string) (used, limit int, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	page, err := ask(d, func(c *admin.Client) (admin.Page[admin.Usage], error) { return c.Usage(ctx, "", account, admin.List{}) })
	if err != nil || len(page.Missing) > 0 {
		return 0, 0, false
	}
	for _, u := range page.Items {
		if u.Window == "month" {
			return int(u.Mails), int(u.MailsLimit), true
		}
	}
	return 0, 0, false
}

// watchBreakdown tells the end of a breakdown: when all tenants send again, what
// was in doubt, and whether the small account's quota is exact.
func (d *demo) watchBreakdown(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if len(d.nodes) == 1 {
			continue
		}
		d.leader(ctx)
		d.mu.Lock()
		b := d.broken
		over := b != nil && len(b.waiting) == 0
		if over {
			d.broken = nil
		}
		d.mu.Unlock()
		if over {
			d.tellBreakdown(ctx, b)
		}
	}
}

func (d *demo) tellBreakdown(ctx context.Context, b *breakdown) {
	page, err := ask(d, func(c *admin.Client) (admin.Page[admin.Tenant], error) {
		return c.Tenants(ctx, admin.List{Limit: 1000})
	})
	if err != nil {
		return
	}
	doubt := 0
	for _, t := range page.Items {
		if slices.Contains(b.moved, t.Name) && t.InDoubt != nil {
			doubt += *t.InDoubt
		}
	}
	if n := len(b.moved); n > 0 {
		d.screen.say("all %s of %s send again, the last after %.1f s; in doubt: %s", some(n, "tenant"), b.node, b.slowest.Seconds(), some(doubt, "message"))
	}
	d.tellQuota(ctx)
	if n := len(d.running()); 2*n <= len(d.nodes) {
		d.screen.say("%s left of %d: too few to decide, so nothing is accepted or sent", some(n, "node"), len(d.nodes))
	} else {
		d.invite(ctx)
	}
}

func (d *demo) running() []*member {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*member
	for _, m := range d.nodes {
		if m.proc != nil {
			all = append(all, m)
		}
	}
	return all
}

// tellQuota compares what the small account used with what came of it.
func (d *demo) tellQuota(ctx context.Context) {
	d.mu.Lock()
	small, before, arrived := d.small, d.usedBefore, d.arrivedSmall
	d.mu.Unlock()
	used, limit, ok := d.usedOf(ctx, small)
	if !ok {
		return
	}
	of := count(used)
	if limit > 0 {
		of = fmt.Sprintf("%d of %d", used, limit)
	}
	verdict := "exact"
	if used-before != arrived {
		verdict = "the rest waits or bounced"
	}
	d.screen.say("quota of %s: %s e-mails used, %d delivered since the start: %s", small, of, arrived, verdict)
}
