package submission

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	smtp "github.com/emersion/go-smtp"
	"golang.org/x/sync/errgroup"

	"postern/tenant"
)

// Server serves submission on the listeners it is given.
type Server struct {
	cfg     Config
	store   store
	log     mailLog
	metrics *metrics
	doors   *doors
	tally   *tally
	gate    *gate
	dummy   [32]byte      // compared with when there is no account; nothing hashes to it
	signing chan struct{} // one place for each signature computed at once
	large   sync.Pool     // of *[]byte, readLarge long
	engine  *smtp.Server
	queue   *handOver
	gaps    gaps
	waits   waits
	links   *links // to the other nodes; nil in a cluster of one
	pending pending
	peers   peers

	hard    context.Context // ends when the last message must be given up
	giveUp  context.CancelFunc
	mu      sync.Mutex // guards wires
	wires   map[*wire]struct{}
	drained sync.WaitGroup
}

// New checks the configuration; it starts nothing.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Queue == nil {
		return nil, errors.New("configure submission: Queue is missing")
	}
	return newServer(cfg, spool{cfg.Queue})
}

func newServer(cfg Config, st store) (*Server, error) {
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, store: st, log: newMailLog(cfg.Log), metrics: m,
		doors: newDoors(cfg.Limits), tally: newTally(cfg.Limits), gate: newGate(m.gate),
		signing: make(chan struct{}, runtime.GOMAXPROCS(0)),
		wires:   map[*wire]struct{}{},
		queue:   newHandOver(), waits: defaultWaits,
	}
	_, _ = rand.Read(s.dummy[:]) // never fails
	s.large.New = func() any { b := make([]byte, readLarge); return &b }
	s.hard, s.giveUp = context.WithCancel(context.Background())
	if cfg.Peers != nil {
		s.links = newLinks(s.dialOwner)
	}
	s.engine = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return c.Conn().(*wire).sess, nil
	}))
	s.engine.Domain = cfg.Hostname
	s.engine.MaxLineLength = 0 // the wire bounds lines
	s.engine.EnableSMTPUTF8, s.engine.EnableDSN = true, true
	s.engine.ErrorLog = s.log
	return s, nil
}

func (s *Server) tls() *tls.Config {
	if s.cfg.TLS == nil {
		return nil
	}
	return s.cfg.TLS()
}

// Listener is one port. Implicit means TLS from the first byte (465).
type Listener struct {
	net.Listener
	Implicit bool
}

