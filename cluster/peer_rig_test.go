package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/tenant"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// tribe is a cluster without raft: its commands are applied at once.
type tribe struct {
	t     testing.TB
	mu    sync.Mutex // guards fails and the order of changes
	fails map[int]bool
	count int
	state atomic.Pointer[tenant.State]
	shift atomic.Int64 // of everybody's clock, nanoseconds
	pace  pace
}

func newTribe(t testing.TB) *tribe {
	r := &tribe{t: t, pace: quickPace()}
	r.state.Store(tenant.New())
	return r
}

func (r *tribe) now() time.Time { return time.Now().Add(time.Duration(r.shift.Load())) }

// propose applies op; the calls numbered in fails do nothing.
func (r *tribe) propose(_ context.Context, op tenant.Op) (*tenant.State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	if r.fails[r.count] {
		return nil, ErrNoLeader
	}
	var id tenant.RequestID
	_, _ = rand.Read(id[:])
	s := r.state.Load()
	next, _, err := tenant.Apply(s, s.Index()+1, tenant.Command{Request: id, At: r.now(), Op: op})
	if next != nil {
		r.state.Store(next)
	}
	return r.state.Load(), err
}

func (r *tribe) must(op tenant.Op) {
	r.t.Helper()
	if _, err := r.propose(context.Background(), op); err != nil {
		r.t.Fatalf("%T: %v", op, err)
	}
}

func (r *tribe) node(name string) *tenant.Node {
	r.t.Helper()
	n := r.state.Load().NodeByName(name)
	if n == nil {
		r.t.Fatalf("node %s is not registered", name)
	}
	return n
}

// seat is one node's place in a tribe.
type seat struct {
	name  string
	dir   string
	addr  string
	port  *port
	view  atomic.Pointer[tenant.State] // instead of the tribe's state
	isNew atomic.Bool                  // what fresh says
	stop  func()
}

// flip seals by turning every octet: what is not opened cannot be used.
func flip(_ string, b []byte) ([]byte, error) {
	out := bytes.Clone(b)
	for i := range out {
		out[i] ^= 0xff
	}
	return out, nil
}

// bind takes a port of its own.
func bind(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func quickPace() pace {
	p := standardPace()
	p.sweep, p.renewal = 5*time.Millisecond, 5*time.Millisecond
	p.dial, p.handshake = patience, patience // on a busy machine
	p.grace = 100 * time.Millisecond
	p.retryMin, p.retryMax = time.Millisecond, 20*time.Millisecond
	return p
}

// open opens the port of a node whose directory has a certificate.
func (r *tribe) open(name, dir string, l net.Listener, edit func(*port)) *seat {
	r.t.Helper()
	s := &seat{name: name, dir: dir, addr: l.Addr().String()}
	state := func() *tenant.State {
		if v := s.view.Load(); v != nil {
			return v
		}
		return r.state.Load()
	}
	p, err := openPort(Peering{
		Listener: l, Advertise: s.addr, PKI: dir, Seal: flip, Open: flip,
		Secret: func() ([]byte, error) { return []byte("the cluster's secret"), nil },
	}, name, state, quiet())
	if err != nil {
		_ = l.Close()
		r.t.Fatal(err)
	}
	p.now, p.pace, p.propose, p.fresh = r.now, r.pace, r.propose, s.isNew.Load
	if edit != nil {
		edit(p)
	}
	s.port = p
	return s
}

// run starts the port and ends it with the test.
func (r *tribe) run(s *seat) *seat {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.port.run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("run port of %s: %v", s.name, err)
		}
	})
	r.t.Cleanup(s.stop)
	return s
}

// found founds a cluster of one and starts its port.
func (r *tribe) found(name string) (*seat, string) {
	r.t.Helper()
	dir, l := filepath.Join(r.t.TempDir(), "pki"), bind(r.t)
	text, err := Found(dir, name, l.Addr().String(), time.Hour)
	if err != nil {
		r.t.Fatal(err)
	}
	s := r.open(name, dir, l, nil)
	if err := s.port.found(context.Background(), r.propose); err != nil {
		r.t.Fatal(err)
	}
	return r.run(s), text
}

// join lets a node in by a token and starts its port.
func (r *tribe) join(name, text string) *seat {
	r.t.Helper()
	dir, l := filepath.Join(r.t.TempDir(), "pki"), bind(r.t)
	if _, err := join(context.Background(), JoinRequest{Token: text, Name: name, Advertise: l.Addr().String(), PKI: dir}, r.now); err != nil {
		r.t.Fatal(err)
	}
	return r.run(r.open(name, dir, l, nil))
}

// three is a cluster of three nodes.
func (r *tribe) three() (a, b, c *seat) {
	r.t.Helper()
	a, text := r.found("a")
	return a, r.join("b", text), r.join("c", text)
}

// soon is a context that ends before a test hangs.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// pair opens a connection from one node to another for a protocol.
func pair(t *testing.T, from, to *seat, proto string) (near, far net.Conn) {
	t.Helper()
	l := to.port.listen(proto)
	near, err := from.port.dial(soon(t), to.name, proto)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close() })
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close() })
	return near, far
}

// refusedDial demands that a dial is answered with no.
func refusedDial(t *testing.T, from, to *seat, proto string) {
	t.Helper()
	c, err := from.port.dial(soon(t), to.name, proto)
	if err == nil {
		_ = c.Close()
		t.Fatalf("%s reached %s for %s", from.name, to.name, proto)
	}
	if !errors.Is(err, errUnreached) {
		t.Errorf("error %v does not say that nothing was sent", err)
	}
}

// moved tells the state where a node is now.
func (r *tribe) moved(s *seat) {
	r.t.Helper()
	r.must(tenant.SetNode{Node: r.node(s.name).ID, Peer: &s.addr})
}

// token makes a token for one name, as an operator does who replaces a node.
func (r *tribe) token(node string) string {
	r.t.Helper()
	text, hash, err := NewToken(r.state.Load())
	if err != nil {
		r.t.Fatal(err)
	}
	r.must(tenant.AddToken{Token: tenant.JoinToken{Hash: hash, Expires: r.now().Add(time.Hour), Node: node}})
	return text
}
