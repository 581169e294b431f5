package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Cluster is this node's part of the consensus. New opens stores and starts
// nothing; Run starts raft, blocks until ctx ends, and closes everything.
type Cluster struct {
	cfg     Config
	tuning  tuning
	log     *slog.Logger
	failed  *failure
	metrics *metrics
	dog     *watchdog

	store *logStore
	timed *timedStore
	snaps *snapshotStore
	fsm   *fsm
	raft  *raft.Raft // set before ready is closed

	transport raft.Transport

	clocks   clocks
	peers    peers // nil: a cluster of one without a peer port
	contacts *contacts
	lessor   *lessor

	succession succession

	ran      atomic.Bool
	running  atomic.Bool // raft is set
	leads    atomic.Bool
	leadTerm atomic.Uint64 // of the leadership whose barrier is applied
	lease    atomic.Pointer[lease]
	heard    leaseAnswer                   // the last one; askLeases' own
	used     atomic.Bool                   // the lease was looked at since the last ask
	median   atomic.Pointer[time.Duration] // of the clocks, see skewed
	// mismatches counts reports of another state at the same index.
	mismatches atomic.Uint64

	leased    bell // a lease began
	led       bell // this node leads, or no longer
	badClock  bell // a stamp was refused
	newLeader chan struct{}
	confirms  chan chan confirmed
	calls     calling
	notices   notices
	seldom    seldom

	becomeReady sync.Once
	ready       chan struct{} // closed once everything old is applied and a leader known
	closing     chan struct{} // closed when no proposal may begin
	done        chan struct{} // closed when raft has stopped

	slots   chan struct{} // one for each proposal raft has; maxPending
	pending chan *pending // what raft has, in order

	closeOnce sync.Once
	closeErr  error
}

// New opens the stores in cfg.Dir. It starts nothing but what pebble starts.
func New(cfg Config) (*Cluster, error) { return open(cfg, standard()) }

