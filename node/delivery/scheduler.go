package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"postern/node/queue"
	"postern/node/trouble"
	"postern/tenant"
)

// spool is where due mail comes from.
type spool interface {
	Wait(ctx context.Context) ([]queue.Lane, error)
	Take(l queue.Lane, max int) (items []*queue.Item, more bool, err error)
	Park(l queue.Lane, until time.Time)
	Flushed(l queue.Lane) bool
	Waiting(l queue.Lane, most int) (int, error)
	GiveBack(items ...*queue.Item)
}

// ledger is where attempts are written down.
type ledger interface {
	Body(id queue.ID) (queue.Body, error)
	Start(it *queue.Item) error
	Settle(x queue.Settlement, done func(error))
	Suppressed(t tenant.ID, class tenant.Class, addr string) (queue.Suppression, bool, error)
}

// finder finds a domain's hosts; a static route's too.
type finder interface {
	resolver
	Route(ctx context.Context, name string, port uint16) (*site, error)
}

// Windows and paces of the scheduler.
const (
	window    = 64               // items of one lane in memory
	lowWater  = 16               // a lane with fewer is loaded again
	lookupMax = 128              // domains being resolved at once
	lookupFor = 60 * time.Second // for one domain

	maxSettling = 1024                   // settlements on their way to the disk
	tickEvery   = 100 * time.Millisecond // budgets and rests are looked at
	statePoll   = 250 * time.Millisecond
	tidyEvery   = 10 * time.Second
)

// scheduler decides which item is attempted next, from where and over which
// connection. One goroutine feeds it with lanes that fell due, one with time
// and new states; couriers (one for each open session) take the items.
type scheduler struct {
	cfg    Config
	spool  spool
	ledger ledger
	find   finder
	dial   dialer
	random func() float64 // [0,1)
	m      *metrics
	log    mailLog
	noDot  *trouble.Log[tenant.ID]

	evidence *evidence

	couriers  sync.WaitGroup
	resolving sync.WaitGroup
	settling  chan struct{} // settlements on their way to the disk
	ctx       context.Context
	hard      context.Context // ends when open dots may no longer finish
	nudged    chan struct{}
	waits     atomic.Pointer[[]time.Duration] // instead of cfg.Retry, once they were changed
	tallies   sync.Map                        // tenant.ID -> *tally

	mu      sync.Mutex // guards everything below, and all lanes, targets and budgets
	closing bool
	lanes   map[queue.Lane]*lane
	stopped map[*lane]struct{} // lanes that may not be attempted now
	halted  map[*lane]struct{} // those of them that go on after a pause
	targets map[targetKey]*target
	working map[*target]struct{} // targets something waits at
	budgets map[budgetKey]*budget
	pending map[*budget]struct{} // budgets something waits for
	open    int                  // connections, open or being opened
	opened  map[tenant.ID]int
	waiting turns[*ready] // for a connection of the node
	idle    map[*courier]struct{}
	asked   map[string]*lookup // domains being resolved
	asking  map[tenant.ID]int  // look-ups running, by tenant
	lookups int                // look-ups running
	toAsk   turns[*lookup]
	routes  map[string]*site // static routes as last resolved
	view    view
	clock   stateClock
}

func newScheduler(cfg Config, sp spool, l ledger, f finder, d dialer, random func() float64) (*scheduler, error) {
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register delivery metrics: %w", err)
	}
	return &scheduler{
		cfg: cfg, spool: sp, ledger: l, find: f, dial: d, random: random,
		m: m, log: mailLog{cfg.Log, cfg.State},
		noDot:    trouble.New[tenant.ID](cfg.Log, slog.LevelWarn, "final dot not allowed", "tenant"),
		evidence: newEvidence(evidenceWindow),
		lanes:    map[queue.Lane]*lane{}, stopped: map[*lane]struct{}{}, halted: map[*lane]struct{}{},
		nudged: make(chan struct{}, 1), settling: make(chan struct{}, maxSettling),
		targets: map[targetKey]*target{}, working: map[*target]struct{}{}, budgets: map[budgetKey]*budget{},
		pending: map[*budget]struct{}{}, opened: map[tenant.ID]int{},
		idle: map[*courier]struct{}{}, asked: map[string]*lookup{}, asking: map[tenant.ID]int{},
		routes: map[string]*site{}, view: newView(),
	}, nil
}

