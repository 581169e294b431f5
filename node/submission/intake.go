package submission

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"postern/node/bounce"
	"postern/tenant"
)

// IntakeConfig of an Intake. Zero values mean the default in brackets.
type IntakeConfig struct {
	Hostname string // greeting, and a domain of ours
	// Domains are ours besides Hostname: for return paths, abuse@ and fbl@.
	Domains []string
	State   func() *tenant.State
	Signer  *bounce.Signer // checks references and return paths
	// Traps are addresses that take whatever comes: only who sends without asking
	// writes to them. Reports is told of it as of a report.
	Traps []string
	// Reports is told of each report, once it was read.
	Reports Reports
	// TXT looks up text records, for the keys of lists' operators [none can be
	// asked for]. No record is an empty list; an error means that it is not known.
	TXT    func(ctx context.Context, name string) ([]string, error)
	Ready  func() error       // whether to greet at all; its error becomes 421 4.3.2
	TLS    func() *tls.Config // nil: no TLS offered
	Limits IntakeLimits

	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// IntakeLimits against abuse. Loopback clients are outside the per-IP one.
type IntakeLimits struct {
	Conns      int           // open connections in all [200]
	ConnsPerIP int           // IPv6: per /64 [10]
	Commands   int           // in one session [200]
	Messages   int           // in one session [50]
	Errors     int           // refused commands in one session [10]
	Bodies     int           // messages coming in at once, a megabyte each [32]
	MaxSize    int64         // octets of one message; what is beyond 1 MB of it is not read [50 MB]
	Body       time.Duration // one message, once it was begun [5 min]
	Idle       time.Duration // wait for the next command or octets [5 min: RFC 5321 §4.5.3.2.7]
	Session    time.Duration // one session in all [20 min]
}

// Reports takes what came in. Take must return soon; its error makes the sender
// come back later.
type Reports interface {
	Take(ctx context.Context, r IntakeReport) error
}

// Intake takes reports about mail long sent, on port 25: late bounces,
// complaints, and what people write to abuse@. Nothing it takes is ever passed
// on, so it cannot be a relay.
type Intake struct {
	cfg     IntakeConfig
	ours    atomic.Pointer[addresses]
	doors   *doors
	bodies  chan struct{} // one place for each message coming in
	reading chan struct{} // one place for each report being read
	metrics *intakeMetrics

	mu    sync.Mutex // guards conns
	conns map[net.Conn]struct{}
	ended sync.WaitGroup
}

// NewIntake checks the configuration; it starts nothing.
func NewIntake(cfg IntakeConfig) (*Intake, error) {
	switch {
	case cfg.Hostname == "" || cfg.State == nil || cfg.Signer == nil || cfg.Reports == nil:
		return nil, errors.New("configure intake: Hostname, State, Signer and Reports are needed")
	}
	if cfg.Ready == nil {
		cfg.Ready = func() error { return nil }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	l := &cfg.Limits
	setDefault(&l.Conns, 200)
	setDefault(&l.ConnsPerIP, 10)
	setDefault(&l.Commands, 200)
	setDefault(&l.Messages, 50)
	setDefault(&l.Errors, 10)
	setDefault(&l.Bodies, 32)
	setDefault(&l.MaxSize, 50_000_000)
	setDefault(&l.Body, 5*time.Minute)
	setDefault(&l.Idle, 5*time.Minute)
	setDefault(&l.Session, 20*time.Minute)
	m, err := newIntakeMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	in := &Intake{
		cfg: cfg, metrics: m,
		doors:  newDoors(Limits{Conns: l.Conns, ConnsPerIP: l.ConnsPerIP}),
		bodies: make(chan struct{}, l.Bodies), reading: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		conns: map[net.Conn]struct{}{},
	}
	in.SetAddresses(cfg.Domains, cfg.Traps)
	return in, nil
}

// addresses are those the intake takes, in lower case.
type addresses struct{ domains, traps map[string]bool }

// SetAddresses changes Domains and Traps of the configuration, for recipients
// named from now on.
func (in *Intake) SetAddresses(domains, traps []string) {
	a := &addresses{domains: map[string]bool{strings.ToLower(in.cfg.Hostname): true}, traps: map[string]bool{}}
	for _, d := range domains {
		a.domains[strings.ToLower(d)] = true
	}
	for _, t := range traps {
		a.traps[strings.ToLower(t)] = true
	}
	in.ours.Store(a)
}

// Run serves the listeners until ctx ends; then every client is told 421. It
// closes the listeners and returns when the last session has ended.
func (in *Intake) Run(ctx context.Context, ls ...net.Listener) error {
	if len(ls) == 0 {
		return errors.New("serve intake: no listener")
	}
	g, run := errgroup.WithContext(ctx)
	for _, l := range ls {
		g.Go(func() error { return in.accept(run, l) })
		g.Go(func() error {
			<-run.Done()
			return l.Close()
		})
	}
	err := g.Wait()
	in.mu.Lock()
	for c := range in.conns {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // a session that reads says 421
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	}
	in.mu.Unlock()
	in.ended.Wait()
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed)) {
		return nil
	}
	return err
}

