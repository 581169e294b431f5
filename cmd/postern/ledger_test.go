package main

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
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

// TestLedgerSurvivesKills is the product's promise over one real process: under
// load, with the node killed at random and started again, every 250 is
// delivered or bounced, no refusal is delivered, bodies stay as they were, what
// came twice was in doubt, and the quota is exact.
func TestLedgerSurvivesKills(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes")
	}
	kills := 10
	if os.Getenv("POSTERN_SOAK") != "" {
		kills = 300
	}
	m := newMailRig(t, loopback(t), 1, 6)
	m.unrest()
	stop := m.load(t.Context(), 200)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	x := m.nodes[0]
	for range kills {
		pause := time.NewTimer(time.Duration(500+rng.IntN(2500)) * time.Millisecond)
		select {
		case <-pause.C:
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
		m.keepCounts(x)
		ended := m.chronicle.Began("kill", x.name)
		m.kill(x)
		m.start(x)
		m.ready(x)
		ended()
	}
	stop()
	m.judge(kills)
}

// load starts the three loads and returns what ends them.
func (m *mailRig) load(ctx context.Context, rate float64) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	small := m.account("t1", smallUser, admin.Plan{MailsPerMonth: smallLimit})
	var daily []lab.Sender
	for _, x := range m.tenants {
		daily = append(daily, x.daily)
	}
	stranger := m.tenants[0].daily
	stranger.From = "somebody@elsewhere.test" // not the tenant's domain
	wait := m.watchOwners(ctx)
	var loads sync.WaitGroup
	loads.Go(func() {
		m.daily().sum = m.send(ctx, m.daily(), traffic{senders: daily, domains: everywhere(), sessions: 2 * len(daily), rcpts: 2, rate: rate})
	})
	loads.Go(func() {
		m.refused().sum = m.send(ctx, m.refused(), traffic{senders: []lab.Sender{stranger}, domains: []string{"inbox.test"}, sessions: 1, rcpts: 1, rate: 5})
	})
	loads.Go(func() {
		m.small().sum = m.send(ctx, m.small(), traffic{senders: []lab.Sender{small}, domains: []string{"inbox.test", "secure.test"}, sessions: 2, rcpts: 1, rate: 4})
	})
	return func() {
		end()
		loads.Wait()
		wait()
		// What is left of the small quota is spent now: it must end exactly.
		last := m.small()
		rest := &book{mark: lab.NewRunID(), ledger: last.ledger}
		m.also(rest)
		m.send(m.t.Context(), rest, traffic{senders: []lab.Sender{small}, domains: []string{"inbox.test"}, sessions: 2, rcpts: 1, rate: 200, count: smallLimit + 20})
	}
}
