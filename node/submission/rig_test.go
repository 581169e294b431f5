package submission

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/queue"
	"postern/tenant"
)

// The names of the tests' world.
const (
	tHost  = "shop.relay.test" // the tenant's own name for the relay
	tUser  = "mail@shop.test"
	tOther = "mail@other.test" // another tenant's account
	tSmall = "small@shop.test" // an account with a small plan
	tNet   = "net@shop.test"   // an account allowed by network
	tNode  = tenant.NodeID(1)
)

// rig is a real server over a real queue, with real state.
type rig struct {
	t       testing.TB
	srv     *Server
	queue   *queue.Store
	quota   *testQuota
	addr    string // with STARTTLS
	addrS   string // TLS from the start
	pass    map[string]string
	ca      *x509.CertPool
	logs    *lockedBuffer
	reg     *prometheus.Registry
	notes   *noting
	allowed atomic.Int64 // answers to MayAnswer, for the test that counts them
	stop    func()       // the server
	close   func()       // server and queue
	lead    *rig         // has the state; itself but in a cluster
	node    tenant.NodeID
	mirror  sync.Map                     // the lead's: transactions an adopter would find, for tests without a mirror
	amu     sync.Mutex                   // guards adopted
	adopted map[tenant.ID]uint64         // in a cluster: the epochs under which this node may answer
	frozen  atomic.Pointer[tenant.State] // what a node behind the others still takes for the state

	mu    sync.Mutex // guards state, index
	state *tenant.State
	index uint64
}

type rigOption func(*Config, *rig)

func newRig(t testing.TB, opts ...rigOption) *rig {
	t.Helper()
	r := &rig{t: t, node: tNode, pass: map[string]string{}, logs: &lockedBuffer{}}
	r.lead = r
	r.world()
	return r.start(opts...)
}

// start opens a queue and runs the server.
func (r *rig) start(opts ...rigOption) *rig {
	t := r.t
	t.Helper()
	r.quota, r.reg = &testQuota{}, prometheus.NewRegistry()
	q, err := queue.New(queue.Config{Dir: t.TempDir(), Registerer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		FreeFloor: 1 << 20, Fatal: func(err error) { t.Errorf("queue failed: %v", err); select {} }})
	if err != nil {
		t.Fatal(err)
	}
	r.queue = q
	for tt := range r.current().Tenants() {
		if tt.Owner != r.node {
			continue
		}
		if _, err := q.Adopt(tt.ID, tt.Epoch); err != nil {
			t.Fatal(err)
		}
	}
	cert, pool := testCertificate(t)
	r.ca = pool
	tlsConf := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	cfg := Config{
		Hostname: "in-1.relay.test", State: r.current, Node: func() tenant.NodeID { return r.node }, Queue: q, Quota: r.quota,
		MayAnswer:  answerAlways,
		TLS:        func() *tls.Config { return tlsConf },
		ProxyFrom:  []netip.Prefix{netip.MustParsePrefix("127.0.0.5/32")},
		Log:        slog.New(slog.NewTextHandler(r.logs, nil)),
		Registerer: r.reg,
	}
	for _, o := range opts {
		o(&cfg, r)
	}
	if r.srv, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	r.srv.waits.poll = 5 * time.Millisecond
	r.notes = &noting{store: r.srv.store, mirror: &r.lead.mirror}
	r.srv.store = r.notes
	plain, implicit := listen(t), listen(t)
	r.addr, r.addrS = plain.Addr().String(), implicit.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- r.srv.Run(ctx, Listener{Listener: plain}, Listener{Listener: implicit, Implicit: true})
	}()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	r.close = sync.OnceFunc(func() {
		r.stop()
		if err := q.Close(); err != nil {
			t.Errorf("close queue: %v", err)
		}
	})
	t.Cleanup(r.close)
	return r
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// world makes two tenants with accounts and domains.
func (r *rig) world() {
	r.state = tenant.New()
	r.apply(tenant.AddNode{Name: "node-1"})
	r.apply(tenant.AddSource{Node: tNode, Addr: netip.MustParseAddr("127.77.1.1"), EHLO: "out-1.relay.test", Shared: true})
	shop := r.tenant("shop", tHost)
	other := r.tenant("other", "other.relay.test")
	r.account(shop, tUser, tenant.Plan{})
	r.account(other, tOther, tenant.Plan{})
	r.account(shop, tSmall, tenant.Plan{MaxRecipients: 3, MaxSize: 20_000})
	r.account(shop, tNet, tenant.Plan{}, netip.MustParsePrefix("127.0.0.9/32"))
	r.apply(tenant.SetDomain{Tenant: shop, Name: "shop.test"})
	r.apply(tenant.SetDomain{Tenant: other, Name: "other.test"})
}

func (r *rig) tenant(name, host string) tenant.ID {
	r.apply(tenant.AddTenant{Name: name, Hostname: host, Home: tenant.Place{Node: tNode}})
	t := r.state.TenantByName(name)
	if t.Owner != tNode {
		r.apply(tenant.Own{Tenant: t.ID, Node: tNode, Expect: t.Epoch})
	}
	return t.ID
}

func (r *rig) account(t tenant.ID, user string, p tenant.Plan, nets ...netip.Prefix) {
	password, secret := NewPassword()
	r.pass[user] = password
	r.apply(tenant.AddAccount{Tenant: t, Username: user, Secret: secret, Plan: p, Networks: nets, Reference: user})
}

