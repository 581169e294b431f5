package cluster

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/tenant"
)

// TestPeerPort carries octets between named nodes, each protocol by itself.
func TestPeerPort(t *testing.T) {
	r := newTribe(t)
	a, b, c := r.three()
	for _, pairing := range [][2]*seat{{a, b}, {b, c}, {c, a}} {
		near, far := pair(t, pairing[0], pairing[1], ProtoMirror)
		if got := near.RemoteAddr().String(); got != pairing[1].name {
			t.Errorf("dialed %q, want %q", got, pairing[1].name)
		}
		if got := far.RemoteAddr().String(); got != pairing[0].name {
			t.Errorf("accepted %q, want %q", got, pairing[0].name)
		}
		go func() { _, _ = io.WriteString(near, "a line"); _ = near.Close() }()
		if b, err := io.ReadAll(far); err != nil || string(b) != "a line" {
			t.Errorf("got %q, %v", b, err)
		}
	}
	if _, err := a.port.dial(soon(t), "b", ProtoSubmit); err == nil {
		t.Error("a protocol nobody listens for was accepted")
	}
	if _, err := a.port.dial(soon(t), "a", ProtoMirror); err == nil {
		t.Error("a node dialed itself")
	}
	if _, err := a.port.dial(soon(t), "nobody", ProtoMirror); err == nil {
		t.Error("an unknown node was reached")
	}
}

// TestPeerPortEnds: everything closes with the context.
func TestPeerPortEnds(t *testing.T) {
	r := newTribe(t)
	a, text := r.found("a")
	b := r.join("b", text)
	near, far := pair(t, a, b, ProtoMirror)
	l := b.port.listen(ProtoAdmin)
	b.stop()
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlived the port")
	}
	if _, err := near.Read(make([]byte, 1)); err == nil {
		t.Error("the other end outlived the port")
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after the end: %v", err)
	}
	if _, err := b.port.listen(ProtoAdmin).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listen after the end: %v", err)
	}
	if _, err := b.port.dial(soon(t), "a", protoCalls); !errors.Is(err, ErrClosed) {
		t.Errorf("dial after the end: %v", err)
	}
}

// TestRemovedNode: a removed node's certificate is refused, and what it has
// open is closed.
func TestRemovedNode(t *testing.T) {
	r := newTribe(t)
	a, b, _ := r.three()
	near, far := pair(t, b, a, protoRaft)
	r.must(tenant.RemoveNode{Node: r.node("b").ID})
	for _, c := range []net.Conn{near, far} {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("the connection of a removed node stayed open: %v", err)
		}
	}
	refusedDial(t, b, a, protoRaft)
	// The removed node itself does not know yet: the others' word counts.
	old := r.state.Load()
	b.view.Store(old)
	refusedDial(t, a, b, protoRaft)
}

// TestReplacedNode: a name that joined again has one key only.
func TestReplacedNode(t *testing.T) {
	r := newTribe(t)
	a, text := r.found("a")
	b := r.join("b", text)
	_, far := pair(t, b, a, protoRaft)
	again := r.join("b", r.token("b"))
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("the old node's connection stayed open")
	}
	c, err := b.port.openAt(soon(t), a.addr, "a", protoRaft)
	if err == nil || !errors.Is(err, errNotWelcome) || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("the old key was let in: %v, %v", c, err)
	}
	pair(t, again, a, protoRaft)
	pair(t, a, again, protoRaft)
}

// TestNodeWithoutKey: after a restore a node has to join again.
func TestNodeWithoutKey(t *testing.T) {
	r := newTribe(t)
	a, _ := r.found("a")
	a.port.listen(protoRaft)
	ca, err := a.port.authority(r.state.Load())
	if err != nil {
		t.Fatal(err)
	}
	r.must(tenant.AddNode{Name: "b"})
	err = stranger(t, a.addr, func(c *tls.Config) {
		c.Certificates = []tls.Certificate{certify(t, ca, roleNode, "b", life{now: time.Now(), span: lifeNode, since: 1})}
	})
	if !errors.Is(err, errNotWelcome) || !strings.Contains(err.Error(), "join again") {
		t.Errorf("a node without a key: %v", err)
	}
}

