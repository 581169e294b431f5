package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

func theCluster(t target) (*cluster, error) {
	c, ok := t.(*cluster)
	if !ok {
		return nil, fmt.Errorf("%s is no cluster", t.Name())
	}
	return c, nil
}

// idleFor is how long an idle cluster is watched, after idleRest to come to rest.
const (
	idleRest = 5 * time.Second
	idleFor  = 30 * time.Second
)

// idle measures what a node with nothing to do takes. It runs before the
// cluster has seen any mail.
func idle(ctx context.Context, t target, _ float64) (map[string]float64, error) {
	c, err := theCluster(t)
	if err != nil {
		return nil, err
	}
	pause(ctx, idleRest)
	before, err := c.each()
	if err != nil {
		return nil, err
	}
	pause(ctx, idleFor)
	after, err := c.each()
	if err != nil {
		return nil, err
	}
	m := map[string]float64{}
	for i, p := range c.nodes {
		m["rss"] = max(m["rss"], float64(resident(p.cmd.Process.Pid))/1e6)
		m["core"] = max(m["core"], 100*(after[i].cpu-before[i].cpu).Seconds()/idleFor.Seconds())
	}
	return m, nil
}

// each is every node's usage.
func (c *cluster) each() ([]usage, error) {
	var all []usage
	for _, p := range c.nodes {
		u, err := p.Usage()
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// through measures the relay with every client at a node that does not own the
// tenant, so that each message goes over the peer port first.
func through(ctx context.Context, t target, scale float64) (map[string]float64, error) {
	c, err := theCluster(t)
	if err != nil {
		return nil, err
	}
	n := count(t, scale, 0, 10000)
	base, start := c.sink.Count(), time.Now()
	if err := smtpSource(ctx, c.nodes[1].plain, small, 20, n); err != nil {
		return nil, err
	}
	if err := c.sink.Wait(ctx, base+n, time.Minute); err != nil {
		return nil, err
	}
	return map[string]float64{"rate": float64(n) / time.Since(start).Seconds()}, nil
}

// latency3 measures one session's final dot to its 250 beside what the disk
// takes for one sync: four of them and a millisecond are allowed.
func latency3(ctx context.Context, t target, scale float64) (map[string]float64, error) {
	c, err := theCluster(t)
	if err != nil {
		return nil, err
	}
	before, err := syncTime(c.nodes[0].dir)
	if err != nil {
		return nil, err
	}
	m, err := latency(1, 1500)(ctx, t, scale)
	if err != nil {
		return nil, err
	}
	after, err := syncTime(c.nodes[0].dir)
	if err != nil {
		return nil, err
	}
	m["sync"] = (before + after).Seconds() * 1000 / 2
	m["limit"] = 4*m["sync"] + 1
	return m, nil
}

// syncTime is the median of what appending 5 KB to a file and syncing it takes.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	b := make([]byte, small)
	var all []time.Duration
	for range 500 {
		start := time.Now()
		if _, err := f.Write(b); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		all = append(all, time.Since(start))
	}
	return quantile(all, 0.5), nil
}

// The steady load: three tenants, each at the node that owns it.
const (
	steadyRate = 1000.0 // messages a second in all
	steadyFor  = 20 * time.Second
)

// steady counts what consensus does for mail at a constant rate, from the
// second half of the load on: the first half is there to find the rate.
func steady(ctx context.Context, t target, _ float64) (map[string]float64, error) {
	c, err := theCluster(t)
	if err != nil {
		return nil, err
	}
	if _, err := c.steadily(ctx, steadyFor/2); err != nil {
		return nil, err
	}
	index, err := c.sum(ctx, "postern_cluster_applied_index", c.nodes[:1])
	if err != nil {
		return nil, err
	}
	waits, err := c.sum(ctx, grantWaits, c.nodes)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	took, err := c.steadily(ctx, steadyFor)
	if err != nil {
		return nil, err
	}
	elapsed := time.Since(start)
	indexAfter, err := c.sum(ctx, "postern_cluster_applied_index", c.nodes[:1])
	if err != nil {
		return nil, err
	}
	waitsAfter, err := c.sum(ctx, grantWaits, c.nodes)
	if err != nil {
		return nil, err
	}
	n := float64(len(took))
	return map[string]float64{
		"rate": n / elapsed.Seconds(), "entries": (indexAfter - index) * 1000 / n, "waits": waitsAfter - waits,
		"p99": quantile(took, 0.99).Seconds() * 1000,
	}, nil
}

// grantWaits counts messages that waited for the renewal of a grant.
const grantWaits = "postern_grant_waits_total"

// steadily sends at the steady rate for a time.
func (c *cluster) steadily(ctx context.Context, d time.Duration) ([]time.Duration, error) {
	base := c.sink.Count()
	who := append([]identity{{sender: sender}}, c.others...)
	share := steadyRate / float64(len(who))
	n := int(share * d.Seconds())
	var mu sync.Mutex // guards all and failed
	var all []time.Duration
	var failed error
	var g sync.WaitGroup
	for i, x := range who {
		g.Go(func() {
			took, err := load(ctx, loadSpec{addr: c.nodes[i].plain, from: x.sender, password: x.password, size: small, sessions: 10, n: n, rate: share})
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if err != nil {
				failed = err
			}
		})
	}
	g.Wait()
	if failed != nil {
		return nil, failed
	}
	return all, c.sink.Wait(ctx, base+n*len(who), time.Minute)
}

// sum adds up a metric over all its labels and some nodes.
func (c *cluster) sum(ctx context.Context, name string, nodes []*postern) (float64, error) {
	total := 0.0
	for _, p := range nodes {
		v, err := p.metric(ctx, name)
		if err != nil {
			return 0, err
		}
		total += v
	}
	return total, nil
}

func (p *postern) metric(ctx context.Context, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.adminAt+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	total, found := 0.0, false
	sc := bufio.NewScanner(res.Body)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		rest, ok := strings.CutPrefix(sc.Text(), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("read metric %s: %w", name, err)
		}
		total, found = total+v, true
	}
	if !found {
		return 0, fmt.Errorf("read metric: %s has no %s", filepath.Base(p.dir), name)
	}
	return total, sc.Err()
}
