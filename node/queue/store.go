package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"postern/tenant"
)

// Errors of the store. Callers compare with errors.Is.
var (
	ErrNotFound = errors.New("no such message")
	ErrFull     = errors.New("queue disk below its free-space floor")
	ErrStale    = errors.New("epoch is not the tenant's current one here")
	ErrFailed   = errors.New("queue store failed")
	ErrLeased   = errors.New("message is being attempted")
)

// Config of a Store. Zero values mean the default in brackets.
type Config struct {
	Dir       string
	FS        vfs.FS        // pebble's default; tests pass a crashable one
	FreeFloor uint64        // octets that must stay free on the disk [1 GB or 5 %, the smaller]
	InlineMax int           // largest body kept inside pebble [256 KB]
	KeepRcpts time.Duration // recipients of ended messages [30 days]
	KeepTalk  time.Duration // SMTP dialogues [7 days]
	// Keep says for how long both are kept by now, in place of KeepRcpts and
	// KeepTalk; nil: it never changes.
	Keep       func() (rcpts, talk time.Duration)
	Grace      time.Duration // how much later than the rest in-doubt items are due [60 s]
	Now        func() time.Time
	Fatal      func(error) // the store's only way out when a sync failed; must not return
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Peers      *Peers // nil: no second copies
	// Suppress says whether every node of the cluster knows rows of suppressed
	// addresses, so that they may be written; nil: yes.
	Suppress func() bool

	prepare func(*Store) // tests change the store before anything runs
}

func (c *Config) fill() error {
	if c.Dir == "" {
		return errors.New("open queue: no directory")
	}
	if c.Fatal == nil {
		return errors.New("open queue: no Fatal")
	}
	if c.InlineMax <= 0 {
		c.InlineMax = 256 << 10
	}
	// A batch of half a memtable takes pebble's slow path for large batches.
	c.InlineMax = min(c.InlineMax, memtableSize/8)
	if c.KeepRcpts <= 0 {
		c.KeepRcpts = 30 * 24 * time.Hour
	}
	if c.KeepTalk <= 0 {
		c.KeepTalk = 7 * 24 * time.Hour
	}
	if c.Grace <= 0 {
		c.Grace = time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Store is the node's spool. Its methods may be called concurrently.
type Store struct {
	cfg     Config
	fs      vfs.FS
	db      *pebble.DB
	gate    gate // everybody who uses db goes through it
	metrics *metrics
	pool    buffers
	chunks  string // directory of chunk files
	starts  *startLog
	disk    disk
	limits  limits

	owning sync.Mutex // one Adopt or Release at a time
	mu     sync.Mutex // guards index and left
	index  index
	wake   chan struct{} // a lane may have become due
	failed atomic.Pointer[error]
	dead   chan struct{} // closed when failed is set
	once   sync.Once

	scrubs sync.Mutex // one Scrub at a time
	scrub  scrubbing

	queue committer
	ship  *ship   // nil without peers
	hold  *holder // what is kept for others
	left  leftovers
	beat  heartbeat

	tidied []byte     // where expireSuppressed goes on; only expire uses it
	kept   oldestKept // what expire left

	observe func(*pebble.Batch) // tests see every batch before it is committed
}

// New opens or creates the store in cfg.Dir and recovers it. It starts nothing
// that outlives Close.
func New(cfg Config) (*Store, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	s := &Store{
		cfg:    cfg,
		fs:     cfg.FS,
		limits: defaultLimits,
		index:  index{logs: map[tenant.ID]*tlog{}, past: map[tenant.ID]*tlog{}, copying: map[tenant.ID]func(){}},
		wake:   make(chan struct{}, 1),
		dead:   make(chan struct{}),
	}
	if s.fs == nil {
		s.fs = newPrivateFS(vfs.Default)
	}
	s.fs = freshFS{markerFS{s.fs}, &s.scrub}
	s.gate.empty = sync.NewCond(&s.gate.mu)
	s.hold = newHolder(s)
	s.left.init()
	s.metrics = newMetrics(cfg.Registerer, s)
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	s.beat.done(time.Now())
	s.queue.init()
	if cfg.prepare != nil {
		cfg.prepare(s)
	}
	go s.settleLoop()
	if cfg.Peers != nil {
		s.ship = newShip(s)
		s.ship.all.Go(s.ship.watch)
		s.ship.all.Go(s.ship.accept)
	}
	return s, nil
}

// open brings the disk to a state that needs no recovery any more.
func (s *Store) open() (err error) {
	if err := s.makeDirs(); err != nil {
		return err
	}
	if s.db, err = pebble.Open(s.fs.PathJoin(s.cfg.Dir, "log"), s.options()); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = s.db.Close()
		}
	}()
	if err = s.sweepChunks(); err != nil {
		return err
	}
	if err = s.recoverStarts(); err != nil {
		return err
	}
	s.disk.wanted.Store(s.cfg.FreeFloor)
	return s.checkDisk()
}