func open(cfg Config, t tuning) (*Cluster, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	cfg.FS = privateFS{cfg.FS}
	c := &Cluster{
		cfg:    cfg,
		tuning: t,
		log:    cfg.Log,
		failed: &failure{fatal: cfg.Fatal},

		clocks:    clocks{boot: cfg.boot, wall: cfg.Now},
		contacts:  newContacts(),
		lessor:    newLessor(),
		newLeader: make(chan struct{}, 1),
		confirms:  make(chan chan confirmed),

		ready:   make(chan struct{}),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
		slots:   make(chan struct{}, maxPending),
		pending: make(chan *pending, maxPending),
	}
	writes, applies := newStopwatch("a write to the log"), newStopwatch("applying a command")
	c.dog = &watchdog{limit: cfg.HungWrite, watches: []*stopwatch{writes, applies}, failed: c.failed}
	c.fsm = newFSM(cfg.Log, applies)
	var err error
	if c.metrics, err = newMetrics(cfg.Registerer, c); err != nil {
		return nil, err
	}
	if err := c.openStores(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.timed = &timedStore{store: c.store, watch: writes, wrote: c.metrics.wrote}
	if cfg.Peering != nil {
		c.fsm.digests = &digests{}
	}
	if err := c.connect(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// openStores opens log and snapshots and makes sure that they are this node's.
func (c *Cluster) openStores() error {
	fs, dir := c.cfg.FS, c.cfg.Dir
	if err := makeDir(fs, dir); err != nil {
		return fmt.Errorf("open cluster: %w", err)
	}
	var err error
	if c.snaps, err = openSnapshots(fs, fs.PathJoin(dir, "snapshots"), c.log, c.metrics.took); err != nil {
		return err
	}
	logDir := fs.PathJoin(dir, "log")
	if err := makeDir(fs, logDir); err != nil {
		return fmt.Errorf("open cluster: %w", err)
	}
	options := storeOptions(fs, storeLog{c.log, c.failed})
	if c.store, err = openLogStore(logDir, options, c.failed); err != nil {
		return err
	}
	return claim(c.store, c.snaps, dir, c.cfg)
}

// Close gives back what New opened, for a Cluster that never ran. Run does it
// itself.
func (c *Cluster) Close() error {
	c.closeOnce.Do(func() {
		c.metrics.unregister()
		if c.peers != nil {
			c.peers.close()
		}
		if c.store != nil {
			c.closeErr = c.store.Close()
		}
	})
	return c.closeErr
}

// Run takes part in the consensus until ctx ends. A Cluster runs once.
func (c *Cluster) Run(ctx context.Context) (err error) {
	if !c.ran.CompareAndSwap(false, true) {
		return fmt.Errorf("run cluster: it ran before: %w", ErrClosed)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	defer close(c.done)
	defer c.leads.Store(false)
	if ctx.Err() != nil {
		close(c.closing)
		return nil
	}

	// The watchdog outlives raft: stopping it waits for its writes.
	var dog sync.WaitGroup
	dogCtx, stopDog := context.WithCancel(context.WithoutCancel(ctx))
	dog.Go(func() { c.dog.run(dogCtx) })
	defer dog.Wait()
	defer stopDog()

	return c.take(ctx)
}

// take starts raft and all that goes with it, and ends it with ctx, or when
// the peer port fails.
func (c *Cluster) take(ctx context.Context) error {
	// The port outlives raft, so that a stop does not look like a partition.
	portCtx, closePort := context.WithCancel(context.WithoutCancel(ctx))
	defer closePort()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ported := make(chan error, 1)
	if c.peers == nil {
		ported <- nil
	} else {
		go func() { defer cancel(); ported <- c.peers.run(portCtx) }()
	}
	end := func(err error) error {
		closePort()
		return errors.Join(err, <-ported)
	}
	if err := c.start(); err != nil {
		close(c.closing)
		return end(err)
	}
	waiter := make(chan struct{})
	go func() {
		defer close(waiter)
		c.resolve()
	}()
	var parts sync.WaitGroup
	running := []func(context.Context){c.reportSelf}
	if c.peers != nil {
		running = append(running, c.confirmLeadership, c.askLeases, c.keepMembers, c.keepTime, c.spread)
	}
	for _, part := range running {
		parts.Go(func() { part(ctx) })
	}
	c.follow(ctx)
	close(c.closing)
	parts.Wait()
	return end(c.stop(waiter))
}

// start makes raft from what the stores hold.
func (c *Cluster) start() error {
	config, err := members(c.store, c.snaps)
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	log := raftLog{log: c.log, name: "raft"}
	cached, err := raft.NewLogCache(logCache, c.timed)
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	var stream raft.StreamLayer
	if c.peers != nil {
		stream = newLayer(c.cfg.Name, c.peers, c.State)
	}
	carrier := newTransport(c.cfg.Name, stream, c.contacts, log)
	if t, ok := carrier.(*transport); ok {
		t.renew = c.snapshot
	}
	c.transport = carrier
	c.raft, err = raft.NewRaft(raftConfig(c.cfg.Name, c.tuning, log), c.fsm, cached, c.timed, c.snaps, carrier)
	if err != nil {
		if t, ok := carrier.(raft.WithClose); ok {
			_ = t.Close()
		}
		return fmt.Errorf("start raft: %w", err)
	}
	c.running.Store(true)
	if alone(config, c.cfg.Name) {
		return c.stand(carrier)
	}
	return nil
}

// stand makes a lone voter a candidate at once: there is nobody whose
// heartbeats it could wait for. It is raft's own message for a leader that
// hands over, sent to itself, so the long timeouts hold from the first moment
// and nothing has to be reopened when the second voter comes.
func (c *Cluster) stand(t raft.Transport) error {
	id, addr := raft.ServerID(c.cfg.Name), raft.ServerAddress(c.cfg.Name)
	req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(addr)}}
	if err := t.TimeoutNow(id, addr, req, &raft.TimeoutNowResponse{}); err != nil {
		c.log.Warn("the election waits for its timeout", "node", c.cfg.Name, "err", err)
	}
	return nil
}

// snapshot takes one now and says up to which of raft's indices it goes.
func (c *Cluster) snapshot() (index uint64, err error) {
	if !c.started() {
		return 0, ErrClosed
	}
	if err := c.raft.Snapshot().Error(); err != nil {
		return 0, err
	}
	list, err := c.snaps.List()
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0].Index, nil
}

// started says whether raft is there.
func (c *Cluster) started() bool { return c.running.Load() }

// leader is the name of the leader this node knows, or "".
func (c *Cluster) leader() string {
	if !c.started() {
		return ""
	}
	_, id := c.raft.LeaderWithID()
	return string(id)
}

// follow watches leadership until ctx ends.
func (c *Cluster) follow(ctx context.Context) {
	seen := make(chan raft.Observation, 16)
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	c.raft.RegisterObserver(observer)
	defer c.raft.DeregisterObserver(observer)
	for {
		select {
		case <-ctx.Done():
			return
		case <-seen:
			select {
			case c.newLeader <- struct{}{}:
			default:
			}
		case leads := <-c.raft.LeaderCh():
			c.lead(leads)
		}
	}
}

// lead begins or ends a leadership. One Barrier a term makes sure that
// everything committed before is applied here: raft's own AppliedIndex counts
// what was handed over, not what was applied.
func (c *Cluster) lead(leads bool) {
	if c.leads.Swap(false) {
		c.lessor.end()
		c.median.Store(nil)
		c.metrics.forget()
	}
	defer c.led.wake()
	if !leads {
		c.log.Warn("leadership lost", "node", c.cfg.Name)
		return
	}
	began, term := time.Now(), c.raft.CurrentTerm()
	if err := c.raft.Barrier(0).Error(); err != nil {
		c.log.Warn("leadership lost before it began", "node", c.cfg.Name, "err", err)
		return
	}
	if c.raft.CurrentTerm() != term {
		return // a later signal tells of the later term
	}
	c.lessor.begin(term, c.clocks.boot())
	c.leadTerm.Store(term)
	c.leads.Store(true)
	c.log.Info("leads the cluster", "node", c.cfg.Name, "term", term, "index", c.fsm.index.Load(), "barrier", time.Since(began))
	c.nowReady()
}

// keepTime runs the leader's clocks until ctx ends.
func (c *Cluster) keepTime(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		bad, led := c.badClock.next(), c.led.next()
		if c.Leads() {
			c.lessor.tick(c.clocks.boot())
			c.lagging()
			c.judgeClock()
			pause.Reset(untilBeat(tickPause))
		}
		select {
		case <-ctx.Done():
			return
		case <-bad:
		case <-led:
		case <-pause.C:
		}
	}
}

