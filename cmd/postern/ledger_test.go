package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/node/admin"
	"postern/node/lab"
)

// asPostern makes the test binary the program itself: processes of the tests
// are re-executions of it.
const asPostern = "POSTERN_TEST_AS_POSTERN"

func TestMain(m *testing.M) {
	if os.Getenv(asPostern) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// arrivals remembers each arrival's time by recipient, to judge doubles.
type arrivals struct {
	mu     sync.Mutex // guards what follows
	at     map[string][]time.Time
	faults []string
}

func (a *arrivals) take(m *lab.Mail) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.Bare > 0 || m.Early {
		a.faults = append(a.faults, fmt.Sprintf("%s to %v: %d bare line ends, early %v", m.MX, m.Rcpts, m.Bare, m.Early))
	}
	for _, r := range m.Rcpts {
		if m.UID != "" {
			a.at[m.UID+" "+r] = append(a.at[m.UID+" "+r], m.At)
		}
	}
}

// doubles counts repeated arrivals, and those nothing excuses: the receiver hung
// up after it had kept the message, or the node was killed between the dot and
// the synced outcome.
func (a *arrivals) doubles(kills []time.Time) (all, killed int, unexcused []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for who, times := range a.at {
		slices.SortFunc(times, time.Time.Compare)
		for _, t := range times[:len(times)-1] {
			all++
			doubt := func(k time.Time) bool { return t.Sub(k).Abs() < 3*time.Second } // a sync may be slow
			switch {
			case strings.HasSuffix(who, "@forgetful.test"):
			case slices.ContainsFunc(kills, doubt):
				killed++
			default:
				unexcused = append(unexcused, fmt.Sprintf("%s at %v", who, times))
			}
		}
	}
	return all, killed, unexcused
}

// ledgerRig is a node process, a lab and a ledger over both.
type ledgerRig struct {
	*demo
	t     *testing.T
	mark2 lab.RunID // of the load that is to be refused
	seen  *arrivals
	kills []time.Time
}

func newLedgerRig(t *testing.T, tenants int) *ledgerRig {
	t.Helper()
	t.Setenv(asPostern, "1")
	dir, err := openDemoDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dir.close)
	dir.retry = "1s, 1s, 2s"
	r := &ledgerRig{t: t, mark2: lab.NewRunID(), seen: &arrivals{at: map[string][]time.Time{}}}
	r.demo = &demo{opt: demoOptions{nodes: 1, tenants: tenants}, dir: dir, screen: newScreen(io.Discard)}
	err = r.prepare(func(m *lab.Mail) {
		r.seen.take(m)
		_ = lab.Book(r.ledger, r.mark, m) || lab.Book(r.ledger, r.mark2, m)
	})
	if err != nil {
		t.Fatal(err)
	}
	r.ledger = lab.NewLedger(0)
	ctx, endLab := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.lab.Run(ctx) }()
	t.Cleanup(func() {
		endLab()
		if err := <-done; err != nil {
			t.Errorf("run lab: %v", err)
		}
		r.api.Close()
	})
	r.start()
	if err := r.open(t.Context(), r.node); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.node.stop(); err != nil {
			t.Errorf("the node ended with %v", err)
		}
		if t.Failed() {
			t.Logf("node log: %s", tail(r.logFile(), 20))
		}
	})
	return r
}

func (r *ledgerRig) start() {
	r.t.Helper()
	n, err := startNode(r.config, r.logFile())
	if err != nil {
		r.t.Fatal(err)
	}
	r.setNode(n)
}