func (r *rig) apply(op tenant.Op) {
	r.t.Helper()
	r = r.lead
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index++
	var id tenant.RequestID
	_, _ = rand.Read(id[:])
	next, _, err := tenant.Apply(r.state, r.index, tenant.Command{Request: id, At: time.Now(), Op: op})
	if err != nil {
		r.t.Fatalf("apply %T: %v", op, err)
	}
	r.state = next
}

func (r *rig) current() *tenant.State {
	if old := r.frozen.Load(); old != nil {
		return old
	}
	r = r.lead
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// kept lists what the queue took, oldest first, with the bytes as stored.
func (r *rig) kept() (out []keptMessage) {
	r.t.Helper()
	r.notes.mu.Lock()
	defer r.notes.mu.Unlock()
	for _, n := range r.notes.list {
		b, err := r.queue.Body(n.id)
		if err != nil {
			r.t.Fatal(err)
		}
		raw, err := io.ReadAll(b)
		if err != nil {
			r.t.Fatal(err)
		}
		b.Close()
		if int64(len(raw)) != n.env.Size {
			r.t.Errorf("message %v: %d octets, envelope says %d", n.id, len(raw), n.env.Size)
		}
		out = append(out, keptMessage{n.id, n.env, string(raw)})
	}
	return out
}

// noting is the real queue, with a note of what it took.
type noting struct {
	store
	mu     sync.Mutex
	list   []keptMessage
	quiet  atomic.Bool   // note nothing
	fail   sync.Map      // injected errors by step
	mirror *sync.Map     // what a node that adopts would find, by transaction
	hold   chan struct{} // a Put waits for its end, when there is one
	held   atomic.Int64  // Puts that wait so, or did
}

type notingMessage struct {
	message
	n *noting
}

func (n *noting) holding() chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hold
}

// holdPuts keeps Puts waiting until the returned function is called.
func (n *noting) holdPuts() (release func()) {
	c := make(chan struct{})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hold = c
	return sync.OnceFunc(func() {
		n.mu.Lock()
		n.hold = nil
		n.mu.Unlock()
		close(c)
	})
}

// Find asks the queue, but for what a test pretends to have come by the mirror.
func (n *noting) Find(t tenant.ID, transaction [16]byte, place queue.ID) (queue.ID, error) {
	if err := n.failed("find"); err != nil {
		return queue.ID{}, err
	}
	if id, ok := n.mirror.Load(transaction); ok {
		return id.(queue.ID), nil
	}
	if _, ok := n.mirror.Load(place); ok {
		return place, nil
	}
	return n.store.Find(t, transaction, place)
}

func (n *noting) failed(step string) error {
	if err, ok := n.fail.Load(step); ok {
		return err.(error)
	}
	return nil
}

// inject makes a step fail from now on.
func (n *noting) inject(step string, err error) { n.fail.Store(step, err) }

var errFullQueue = fmt.Errorf("probe disk: %w", queue.ErrFull)

func base64text(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func (n *noting) Full() error {
	if err := n.failed("full"); err != nil {
		return err
	}
	return n.store.Full()
}

func (n *noting) NewMessage(t tenant.ID) (message, error) {
	if err := n.failed("new"); err != nil {
		return nil, err
	}
	m, err := n.store.NewMessage(t)
	return &notingMessage{m, n}, err
}

func (m *notingMessage) Write(p []byte) (int, error) {
	if err := m.n.failed("write"); err != nil {
		return 0, err
	}
	return m.message.Write(p)
}

func (m *notingMessage) Put(ctx context.Context, prefix []byte, e *queue.Envelope, spend []queue.Spend) (queue.ID, error) {
	if err := m.n.failed("put"); err != nil {
		return queue.ID{}, err
	}
	if hold := m.n.holding(); hold != nil {
		m.n.held.Add(1)
		<-hold
	}
	if err := m.n.failed("late put"); err != nil {
		return queue.ID{}, err
	}
	if err := m.n.failed("stale put"); err != nil {
		return queue.ID{}, &queue.LostPut{Place: queue.ID{Tenant: 1, Epoch: 1, Seq: 77}, Err: err}
	}
	id, err := m.message.Put(ctx, prefix, e, spend)
	if err == nil && !m.n.quiet.Load() {
		m.n.mu.Lock()
		m.n.list = append(m.n.list, keptMessage{id: id, env: e})
		m.n.mu.Unlock()
	}
	return id, err
}

type keptMessage struct {
	id  queue.ID
	env *queue.Envelope
	raw string
}

// body is what stands behind the header section.
func (m keptMessage) body() string {
	_, b, _ := strings.Cut(m.raw, "\r\n\r\n")
	return b
}

func (m keptMessage) header() string {
	h, _, _ := strings.Cut(m.raw, "\r\n\r\n")
	return h + "\r\n"
}

// one returns the only message kept.
func (r *rig) one() keptMessage {
	r.t.Helper()
	k := r.kept()
	if len(k) != 1 {
		r.t.Fatalf("%d messages kept, want 1", len(k))
	}
	return k[0]
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(2 * time.Millisecond); ; <-tick.C {
		if ok() {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			tick.Stop()
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// oneKey signs for one domain.
type oneKey struct {
	domain, selector string
	key              crypto.Signer
	err              error
}

func (k oneKey) Key(domain string) (string, crypto.Signer, error) {
	if domain != k.domain {
		return "", nil, nil
	}
	return k.selector, k.key, k.err
}

func testCertificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "in-1.relay.test"},
		DNSNames: []string{"in-1.relay.test", "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// watchHeap samples the heap until the returned function is called, which says
// by how much it had grown at most.
func watchHeap() func() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	base, most := m.HeapInuse, m.HeapInuse
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-done
		return most - base
	}
}