func (in *Intake) accept(ctx context.Context, l net.Listener) error {
	pause := time.Duration(0)
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			in.admit(ctx, c)
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept intake: %w", err)
		}
		in.cfg.Log.Warn("accept failed", "listener", l.Addr().String(), "err", err)
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// admit starts a session, unless it is one too many.
func (in *Intake) admit(ctx context.Context, c net.Conn) {
	client := addrOf(c.RemoteAddr())
	network := networkOf(client)
	if !in.doors.enter(network) {
		in.metrics.refused.WithLabelValues(string(errTooManyConns.reason)).Inc()
		_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // fits the socket's buffer
		_, _ = c.Write([]byte(errTooManyConns.line()))
		_ = c.Close()
		return
	}
	in.mu.Lock()
	in.conns[c] = struct{}{}
	in.mu.Unlock()
	in.metrics.conns.Inc()
	in.ended.Go(func() {
		defer in.gone(c, network)
		defer func() {
			if what := recover(); what != nil {
				in.cfg.Log.Error("connection panicked", "client", client, "panic", what, "stack", string(debug.Stack()))
			}
		}()
		s := &visit{in: in, ctx: ctx, raw: c, conn: c, client: client, ends: time.Now().Add(in.cfg.Limits.Session)}
		s.reset()
		s.run()
	})
}

func (in *Intake) gone(c net.Conn, network netip.Addr) {
	_ = c.Close()
	in.mu.Lock()
	delete(in.conns, c)
	in.mu.Unlock()
	in.metrics.conns.Dec()
	in.doors.leave(network)
}

// intakeMetrics of the intake. Labels: kind is one of package bounce's, by one
// of the ways of attribution, reason one of the reasons of replies.go.
type intakeMetrics struct {
	reports *prometheus.CounterVec
	refused *prometheus.CounterVec
	conns   prometheus.Gauge
}

func newIntakeMetrics(reg prometheus.Registerer) (*intakeMetrics, error) {
	m := &intakeMetrics{
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_intake_reports_total", Help: "Reports taken on port 25, by what they are and what told whom they mean."}, []string{"kind", "by"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_intake_refused_total", Help: "Refused commands and messages on port 25."}, []string{"reason"}),
		conns: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postern_intake_connections", Help: "Open connections on port 25."}),
	}
	for _, c := range []prometheus.Collector{m.reports, m.refused, m.conns} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register intake metrics: %w", err)
		}
	}
	return m, nil
}

// visit is one client's session; all of it runs in one goroutine.
type visit struct {
	in     *Intake
	ctx    context.Context
	raw    net.Conn
	conn   net.Conn // raw, or TLS over it
	tls    bool
	client netip.Addr
	ends   time.Time
	r      *bufio.Reader
	w      *bufio.Writer

	greeted  bool
	open     bool // MAIL was taken
	from     string
	to       *mailbox
	commands int
	errors   int
	messages int
}

// reset begins anew on the present connection.
func (s *visit) reset() {
	s.r, s.w = bufio.NewReaderSize(s.conn, maxLine), bufio.NewWriterSize(s.conn, 2048)
	s.greeted = false
	s.drop()
}

// drop forgets the message that was begun.
func (s *visit) drop() { s.open, s.from, s.to = false, "", nil }