// kill ends the node like a power cut would, only that the disk lives on.
func (r *ledgerRig) kill() {
	r.t.Helper()
	if err := syscall.Kill(r.node.pid, syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	r.kills = append(r.kills, time.Now())
	<-r.node.ended
}

func (r *ledgerRig) ready() {
	r.t.Helper()
	if err := r.node.waitReady(r.t.Context(), hostPort(r.dir.state.Ports.Admin)); err != nil {
		r.t.Fatal(err)
	}
}

// load sends until ctx ends, over STARTTLS and AUTH.
func (r *ledgerRig) load(ctx context.Context, mark lab.RunID, senders []lab.Sender, sessions int, rate float64, domains []string) (lab.LoadSum, error) {
	p := r.dir.state.Ports
	return lab.Load{
		Addrs: []string{hostPort(p.Submission), hostPort(p.Submission2)}, TLS: r.roots, Run: mark,
		Senders: senders, Domains: domains, Rcpts: 2, Sessions: sessions, PerConn: 40, Rate: rate, Size: 6000, Timeout: 40 * time.Second,
		Sent: func(s *lab.Submission) { lab.Record(r.ledger, s) },
	}.Send(ctx)
}

// calm makes the Internet friendly, so that what can arrive does.
func (r *ledgerRig) calm(moods []string) {
	r.t.Helper()
	for _, mx := range moods {
		if err := r.lab.SetMood(mx, lab.Mood{Kind: lab.Fine}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// quiet waits until the queue is empty and all notices have come.
func (r *ledgerRig) quiet(within time.Duration) {
	r.t.Helper()
	var flushed time.Time
	deadline := time.Now().Add(within)
	for {
		st, err := r.api.Status(r.t.Context())
		if err == nil && st.Queued == 0 && r.ledger.Counts().Queued == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Errorf("not quiet after %v: %d recipients queued at the node (%v), ledger %+v", within, st.Queued, err, r.ledger.Counts())
			return
		}
		if time.Since(flushed) > 2*time.Second {
			_, _ = r.api.Flush(r.t.Context(), admin.Match{})
			flushed = time.Now()
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// inDoubt adds up what the node found in doubt at its starts, by its log.
func (r *ledgerRig) inDoubt() int {
	r.t.Helper()
	b, err := os.ReadFile(r.logFile())
	if err != nil {
		r.t.Fatal(err)
	}
	sum := 0
	for _, m := range adoptedInDoubt.FindAllSubmatch(b, -1) {
		n, _ := strconv.Atoi(string(m[1]))
		sum += n
	}
	return sum
}

var adoptedInDoubt = regexp.MustCompile(`tenant adopted.* in_doubt=([0-9]+)`)

// TestLedgerSurvivesKills is the product's promise over real processes: under
// load, with the node killed at random and started again, every 250 is
// delivered or bounced, no refusal is delivered, bodies stay as they were, and
// what came twice was in doubt.
func TestLedgerSurvivesKills(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes")
	}
	kills := 10
	if os.Getenv("POSTERN_SOAK") != "" {
		kills = 300
	}
	r := newLedgerRig(t, 6)
	moody := []string{"grey.test", "busy.test", "full.test", "hangup.test", "forgetful.test", "slow.test", "blackhole.test"}
	for mx, m := range map[string]lab.Mood{
		"grey.test": {Kind: lab.Greylist, Wait: time.Second}, "slow.test": {Kind: lab.Tarpit, Wait: 50 * time.Millisecond},
	} {
		if err := r.lab.SetMood(mx, m); err != nil {
			t.Fatal(err)
		}
	}
	domains := slices.Concat(moody, []string{"nobody.test", "sixfirst.test", "spare.test", "implicit.test", "nullmx.test", "gone.test"})
	for len(domains) < 36 {
		domains = append(domains, "inbox.test", "secure.test")
	}
	var daily, refused []lab.Sender
	for _, x := range r.dir.state.Tenants {
		daily = append(daily, lab.Sender{Username: x.Daily, Password: x.DailyKey, From: x.Daily})
	}
	first, small := r.dir.state.Tenants[0], r.dir.state.Tenants[5]
	refused = []lab.Sender{
		{Username: first.Username, Password: first.Password, From: "somebody@elsewhere.test"}, // not the tenant's domain
		{Username: small.Username, Password: small.Password, From: small.Username},            // ten e-mails a month
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var loads sync.WaitGroup
	loads.Go(func() {
		if _, err := r.load(ctx, r.mark, daily, 8, 200, domains); err != nil {
			t.Error(err)
		}
	})
	loads.Go(func() {
		if _, err := r.load(ctx, r.mark2, refused, 2, 10, []string{"inbox.test"}); err != nil {
			t.Error(err)
		}
	})
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for range kills {
		pause := time.NewTimer(time.Duration(500+rng.IntN(2500)) * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
		r.kill()
		r.start()
		r.ready()
	}
	stop()
	loads.Wait()
	r.calm(moody)
	r.quiet(3 * time.Minute)

	c := r.ledger.Final()
	doubles, killed, unexcused := r.seen.doubles(r.kills)
	doubts := r.inDoubt()
	t.Logf("%d kills: %+v", len(r.kills), c)
	t.Logf("%d came twice, %d of them by kills; the node counted %d in doubt at its starts", doubles, killed, doubts)
	if err := c.Sound(); err != nil {
		t.Error(err)
	}
	if len(unexcused) > 0 {
		t.Errorf("%d doubles without a doubt: %v", len(unexcused), unexcused[:min(3, len(unexcused))])
	}
	if killed > 2*doubts { // a share of a message has two recipients at most
		t.Errorf("%d doubles by kills, but only %d in doubt", killed, doubts)
	}
	if c.Accepted < 500 || c.Bounced == 0 || c.Refused == 0 || c.Delivered == 0 {
		t.Errorf("the load did not try enough: %+v", c)
	}
	if int64(doubles) != c.Twice {
		t.Errorf("%d doubles by time, %d by ledger", doubles, c.Twice)
	}
	if len(r.seen.faults) > 0 {
		t.Errorf("%d faults in what left, first %s", len(r.seen.faults), r.seen.faults[0])
	}
}
