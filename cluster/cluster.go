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

	ran   atomic.Bool
	leads atomic.Bool

	ready   chan struct{} // closed once everything old is applied and a leader known
	closing chan struct{} // closed when no proposal may begin
	done    chan struct{} // closed when raft has stopped

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
		cfg:     cfg,
		tuning:  t,
		log:     cfg.Log,
		failed:  &failure{fatal: cfg.Fatal},
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
	return claim(c.store, c.snaps, dir, c.cfg.Name, c.cfg.Bootstrap)
}

// Close gives back what New opened, for a Cluster that never ran. Run does it
// itself.
func (c *Cluster) Close() error {
	c.closeOnce.Do(func() {
		c.metrics.unregister()
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

	if err := c.start(); err != nil {
		close(c.closing)
		return err
	}
	waiter := make(chan struct{})
	go func() {
		defer close(waiter)
		c.resolve()
	}()
	c.follow(ctx)
	return c.stop(waiter)
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
	rc := raftConfig(c.cfg.Name, alone(config, c.cfg.Name), c.tuning, log)
	transport := newTransport(c.cfg.Name, nil, log)
	c.raft, err = raft.NewRaft(rc, c.fsm, cached, c.timed, c.snaps, transport)
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	return nil
}

// follow watches leadership until ctx ends. One Barrier a term makes sure that
// everything committed before is applied here: raft's own AppliedIndex counts
// what was handed over, not what was applied.
func (c *Cluster) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case leads := <-c.raft.LeaderCh():
			c.leads.Store(false)
			if !leads {
				c.log.Warn("leadership lost", "node", c.cfg.Name)
				continue
			}
			began := time.Now()
			if err := c.raft.Barrier(0).Error(); err != nil {
				c.log.Warn("leadership lost before it began", "node", c.cfg.Name, "err", err)
				continue
			}
			c.leads.Store(true)
			c.log.Info("leads the cluster", "node", c.cfg.Name, "index", c.fsm.index.Load(), "barrier", time.Since(began))
			select {
			case <-c.ready:
			default:
				close(c.ready)
			}
		}
	}
}

// stop ends raft once nothing is on its way. raft forgets what waits in its
// queue when it stops, and would never answer it.
func (c *Cluster) stop(waiter <-chan struct{}) error {
	close(c.closing)
	quiet := c.drain()
	err := c.raft.Shutdown().Error()
	if err != nil {
		err = fmt.Errorf("stop raft: %w", err)
	}
	if !quiet {
		return errors.Join(err, errors.New("stop raft: proposals were still on their way"))
	}
	close(c.pending)
	<-waiter
	return err
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