// fail poisons the store: from now on every call gives ErrFailed. Then Fatal
// ends the process; a store whose sync failed cannot know what is on disk.
func (s *Store) fail(err error) {
	s.once.Do(func() {
		err = fmt.Errorf("%w: %w", ErrFailed, err)
		s.failed.Store(&err)
		close(s.dead)
		s.cfg.Log.Error("queue store failed", "err", err)
		s.cfg.Fatal(err)
	})
}

// broken is nil while the store works.
func (s *Store) broken() error {
	if e := s.failed.Load(); e != nil {
		return *e
	}
	return nil
}

// commit makes a batch durable. An error is final for the whole store. pebble
// reports some failures only to its logger, so the flag is read again after.
func (s *Store) commit(b *pebble.Batch) error {
	if err := s.broken(); err != nil {
		return err
	}
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	if s.observe != nil {
		s.observe(b)
	}
	began := time.Now()
	if err := b.Commit(pebble.Sync); err != nil {
		s.fail(err)
	}
	ended := time.Now()
	s.metrics.commit.Observe(ended.Sub(began).Seconds())
	if err := s.broken(); err != nil {
		return err
	}
	s.beat.done(ended)
	return nil
}

// Close ends the store after outstanding writes are durable. Later calls give
// ErrFailed.
func (s *Store) Close() error {
	s.endForwards()
	if s.ship != nil {
		s.ship.close()
	}
	s.queue.close()
	<-s.queue.done
	if !s.gate.close() {
		return errClosed
	}
	err := s.broken()
	if cerr := s.db.Close(); err == nil {
		err = cerr
	}
	if cerr := s.starts.close(); err == nil {
		err = cerr
	}
	return err
}

// Run keeps retention and the free-space watch going until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	second := time.NewTimer(0)
	defer second.Stop()
	hour := time.NewTicker(time.Hour)
	defer hour.Stop()
	var kept keeping
	tidy := func() {
		kept = s.keeping()
		if err := s.expire(); err != nil {
			s.cfg.Log.Error("retention failed", "err", err)
		}
	}
	tidy()
	for {
		second.Reset(untilBeat(time.Second))
		select {
		case <-ctx.Done():
			return nil
		case <-s.dead:
			return s.broken()
		case <-second.C:
			if err := s.checkDisk(); err != nil {
				s.cfg.Log.Error("free-space check failed", "err", err)
			}
			if s.keeping() != kept { // somebody set it
				tidy()
			}
		case <-hour.C:
			tidy()
		}
	}
}

// now is the clock in the unit of due keys.
func (s *Store) now() int64 { return s.cfg.Now().UnixMicro() }

// poke tells Wait to look again.
func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// get reads one record. ErrNotFound when there is none. use must not keep b.
func (s *Store) get(key []byte, use func(payload []byte) error) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	v, c, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("read queue: %w", err)
	}
	defer c.Close()
	p, err := unseal(v)
	if err != nil {
		return err
	}
	return use(p)
}
