package ansible

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/node/lab"
)

// stream is a load of mail of all tenants that goes to the one address clients
// know.
type stream struct {
	rig    *rig
	ledger *lab.Ledger
	stop   context.CancelFunc
	done   chan struct{}
	doubt  map[string]int // what each machine counted as in doubt before

	mu    sync.Mutex
	n     map[string]int // accepted, by sender
	last  time.Time      // when something was accepted last, at first the start
	gap   time.Duration
	gapAt time.Time
}

// send begins to send from all tenants, until stopped.
func (g *rig) send(t *testing.T, rate float64) *stream {
	t.Helper()
	trust, err := g.trust()
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	run, ledger := g.open()
	s := &stream{rig: g, ledger: ledger, stop: stop, done: make(chan struct{}), doubt: g.count("postern_in_doubt_total"), n: map[string]int{}, last: time.Now()}
	l := lab.Load{Addrs: []string{net.JoinHostPort(g.way, "587")}, TLS: trust, Run: run, Domains: []string{"inbox.test", "secure.test"},
		Sessions: 6, PerConn: 10, Rate: rate, Size: 2000, Timeout: 10 * time.Second, Backoff: 300 * time.Millisecond,
		Sent: func(x *lab.Submission) {
			lab.Record(ledger, x)
			if x.Verdict[0] == lab.Accepted {
				s.accepted(x.From)
			}
		}}
	for _, x := range g.tenants {
		l.Senders = append(l.Senders, lab.Sender{Username: "mail@" + x.name + ".test", Password: password(x.name), From: "mail@" + x.name + ".test"})
	}
	go func() {
		defer close(s.done)
		_, _ = l.Send(ctx)
	}()
	t.Cleanup(func() { stop(); <-s.done })
	return s
}

func (s *stream) accepted(from string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pause(time.Now())
	s.n[from]++
}

// pause looks whether the pause that ends now is the longest; with s.mu held.
func (s *stream) pause(now time.Time) {
	if d := now.Sub(s.last); d > s.gap {
		s.gap, s.gapAt = d, s.last
	}
	s.last = now
}

// flows waits until something of the stream was accepted.
func (s *stream) flows(t *testing.T) { s.more(t, 1) }

// more waits until each tenant had n messages more accepted.
func (s *stream) more(t *testing.T, n int) {
	t.Helper()
	counts := func() map[string]int {
		s.mu.Lock()
		defer s.mu.Unlock()
		now := map[string]int{}
		for _, x := range s.rig.tenants {
			now[x.name] = s.n["mail@"+x.name+".test"]
		}
		return now
	}
	before := counts()
	wait(t, 2*time.Minute, fmt.Sprintf("each tenant had %d more accepted", n), func() error {
		for name, now := range counts() {
			if now < before[name]+n {
				return fmt.Errorf("of %s %d", name, now-before[name])
			}
		}
		return nil
	})
}

// end stops the stream, waits until everything that was accepted arrived, and
// judges. Something twice is allowed where killed says that a node died between
// dot and answer, and at most as often as the nodes count it.
func (s *stream) end(t *testing.T, what string, killed bool) {
	t.Helper()
	s.stop()
	<-s.done
	s.mu.Lock()
	s.pause(time.Now())
	s.mu.Unlock()
	took := wait(t, 3*time.Minute, "all accepted mail arrived", func() error {
		if c := s.ledger.Counts(); c.Queued > 0 {
			return fmt.Errorf("%d are on their way", c.Queued)
		}
		return nil
	})
	// What may come twice comes after a grace.
	wait(t, 3*time.Minute, "nothing in doubt waits", func() error {
		for name, n := range s.rig.count("postern_queue_in_doubt") {
			if n > 0 {
				return fmt.Errorf("%d on %s", n, name)
			}
		}
		return nil
	})
	c := s.ledger.Final()
	b, _ := json.Marshal(c)
	doubt := 0
	for name, now := range s.rig.count("postern_in_doubt_total") {
		if before := s.doubt[name]; before <= now {
			now -= before
		}
		doubt += now
	}
	t.Logf("%s: accepted %v, longest pause %.1f s at %s, the last arrived after %.1f s; %d in doubt; ledger %s", what, s.n, s.gap.Seconds(),
		s.gapAt.Format("15:04:05"), took.Seconds(), doubt, b)
	if err := c.Sound(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if c.Delivered != c.Accepted {
		t.Errorf("%s: of %d accepted %d were delivered", what, c.Accepted, c.Delivered)
	}
	if !killed && c.Twice > 0 || c.Twice > int64(doubt) {
		t.Errorf("%s: %d arrived twice, %d were in doubt", what, c.Twice, doubt)
	}
	if s.gap > 30*time.Second {
		t.Errorf("%s: nothing was accepted for %v", what, s.gap)
	}
	for _, x := range s.rig.tenants {
		if s.n["mail@"+x.name+".test"] == 0 {
			t.Errorf("%s: nothing of %s was accepted", what, x.name)
		}
	}
}

// count is a metric of each machine that answers.
func (g *rig) count(metric string) map[string]int {
	all := map[string]int{}
	c := http.Client{Timeout: 5 * time.Second}
	for _, m := range g.machines {
		if n, err := counter(&c, "http://"+net.JoinHostPort(m.addr, "8471")+"/metrics", metric); err == nil {
			all[m.name] = n
		}
	}
	return all
}

// counter sums the series of a metric; one that was never counted has none.
func counter(c *http.Client, url, name string) (n int, err error) {
	r, err := c.Get(url)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	for in := bufio.NewScanner(r.Body); in.Scan(); {
		line := in.Text()
		if !strings.HasPrefix(line, name+"{") && !strings.HasPrefix(line, name+" ") {
			continue
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		n += int(v)
	}
	return n, nil
}
