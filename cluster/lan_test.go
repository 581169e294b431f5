package cluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// lan is a network in memory. Each direction between two nodes can be cut:
// what is sent into a cut is lost, and the connection with it.
type lan struct {
	mu    sync.Mutex // guards what follows
	nodes map[string]*station
	cut   map[[2]string]bool // from, to
	wires map[*wire]struct{}
}

func newLAN() *lan {
	return &lan{nodes: map[string]*station{}, cut: map[[2]string]bool{}, wires: map[*wire]struct{}{}}
}

// sever and mend change one direction.
func (n *lan) sever(from, to string) { n.set(from, to, true) }
func (n *lan) mend(from, to string)  { n.set(from, to, false) }

func (n *lan) set(from, to string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{from, to}] = cut
}

// isolate cuts a node off in both directions; rejoin undoes all its cuts.
func (n *lan) isolate(name string) { n.around(name, n.sever) }
func (n *lan) rejoin(name string)  { n.around(name, n.mend) }

func (n *lan) around(name string, do func(from, to string)) {
	n.mu.Lock()
	var others []string
	for other := range n.nodes {
		if other != name {
			others = append(others, other)
		}
	}
	n.mu.Unlock()
	for _, other := range others {
		do(name, other)
		do(other, name)
	}
}

func (n *lan) isCut(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[[2]string{from, to}]
}

// station is one node's place in the lan.
type station struct {
	lan  *lan
	name string

	mu        sync.Mutex // guards what follows
	verbs     map[string]callFunc
	listeners map[string]*pipes
	ended     bool

	ctx context.Context
	end context.CancelFunc
}

var _ peers = (*station)(nil)

// attach makes a place in the lan; a later one of the same name takes over.
func (n *lan) attach(name string) *station {
	ctx, end := context.WithCancel(context.Background())
	s := &station{lan: n, name: name, verbs: map[string]callFunc{}, listeners: map[string]*pipes{}, ctx: ctx, end: end}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[name] = s
	return s
}

func (n *lan) station(name string) *station {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nodes[name]
}

func (s *station) run(ctx context.Context) error { <-ctx.Done(); s.close(); return nil }

func (s *station) close() {
	s.mu.Lock()
	s.ended = true
	listeners := s.listeners
	s.listeners = nil
	s.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close()
	}
	s.end()
	s.lan.mu.Lock()
	if s.lan.nodes[s.name] == s {
		delete(s.lan.nodes, s.name)
	}
	s.lan.mu.Unlock()
}

func (s *station) handle(verb string, f callFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verbs[verb] = f
}

func (s *station) alive(node string) bool   { return s.lan.station(node) != nil }
func (s *station) silent(string) bool       { return false }
func (s *station) rtt(string) time.Duration { return 0 }
func (s *station) listen(proto string) net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &pipes{name: s.name, queue: make(chan net.Conn), done: make(chan struct{})}
	if s.ended {
		l.once.Do(func() { close(l.done) })
	} else {
		s.listeners[proto] = l
	}
	return l
}

// keyOf is the made-up key of a node.
func keyOf(name string) [32]byte { return sha256.Sum256([]byte(name)) }

func (s *station) found(ctx context.Context, propose proposal) error {
	token := tenant.JoinToken{Hash: [32]byte{1}, Expires: time.Now().Add(1000 * time.Hour)}
	for _, op := range []tenant.Op{
		tenant.AddToken{Token: token},
		tenant.Join{Name: s.name, Peer: s.name + ":1", Key: keyOf(s.name), Token: token.Hash, Version: tenant.NewestVersion},
		tenant.SetAuthority{Authority: tenant.Authority{Cluster: [16]byte{1}, Cert: []byte{1}, SealedKey: []byte{1}, SealedGossip: []byte{1}}},
	} {
		if _, err := propose(ctx, op); err != nil {
			return fmt.Errorf("found: %w", err)
		}
	}
	return nil
}