// run feeds the scheduler until ctx ends, then ends it in order: no new
// attempts, open dots bounded, sessions closed, items given back, outcomes durable.
func (s *scheduler) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	s.ctx, s.hard = ctx, hard
	s.reconsider() // the state's clock runs on from here

	var wg sync.WaitGroup
	wg.Go(func() { s.keepTime(ctx) })
	err := s.feed(ctx)
	cancel()
	wg.Wait()
	s.shut()

	ended := make(chan struct{})
	go func() {
		s.couriers.Wait()
		close(ended)
	}()
	late := time.NewTimer(endDots)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
		kill()
		<-ended
	}
	s.resolving.Wait()
	s.giveAllBack()
	for range cap(s.settling) {
		s.settling <- struct{}{} // until none is on its way
	}
	return err
}

// feed hands lanes that fell due to the scheduler until ctx ends.
func (s *scheduler) feed(ctx context.Context) error {
	for {
		lanes, err := s.spool.Wait(ctx)
		if len(lanes) > 0 {
			s.arrive(lanes)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, queue.ErrFailed):
			return fmt.Errorf("wait for due mail: %w", err)
		case err != nil:
			s.cfg.Log.Error("wait for due mail failed", "err", err)
			if !sleep(ctx, time.Second) {
				return nil
			}
		}
	}
}

// keepTime looks at rests, rates and new states until ctx ends.
func (s *scheduler) keepTime(ctx context.Context) {
	tick := time.NewTimer(tickEvery)
	defer tick.Stop()
	var changed <-chan struct{}
	var polled, tidied time.Time
	for {
		if s.cfg.Watch != nil && changed == nil {
			changed = s.cfg.Watch(s.cfg.State().Index())
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
			changed = nil
			s.reconsider()
		case <-s.nudged:
			tick.Reset(tickEvery)
		case now := <-tick.C:
			next := tidyEvery
			if s.cfg.Watch == nil {
				next = statePoll
			}
			if now.Sub(polled) >= next {
				polled = now
				s.reconsider()
			}
			if s.onTick(now) {
				next = tickEvery
			}
			if now.Sub(tidied) >= tidyEvery {
				tidied = now
				s.tidy(now)
			}
			tick.Reset(next)
		}
	}
}

// nudge makes keepTime look soon: something waits for time to pass.
func (s *scheduler) nudge() {
	select {
	case s.nudged <- struct{}{}:
	default:
	}
}

// onTick lets go on what waited for time to pass, and says whether anything
// still does.
func (s *scheduler) onTick(now time.Time) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.pending {
		s.grant(b, now)
	}
	s.grantNode(now)
	for l := range s.halted {
		if !now.Before(l.until) {
			delete(s.halted, l)
			s.admit(l, now)
		}
	}
	for t := range s.working {
		s.unstick(t, now)
	}
	return len(s.pending)+len(s.halted)+len(s.working)+s.waiting.len() > 0
}

// shut ends all waiting: couriers without an open transaction go home.
func (s *scheduler) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for c := range s.idle {
		s.wakeOne(c)
	}
}

// giveAllBack returns every leased item that was not attempted.
func (s *scheduler) giveAllBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		s.empty(l)
	}
}

// tidy forgets targets and budgets nobody uses.
func (s *scheduler) tidy(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rested := 0
	for k, t := range s.targets {
		if now.Before(t.until) {
			rested++
		}
		// A failing site is remembered a while after its rest ended, so that
		// the next failure rests longer.
		if t.refs == 0 && t.open == 0 && t.empty() && now.After(t.until.Add(t.memory())) {
			delete(s.targets, k)
			t.budget.targets--
		}
	}
	for k, b := range s.budgets {
		if b.targets == 0 && b.open == 0 && b.waiting.len() == 0 && now.After(b.until.Add(throttled)) && now.Sub(b.conns.at) > time.Minute {
			delete(s.budgets, k)
			delete(s.pending, b)
		}
	}
	s.m.resting.Set(float64(rested))
}

// sleep waits d; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// tally finds a tenant's counters.
func (s *scheduler) tally(t tenant.ID) *tally {
	if v, ok := s.tallies.Load(t); ok {
		return v.(*tally)
	}
	name := "removed"
	if known := s.cfg.State().Tenant(t); known != nil {
		name = known.Name
	}
	v, _ := s.tallies.LoadOrStore(t, s.m.tallyOf(name))
	return v.(*tally)
}
