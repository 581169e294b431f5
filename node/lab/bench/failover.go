package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"postern/node/admin"
	"postern/node/lab"
)

// Kills of leaders and of followers each; and how many in all may be needed
// until both had tenants often enough.
const (
	killsEach = 10
	killsMost = 60
)

// failover kills nodes under load, leaders and followers, and measures from
// the kill to the first delivery from another node, for every tenant the node
// owned. A node whose tenants moved although nothing happened to it is counted.
func failover(ctx context.Context, t target, scale float64) (map[string]float64, error) {
	c, err := theCluster(t)
	if err != nil {
		return nil, err
	}
	f := &falls{cluster: c, posts: map[string]*post{}, took: map[bool][]time.Duration{}}
	defer f.close()
	if err := f.open(ctx); err != nil {
		return nil, err
	}
	stop := f.load(ctx)
	defer stop()
	each := max(1, int(killsEach*scale))
	for range killsMost {
		if min(f.kills[0], f.kills[1]) >= each {
			break
		}
		if err := f.once(ctx, each); err != nil {
			return nil, err
		}
	}
	if min(f.kills[0], f.kills[1]) < each {
		return nil, fmt.Errorf("only %d followers and %d leaders with tenants were killed in %d kills", f.kills[0], f.kills[1], killsMost)
	}
	m := map[string]float64{"false": float64(f.unforced)}
	for leads, name := range map[bool]string{true: "leader", false: "follower"} {
		m[name] = quantile(f.took[leads], 0.5).Seconds()
		m[name+"95"] = quantile(f.took[leads], 0.95).Seconds()
	}
	return m, nil
}

// falls is one run of failover.
type falls struct {
	*cluster
	posts    map[string]*post // by tenant
	took     map[bool][]time.Duration
	kills    [2]int // of followers, of leaders
	unforced int
}

// post is a mail exchanger for one tenant's mail. It notes where each came from.
type post struct {
	l  net.Listener
	mu sync.Mutex // guards got
	// got are the newest arrivals, oldest first.
	got []landed
}

type landed struct {
	at time.Time
	ip string
}

const keepLanded = 10_000

func startPost() (*post, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &post{l: l}
	go func() { // ends when the listener is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c) // ends with its connection
		}
	}()
	return p, nil
}

func (p *post) serve(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Minute))
	ip, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	takeMail(c, func(string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.got = append(p.got, landed{time.Now(), ip}); len(p.got) > keepLanded {
			p.got = slices.Delete(p.got, 0, keepLanded/2)
		}
	})
}

// firstNotFrom is the first arrival after a time from another node's sources.
func (p *post) firstNotFrom(prefix string, after time.Time) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.got {
		if x.at.After(after) && !strings.HasPrefix(x.ip, prefix) {
			return x.at, true
		}
	}
	return time.Time{}, false
}

// tenants are those of a measured cluster, in order of their homes.
func (c *cluster) tenants() []string {
	all := []string{tenantName}
	for i := range c.others {
		all = append(all, fmt.Sprintf("bench%d", i+2))
	}
	return all
}

func (f *falls) open(ctx context.Context) error {
	for _, t := range f.tenants() {
		p, err := startPost()
		if err != nil {
			return err
		}
		f.posts[t] = p
		if err := f.nodes[0].route(ctx, t+".post.test", p.l.Addr().String()); err != nil {
			return err
		}
	}
	return nil
}

func (f *falls) close() {
	for _, p := range f.posts {
		p.l.Close()
	}
}

// load sends mail of every tenant, over all nodes, until stopped.
func (f *falls) load(ctx context.Context) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	var addrs []string
	for _, p := range f.nodes {
		addrs = append(addrs, p.plain)
	}
	who := append([]identity{{sender, f.password}}, f.others...)
	var g sync.WaitGroup
	for i, t := range f.tenants() {
		g.Go(func() {
			_, _ = lab.Load{ // an end is no error
				Addrs: addrs, TLS: &tls.Config{InsecureSkipVerify: true}, // a measurement on loopback
				Senders: []lab.Sender{{Username: who[i].sender, Password: who[i].password, From: who[i].sender}},
				Domains: []string{t + ".post.test"}, Sessions: 6, PerConn: 50, Rate: 50, Size: small, Timeout: 60 * time.Second, Elsewhere: true,
			}.Send(ctx)
		})
	}
	return func() { end(); g.Wait() }
}

// once kills one node that owns tenants, of the kind that was killed less.
func (f *falls) once(ctx context.Context, each int) error {
	if err := f.settled(ctx); err != nil {
		return err
	}
	leader, err := f.leader(ctx)
	if err != nil {
		return err
	}
	before, err := f.owners(ctx, f.nodes[0])
	if err != nil {
		return err
	}
	owned := map[string][]string{}
	for t, o := range before {
		owned[o] = append(owned[o], t)
	}
	victim := -1
	for i, p := range f.nodes {
		if len(owned[p.name]) == 0 {
			continue
		}
		better := victim < 0 || f.kills[truth(p.name == leader)] < f.kills[truth(f.nodes[victim].name == leader)]
		if better {
			victim = i
		}
	}
	x := f.nodes[victim]
	leads := x.name == leader
	fmt.Fprintf(os.Stderr, "\r%-70s", fmt.Sprintf("failover: killing %s (leads: %v), so far %d followers and %d leaders", x.name, leads, f.kills[0], f.kills[1]))
	if err := x.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	at := time.Now()
	_ = x.cmd.Wait() // it was killed
	slowest, err := f.await(ctx, victim, owned[x.name], at)
	if err != nil {
		return err
	}
	f.took[leads] = append(f.took[leads], slowest)
	f.kills[truth(leads)]++
	after, err := f.owners(ctx, f.nodes[(victim+1)%clusterSize])
	if err != nil {
		return err
	}
	for t, o := range before {
		if o != x.name && after[t] != o {
			f.unforced++
		}
	}
	if err := x.start(ctx); err != nil {
		return err
	}
	pause(ctx, time.Second)
	return nil
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// await is the time until the last of the tenants sent from another node.
func (f *falls) await(ctx context.Context, victim int, tenants []string, at time.Time) (time.Duration, error) {
	var slowest time.Duration
	deadline := time.Now().Add(2 * time.Minute)
	for _, t := range tenants {
		for {
			first, ok := f.posts[t].firstNotFrom(fmt.Sprintf("127.77.%d.", victim+1), at)
			if ok {
				slowest = max(slowest, first.Sub(at))
				break
			}
			if time.Now().After(deadline) {
				return 0, fmt.Errorf("tenant %s did not send from another node within 2 minutes of the kill of %s", t, f.nodes[victim].name)
			}
			if pause(ctx, 5*time.Millisecond); ctx.Err() != nil {
				return 0, ctx.Err()
			}
		}
	}
	return slowest, nil
}

func (f *falls) leader(ctx context.Context) (string, error) {
	page, err := f.nodes[0].api.Nodes(ctx, admin.List{})
	if err != nil {
		return "", err
	}
	for _, n := range page.Items {
		if n.Role == "leader" {
			return n.Name, nil
		}
	}
	return "", errors.New("nobody leads the cluster")
}

func (f *falls) owners(ctx context.Context, p *postern) (map[string]string, error) {
	page, err := p.api.Tenants(ctx, admin.List{Limit: 100})
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, t := range page.Items {
		all[t.Name] = t.Owner
	}
	return all, nil
}