// stranger dials with any certificate and says whether it was welcome.
func stranger(t *testing.T, addr string, edit func(*tls.Config)) error {
	t.Helper()
	config := &tls.Config{NextProtos: []string{protoRaft}, InsecureSkipVerify: true}
	edit(config)
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: config}
	c, err := d.DialContext(soon(t), "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return getGreeting(c)
}

// certify signs a key of its own with an authority.
func certify(t *testing.T, a *authority, role, name string, l life) tls.Certificate {
	t.Helper()
	key, _, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := a.sign(key.Public().(*ecdsa.PublicKey), role, name, l)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}
}

// TestStrangers: who is no node of the cluster speaks no protocol.
func TestStrangers(t *testing.T) {
	r := newTribe(t)
	a, _ := r.found("a")
	a.isNew.Store(true)
	a.port.listen(protoRaft)
	ca, err := a.port.authority(r.state.Load())
	if err != nil {
		t.Fatal(err)
	}
	other, err := newAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	year := life{now: time.Now(), span: lifeNode, since: 1 << 40}
	with := func(certs ...tls.Certificate) func(*tls.Config) {
		return func(c *tls.Config) { c.Certificates = certs }
	}
	own := a.port.id.Load().tls
	for name, edit := range map[string]func(*tls.Config){
		"no certificate":       with(),
		"a client":             with(certify(t, ca, "client", "a", year)),
		"a client's node name": with(certify(t, ca, "client", "node", year)),
		"the authority":        with(tls.Certificate{Certificate: [][]byte{ca.cert.Raw}, PrivateKey: ca.key}),
		"another authority":    with(certify(t, other, roleNode, "b", year)),
		"an unknown node":      with(certify(t, ca, roleNode, "b", year)),
		"an old certificate":   with(certify(t, ca, roleNode, "b", life{now: time.Now().Add(-48 * time.Hour), span: time.Hour})),
		"its own name":         with(certify(t, ca, roleNode, "a", year)),
		"its own certificate":  with(own),
		"TLS 1.2":              func(c *tls.Config) { c.Certificates, c.MaxVersion = []tls.Certificate{own}, tls.VersionTLS12 },
		"no protocol":          func(c *tls.Config) { c.NextProtos = nil },
		"two protocols":        func(c *tls.Config) { c.NextProtos = []string{protoJoin, protoRaft} },
		"another protocol":     func(c *tls.Config) { c.NextProtos = []string{"h2"} },
	} {
		if err := stranger(t, a.addr, edit); err == nil {
			t.Errorf("%s was welcome", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	// The same way with a good certificate works, so the noes above mean what
	// they say.
	good := certify(t, ca, roleNode, "b", year)
	leaf, err := newIdentity(mustKey(t, good), good.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	r.must(tenant.AddNode{Name: "b"})
	r.must(tenant.SetNode{Node: r.node("b").ID, Key: &leaf.key})
	if err := stranger(t, a.addr, with(good)); err != nil {
		t.Errorf("a registered node: %v", err)
	}
}

// TestServerProved: the dialing side judges as strictly.
func TestServerProved(t *testing.T) {
	r := newTribe(t)
	a, text := r.found("a")
	r.join("b", text)
	ca, err := a.port.authority(r.state.Load())
	if err != nil {
		t.Fatal(err)
	}
	year := life{now: time.Now(), span: lifeNode}
	for name, cert := range map[string]tls.Certificate{
		"a client":     certify(t, ca, "client", "b", year),
		"another key":  certify(t, ca, roleNode, "b", year),
		"another node": certify(t, ca, roleNode, "c", year),
	} {
		l := bind(t)
		fake := tls.NewListener(l, &tls.Config{
			Certificates: []tls.Certificate{cert}, NextProtos: []string{protoRaft}, ClientAuth: tls.RequestClientCert,
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := fake.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_ = putGreeting(c, nil)
			_, _ = c.Read(make([]byte, 1))
		}()
		if _, err := a.port.openAt(soon(t), l.Addr().String(), "b", protoRaft); err == nil {
			t.Errorf("%s was believed to be node b", name)
		}
		_ = l.Close()
		<-done
	}
}

func mustKey(t *testing.T, c tls.Certificate) []byte {
	t.Helper()
	b, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestLaggingNode: a node that slept lets in those who came meanwhile, or it
// would never catch up; a node whose state is the newest does not.
func TestLaggingNode(t *testing.T) {
	r := newTribe(t)
	a, text := r.found("a")
	b := r.join("b", text)
	b.view.Store(r.state.Load())
	c := r.join("c", text)
	pair(t, c, b, protoRaft)
	c.stop()
	again := r.join("c", r.token("c"))
	pair(t, again, b, protoRaft)
	b.isNew.Store(true)
	_, err := again.port.openAt(soon(t), b.addr, "b", protoRaft)
	if !errors.Is(err, errNotWelcome) {
		t.Errorf("the newest state did not know the node, and it came in: %v", err)
	}
	b.isNew.Store(false)
	// The founding node's first certificate was made before any state; it gets
	// one by which a node that reads the log from its beginning believes it.
	eventually(t, patience, "the founding node renews", func() bool { return a.port.id.Load().since > 0 })
	early := tenant.New()
	early, _, err = tenant.Apply(early, 1, tenant.Command{Request: tenant.RequestID{1}, At: time.Now(), Op: tenant.AddNode{Name: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	b.view.Store(early)
	pair(t, a, b, protoRaft)
}

// TestHalfOpenHandshakes: connections that say nothing cannot fill the port.
func TestHalfOpenHandshakes(t *testing.T) {
	r := newTribe(t)
	a, _ := r.found("a")
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range maxHandshakesFrom + 20 {
		c, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	eventually(t, patience, "the limit of one address", func() bool {
		a.port.mu.Lock()
		defer a.port.mu.Unlock()
		return a.port.shaking["127.0.0.1"] == maxHandshakesFrom
	})
	closed := make(chan struct{}, len(open))
	for _, c := range open {
		go func() {
			_, _ = c.Read(make([]byte, 1))
			closed <- struct{}{}
		}()
	}
	limit := time.After(patience)
	for i := range 20 {
		select {
		case <-closed:
		case <-limit:
			t.Fatalf("%d of the surplus connections were closed, want 20", i)
		}
	}
}

// TestDialFailsFast: after a failure callers of the next moment are told at
// once, and the node is reached again as soon as it is back.
func TestDialFailsFast(t *testing.T) {
	r := newTribe(t)
	r.pace.retryMin, r.pace.retryMax = time.Hour, time.Hour
	a, text := r.found("a")
	b := r.join("b", text)
	b.stop()
	refusedDial(t, a, b, protoRaft)
	var dials atomic.Int32
	l := bind(t) // a place that would be noticed
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dials.Add(1)
			_ = c.Close()
		}
	}()
	place := l.Addr().String()
	r.must(tenant.SetNode{Node: r.node("b").ID, Peer: &place})
	refusedDial(t, a, b, protoRaft)
	_ = l.Close()
	if n := dials.Load(); n != 0 {
		t.Errorf("%d dials in the pause after a failure", n)
	}
	// A word from the node itself ends the pause.
	back := r.run(r.open("b", b.dir, bind(t), nil))
	r.moved(back)
	pair(t, back, a, protoRaft)
	pair(t, a, back, protoRaft)
	// That nobody there speaks one protocol says nothing of the others.
	refusedDial(t, a, back, ProtoSubmit)
	pair(t, a, back, ProtoMirror)
}

// TestSilent: a node that is out of reach is called silent as soon as a dial
// failed, long before it is no longer called alive, until it is heard again.
func TestSilent(t *testing.T) {
	t.Parallel()
	r := newTribe(t)
	a, text := r.found("a")
	b := r.join("b", text)
	pair(t, a, b, ProtoMirror)
	if a.port.silent("b") {
		t.Error("it was heard and is called silent")
	}
	b.stop()
	refusedDial(t, a, b, ProtoMirror)
	if !a.port.silent("b") {
		t.Error("it is out of reach and not called silent")
	}
	back := r.run(r.open("b", b.dir, bind(t), nil))
	pair(t, back, a, ProtoMirror)
	eventually(t, patience, "b is heard", func() bool { return !a.port.silent("b") })
}