// call runs in the answering node's place and time; what is cut is lost.
func (s *station) call(ctx context.Context, node, verb string, req, resp any) error {
	body, err := encodeBody(req)
	if err != nil {
		return err
	}
	if s.ctx.Err() != nil {
		return errUnreached
	}
	if s.lan.isCut(s.name, node) {
		<-ctx.Done()
		return errUnanswered
	}
	there := s.lan.station(node)
	if there == nil {
		return errUnreached
	}
	there.mu.Lock()
	f := there.verbs[verb]
	there.mu.Unlock()
	if f == nil {
		return errUnreached
	}
	type reply struct {
		body []byte
		err  error
	}
	got := make(chan reply, 1)
	callCtx, cancel := context.WithTimeout(there.ctx, callTime)
	go func() {
		defer cancel()
		b, err := f(callCtx, s.name, body)
		got <- reply{b, err}
	}()
	select {
	case r := <-got:
		if s.lan.isCut(node, s.name) {
			<-ctx.Done()
			return errUnanswered
		}
		if r.err != nil {
			return errors.New(r.err.Error())
		}
		return decodeBody(r.body, resp)
	case <-ctx.Done():
		return errors.Join(errUnanswered, ctx.Err())
	case <-there.ctx.Done():
		return errUnanswered
	case <-s.ctx.Done():
		return errUnanswered
	}
}

func (s *station) dial(ctx context.Context, node, proto string) (net.Conn, error) {
	if s.lan.isCut(s.name, node) || s.lan.isCut(node, s.name) {
		select {
		case <-ctx.Done():
		case <-s.ctx.Done():
		}
		return nil, errUnreached
	}
	there := s.lan.station(node)
	if there == nil || s.ctx.Err() != nil {
		return nil, errUnreached
	}
	there.mu.Lock()
	l := there.listeners[proto]
	there.mu.Unlock()
	if l == nil {
		return nil, errUnreached
	}
	here, far := net.Pipe()
	us := &wire{Conn: here, lan: s.lan, from: s.name, to: node}
	them := &wire{Conn: far, lan: s.lan, from: node, to: s.name}
	us.other, them.other = them, us
	stop := context.AfterFunc(s.ctx, us.sever)
	stopThem := context.AfterFunc(there.ctx, us.sever)
	us.stops = []func() bool{stop, stopThem}
	select {
	case l.queue <- them:
		return us, nil
	case <-l.done:
	case <-ctx.Done():
	}
	return nil, errors.Join(errUnreached, us.Close())
}

// wire is one end of a connection. What is written into a cut is swallowed,
// and nothing comes through it any more.
type wire struct {
	net.Conn
	lan      *lan
	from, to string
	other    *wire
	stops    []func() bool

	mu     sync.Mutex // guards broken
	broken bool
}

func (w *wire) RemoteAddr() net.Addr { return nodeAddr(w.to) }

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	if w.lan.isCut(w.from, w.to) {
		w.broken = true
	}
	broken := w.broken
	w.mu.Unlock()
	if broken {
		if !w.lan.isCut(w.from, w.to) {
			w.sever() // it was mended: the gap shows
			return 0, io.ErrClosedPipe
		}
		return len(p), nil
	}
	return w.Conn.Write(p)
}

// sever ends both ends at once.
func (w *wire) sever() {
	_ = w.Conn.Close()
	_ = w.other.Conn.Close()
}

func (w *wire) Close() error {
	for _, stop := range w.stops {
		stop()
	}
	return w.Conn.Close()
}

// pipes is a listener of net.Pipe ends.
type pipes struct {
	name  string
	queue chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipes) Addr() net.Addr { return nodeAddr(l.name) }
func (l *pipes) Close() error   { l.once.Do(func() { close(l.done) }); return nil }

// trio is a cluster of some nodes in one lan.
type trio struct {
	t    testing.TB
	lan  *lan
	fs   map[string]vfs.FS
	tune tuning
	set  func(*Config) // what a test changes in a node's configuration

	mu    sync.Mutex // guards nodes
	nodes map[string]*running
}

// newTrio founds a cluster in node n1 and joins the others.
func newTrio(t testing.TB, size int) *trio {
	t.Helper()
	x := emptyTrio(t)
	x.grow(size)
	return x
}