// stop ends raft once nothing is on its way. raft forgets what waits in its
// queue when it stops, and would never answer it.
func (c *Cluster) stop(waiter <-chan struct{}) error {
	quiet := c.drain()
	c.abdicate()
	err := c.raft.Shutdown().Error()
	if err != nil {
		err = fmt.Errorf("stop raft: %w", err)
	}
	if t, ok := c.transport.(*transport); ok {
		t.beats.end()
	}
	if !quiet {
		return errors.Join(err, errors.New("stop raft: proposals were still on their way"))
	}
	close(c.pending)
	<-waiter
	c.calls.end()
	return err
}

// abdicate hands leadership to a voter that answered lately, so that a planned
// stop costs no election.
func (c *Cluster) abdicate() {
	if c.peers == nil || c.raft.State() != raft.Leader {
		return
	}
	heirs := c.heirs()
	if len(heirs) == 0 || time.Since(c.contacts.of(heirs[0].ID).at) > leaderLease {
		return
	}
	if err := c.handOver(heirs[:1]); err != nil {
		c.log.Info("leadership ends without an heir", "node", c.cfg.Name, "err", err)
	}
}

// drain takes every slot, so that no proposal runs or begins.
func (c *Cluster) drain() bool {
	limit := time.NewTimer(quietTimeout)
	defer limit.Stop()
	for range cap(c.slots) {
		select {
		case c.slots <- struct{}{}:
		case <-limit.C:
			return false
		}
	}
	return true
}

// Ready is closed once this node has applied everything committed before its
// start and knows a leader.
func (c *Cluster) Ready() <-chan struct{} { return c.ready }

func (c *Cluster) nowReady() { c.becomeReady.Do(func() { close(c.ready) }) }