// Run serves until ctx ends; then every client is told 421 and transactions in
// their final phase get up to 30 s. It runs once; it closes the listeners.
func (s *Server) Run(ctx context.Context, ls ...Listener) error {
	if len(ls) == 0 {
		return errors.New("serve submission: no listener")
	}
	defer s.giveUp()
	engine := make(chan error, 1)
	go func() { engine <- s.engine.Serve(s.queue) }()

	g, run := errgroup.WithContext(ctx)
	for _, l := range ls {
		g.Go(func() error { return s.accept(run, l) })
		g.Go(func() error {
			<-run.Done()
			return l.Close()
		})
	}
	if p := s.cfg.Peers; p != nil {
		g.Go(func() error { return s.acceptPeers(run, p.Listener) })
		g.Go(func() error {
			<-run.Done()
			return p.Listener.Close()
		})
	}
	err := g.Wait()
	s.stop()
	s.queue.close()
	if e := <-engine; e != nil && !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, fmt.Errorf("serve submission: %w", e))
	}
	// The engine's goroutines have nothing left to do but return.
	end, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if e := s.engine.Shutdown(end); e != nil {
		err = errors.Join(err, fmt.Errorf("end submission: %w", e))
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// accept takes connections until ctx ends.
func (s *Server) accept(ctx context.Context, l Listener) error {
	pause := time.Duration(0)
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.admit(ctx, c, l.Implicit)
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept submission: %w", err)
		}
		// Out of descriptors, or a client that was gone again: go on, not at once.
		s.log.acceptFailed(l.Addr().String(), err)
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// admit hands a connection to the engine, unless it is one too many.
func (s *Server) admit(ctx context.Context, c net.Conn, implicit bool) {
	client := addrOf(c.RemoteAddr())
	network := networkOf(client)
	if s.cfg.balances(client) {
		c, network = newIntroduced(c), netip.Addr{} // the client's is not known yet
	}
	if !s.doors.enter(network) {
		s.metrics.refused.WithLabelValues("", string(errTooManyConns.reason)).Inc()
		if !implicit {
			_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // fits the socket's buffer
			_, _ = c.Write([]byte(errTooManyConns.line()))
		}
		_ = c.Close()
		return
	}
	w := newWire(s, c, implicit)
	s.mu.Lock()
	s.wires[w] = struct{}{}
	s.drained.Add(1)
	s.mu.Unlock()
	s.metrics.conns.Inc()
	if !s.queue.put(ctx, w) {
		_ = w.Close()
	}
}

// gone is a wire's last act.
func (s *Server) gone(w *wire) {
	s.doors.leave(w.netKey)
	s.metrics.conns.Dec()
	s.mu.Lock()
	delete(s.wires, w)
	s.mu.Unlock()
	s.drained.Done()
}

// stop tells every client 421, waits for messages whose body is coming in, and
// cuts what is left after the grace.
func (s *Server) stop() {
	until := time.Now().Add(s.cfg.Grace)
	s.peers.stop(until)
	s.mu.Lock()
	for w := range s.wires {
		w.stop(until)
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.drained.Wait()
		if s.links != nil {
			s.links.close()
		}
		s.peers.wg.Wait()
		close(done)
	}()
	late := time.NewTimer(s.cfg.Grace + time.Second)
	defer late.Stop()
	select {
	case <-done:
		return
	case <-late.C:
	}
	s.giveUp()
	s.peers.kill()
	s.mu.Lock()
	for w := range s.wires {
		w.kill()
	}
	s.mu.Unlock()
	<-done
}

// dialOwner connects to another node, or in memory to this one: a message that
// was waiting for its owner when this node became it goes the same way.
func (s *Server) dialOwner(ctx context.Context, node string) (net.Conn, error) {
	if n := s.cfg.State().NodeByName(node); n != nil && n.ID == s.cfg.Node() {
		here, there := net.Pipe()
		s.peers.serve(s, there, node)
		return here, nil
	}
	return s.cfg.Peers.Dial(ctx, node)
}

// refusal counts and logs a reply that the wire made.
func (s *Server) refusal(x *session, r *reply) {
	var t *tenant.Tenant
	var a *tenant.Account
	if x.tx != nil {
		t, a = x.tenant, x.sender
	}
	s.count(x.w, t, a, r)
}

func (s *Server) count(w *wire, t *tenant.Tenant, a *tenant.Account, r *reply) {
	if r.reason == "" || r.code < 400 {
		return
	}
	tname, aname := "", ""
	if t != nil {
		tname = t.Name
	}
	if a != nil {
		aname = a.Username
	}
	s.metrics.refused.WithLabelValues(tname, string(r.reason)).Inc()
	s.log.refused(tname, aname, w.peer, w.cmd, r)
}

func (s *Server) countAccepted(t *tenant.Tenant, rcpts int) {
	s.metrics.messages.WithLabelValues(t.Name).Inc()
	s.metrics.accepted.WithLabelValues(t.Name).Add(float64(rcpts))
}

// handOver is the listener the engine accepts from.
type handOver struct {
	ch   chan net.Conn
	done chan struct{}
}

func newHandOver() *handOver {
	return &handOver{ch: make(chan net.Conn), done: make(chan struct{})}
}

func (h *handOver) put(ctx context.Context, c net.Conn) bool {
	select {
	case h.ch <- c:
		return true
	case <-ctx.Done():
		return false
	}
}

func (h *handOver) Accept() (net.Conn, error) {
	select {
	case c := <-h.ch:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handOver) close()         { close(h.done) }
func (h *handOver) Close() error   { return nil }
func (h *handOver) Addr() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPort{}) }
