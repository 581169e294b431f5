package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"postern/node/admin"
	"postern/node/lab"
)

// What the test learns from the nodes' logs.
var (
	lineTime    = regexp.MustCompile(`^time=(\S+)`)
	lineOwned   = regexp.MustCompile(`msg="tenant owned" .*tenant=(\S+) epoch=([0-9]+)`)
	lineAdopted = regexp.MustCompile(`msg="tenant adopted" .*in_doubt=([0-9]+)`)
)

// logged is what one node's log tells.
type logged struct {
	reigns  []lab.Reign
	inDoubt int // found at adoptions
}

// readLog goes through a node's whole log.
func readLog(x *rigNode) (logged, error) {
	f, err := os.Open(x.logFile)
	if err != nil {
		return logged{}, err
	}
	defer f.Close()
	var l logged
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := sc.Text()
		if !strings.Contains(line, `msg="tenant `) {
			continue
		}
		if m := lineAdopted.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			l.inDoubt += n
		}
		m, at := lineOwned.FindStringSubmatch(line), lineTime.FindStringSubmatch(line)
		if m == nil || at == nil {
			continue
		}
		epoch, err := strconv.ParseUint(m[2], 10, 64)
		if err != nil {
			return l, err
		}
		when, err := time.Parse(time.RFC3339Nano, at[1])
		if err != nil {
			return l, err
		}
		l.reigns = append(l.reigns, lab.Reign{Tenant: m[1], Epoch: epoch, Node: x.name, At: when})
	}
	return l, sc.Err()
}

// readLogs enters every reign into the chronicle and returns the doubts.
func (m *mailRig) readLogs() (inDoubt int) {
	m.t.Helper()
	for _, x := range m.nodes {
		l, err := readLog(x)
		if err != nil {
			m.t.Errorf("read log of %s: %v", x.name, err)
		}
		for _, r := range l.reigns {
			m.chronicle.Reigns(r)
		}
		inDoubt += l.inDoubt
	}
	return inDoubt
}

// watchOwners asks the nodes in turn who owns what, until ctx ends: what a log
// lost with its process is seen here.
func (m *mailRig) watchOwners(ctx context.Context) (wait func()) {
	var g sync.WaitGroup
	g.Go(func() {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for turn := 0; ; turn++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			ask, cancel := context.WithTimeout(ctx, 2*time.Second)
			page, err := m.nodes[turn%len(m.nodes)].api.Tenants(ask, admin.List{Limit: 100})
			cancel()
			if err != nil {
				continue
			}
			now := time.Now()
			for _, x := range page.Items {
				if x.Owner != "" {
					m.chronicle.Reigns(lab.Reign{Tenant: x.Name, Epoch: x.Epoch, Node: x.Owner, At: now})
				}
			}
		}
	})
	return g.Wait
}

// gauge adds up a metric over all its labels at one node. One that has not
// counted anything yet is not shown, and 0.
func (r *rig) gauge(x *rigNode, name string) (float64, error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + r.place.at(x.i, portMetrics) + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	sum := 0.0
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
		sum += v
	}
	return sum, sc.Err()
}

// keepCounts adds what a process counted before it goes.
func (m *mailRig) keepCounts(x *rigNode) {
	n, err := m.gauge(x, "postern_in_doubt_total")
	if err != nil {
		m.t.Logf("the doubts of %s are not known: %v", x.name, err)
	}
	m.doubts += n
	if len(m.nodes) > 1 {
		if n, err := m.gauge(x, "postern_cluster_digest_mismatches_total"); err == nil {
			m.mismatches += n
		}
	}
}

// allDoubts is what all processes counted, those that are gone included.
func (m *mailRig) allDoubts() float64 {
	m.t.Helper()
	sum := m.doubts
	for _, x := range m.nodes {
		n, err := m.gauge(x, "postern_in_doubt_total")
		if err != nil {
			m.t.Errorf("read doubts of %s: %v", x.name, err)
		}
		sum += n
	}
	return sum
}

// sameState waits until all nodes have applied the same entries, and until the
// leader has been told of them with the next leases. It must have counted no
// state that differs from its own.
func (m *mailRig) sameState() {
	m.t.Helper()
	if len(m.nodes) == 1 {
		return
	}
	index := func(x *rigNode) uint64 {
		s, err := x.api.Status(m.t.Context())
		if err != nil {
			return 0
		}
		return s.Index
	}
	eventually(m.t, time.Minute, "state that all nodes share", func() bool {
		first := index(m.nodes[0])
		for range 15 { // a lease is asked for every half second: three rounds of reports
			time.Sleep(100 * time.Millisecond)
			for _, x := range m.nodes {
				if at := index(x); at == 0 || at != first {
					return false
				}
			}
		}
		return true
	})
	for _, x := range m.nodes {
		n, err := m.gauge(x, "postern_cluster_digest_mismatches_total")
		if err != nil || m.mismatches+n > 0 {
			m.t.Errorf("the nodes' states differed %.0f times, as %s counts (%v)", m.mismatches+n, x.name, err)
		}
	}
}