func emptyTrio(t testing.TB) *trio {
	x := &trio{t: t, lan: newLAN(), fs: map[string]vfs.FS{}, tune: standard(), nodes: map[string]*running{}}
	simClocks(x)
	return x
}

// grow starts nodes until there are size, and waits until all vote.
func (x *trio) grow(size int) {
	x.t.Helper()
	for i := len(x.nodes) + 1; i <= size; i++ {
		name := numbered("n", i)
		if i > 1 {
			x.join(name)
		}
		x.start(name)
		if i == 1 {
			eventually(x.t, time.Minute, "a founded state", func() bool { return !founding(x.node(name).State()) })
		}
	}
	eventually(x.t, time.Minute, "all vote", func() bool {
		l := x.leader()
		return l != nil && len(l.Status().Voters) == max(size, 1)
	})
}

// join registers a node as the peer port would.
func (x *trio) join(name string) {
	x.t.Helper()
	x.mustPropose(tenant.Join{Name: name, Peer: name + ":1", Key: keyOf(name), Token: [32]byte{1}, Version: tenant.NewestVersion})
}

func (x *trio) config(name string) Config {
	fs := x.fs[name]
	if fs == nil {
		fs = vfs.NewMem()
		x.fs[name] = fs
	}
	cfg := config(x.t, fs)
	cfg.Name, cfg.Bootstrap = name, name == "n1"
	cfg.Peering = &Peering{Advertise: name + ":1"}
	cfg.peers = x.lan.attach(name)
	if os.Getenv("POSTERN_LOUD") != "" {
		cfg.Log = loud(name)
	}
	if x.set != nil {
		x.set(&cfg)
	}
	return cfg
}

// start runs a node on what its file system holds.
func (x *trio) start(name string) *running {
	x.t.Helper()
	r := run(x.t, x.config(name), x.tune)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.nodes[name] = r
	return r
}

func (x *trio) node(name string) *running {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.nodes[name]
}

// kill ends a node as the end of its process would: nobody hears from it.
func (x *trio) kill(name string) {
	x.t.Helper()
	x.lan.station(name).close()
	x.halt(name)
}

// halt stops a node.
func (x *trio) halt(name string) {
	x.t.Helper()
	r := x.node(name)
	x.mu.Lock()
	delete(x.nodes, name)
	x.mu.Unlock()
	r.stop()
}

func (x *trio) all() []*running {
	x.mu.Lock()
	defer x.mu.Unlock()
	var rs []*running
	for _, r := range x.nodes {
		rs = append(rs, r)
	}
	return rs
}

// leader is the node that leads with the highest term, or nil.
func (x *trio) leader() (leader *running) {
	for _, r := range x.all() {
		if r.started() && r.Leads() && (leader == nil || r.leadTerm.Load() > leader.leadTerm.Load()) {
			leader = r
		}
	}
	return leader
}

func (x *trio) awaitLeader() (leader *running) {
	x.t.Helper()
	eventually(x.t, time.Minute, "a leader", func() bool { leader = x.leader(); return leader != nil })
	return leader
}

// follower is some node that does not lead.
func (x *trio) follower() *running {
	x.t.Helper()
	leader := x.awaitLeader()
	for _, r := range x.all() {
		if r.Cluster != leader.Cluster {
			return r
		}
	}
	x.t.Fatal("no follower")
	return nil
}

func (x *trio) mustPropose(op tenant.Op) []tenant.Event {
	x.t.Helper()
	return x.awaitLeader().do(op)
}

func (r *running) do(op tenant.Op) []tenant.Event {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	events, _, err := r.Propose(ctx, tenant.RequestID{}, op)
	if err != nil {
		r.t.Fatalf("%T at %s: %v", op, r.cfg.Name, err)
	}
	return events
}

// converge waits until all nodes have the same state.
func (x *trio) converge() {
	x.t.Helper()
	eventually(x.t, time.Minute, "equal states", func() bool {
		var want [32]byte
		for i, r := range x.all() {
			if d := r.State().Digest(); i == 0 {
				want = d
			} else if d != want {
				return false
			}
		}
		return true
	})
}
