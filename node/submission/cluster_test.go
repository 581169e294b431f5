package submission

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"postern/tenant"
)

// hub joins the servers of a test: each has a loopback listener, and whoever
// dials it is known by its name, as the peer port would make it.
type hub struct {
	mu    sync.Mutex // guards all below
	ports map[string]net.Listener
	down  map[string]bool                            // cannot be reached
	wrap  func(from, to string, c net.Conn) net.Conn // what a dialler gets instead
	dials int
	live  []net.Conn
}

func newHub() *hub { return &hub{ports: map[string]net.Listener{}, down: map[string]bool{}} }

// namedConn prints as the node that dialled.
type namedConn struct {
	net.Conn
	name string
}

type nodeName string

func (nodeName) Network() string  { return "postern" }
func (n nodeName) String() string { return string(n) }

func (c namedConn) RemoteAddr() net.Addr { return nodeName(c.name) }

// namedListener learns the name from the first octets.
type namedListener struct{ net.Listener }

func (l namedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	var name [6]byte
	if _, err := io.ReadFull(c, name[:]); err != nil {
		return nil, err
	}
	return namedConn{c, string(name[:])}, nil
}

// peers makes a node's part of the hub.
func (h *hub) peers(t testing.TB, name string) *Peers {
	l := namedListener{listen(t)}
	h.mu.Lock()
	h.ports[name] = l
	h.mu.Unlock()
	return &Peers{Listener: l, Dial: func(ctx context.Context, to string) (net.Conn, error) { return h.dial(ctx, name, to) }}
}

func (h *hub) dial(ctx context.Context, from, to string) (net.Conn, error) {
	h.mu.Lock()
	l, down, wrap := h.ports[to], h.down[to] || h.down[from], h.wrap
	h.dials++
	h.mu.Unlock()
	if l == nil || down {
		return nil, errors.New("no route")
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, from); err != nil {
		return nil, err
	}
	if wrap != nil {
		c = wrap(from, to, c)
	}
	h.mu.Lock()
	h.live = append(h.live, c)
	h.mu.Unlock()
	return c, nil
}

func (h *hub) set(change func(*hub)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

// cut breaks every connection there is.
func (h *hub) cut() {
	h.set(func(h *hub) {
		for _, c := range h.live {
			c.Close()
		}
		h.live = nil
	})
}

// nodeNames of the tests; six octets each.
var nodeNames = []string{"node-1", "node-2", "node-3"}

// newCluster runs n nodes. The first owns both tenants.
func newCluster(t testing.TB, n int, opts ...rigOption) (*hub, []*rig) {
	t.Helper()
	h := newHub()
	lead := &rig{t: t, node: tNode, pass: map[string]string{}, logs: &lockedBuffer{}}
	lead.lead = lead
	lead.world()
	rigs := []*rig{lead}
	for i := 1; i < n; i++ {
		lead.apply(tenant.AddNode{Name: nodeNames[i]})
		rigs = append(rigs, &rig{t: t, lead: lead, node: lead.current().NodeByName(nodeNames[i]).ID, pass: lead.pass, logs: lead.logs})
	}
	for i, r := range rigs {
		r.adopted = map[tenant.ID]uint64{}
		for tt := range lead.current().Tenants() {
			if tt.Owner == r.node {
				r.adopted[tt.ID] = tt.Epoch
			}
		}
		all := append([]rigOption{func(c *Config, r *rig) {
			c.Peers, c.MayAnswer = h.peers(t, nodeNames[i]), r.mayAnswer
		}}, opts...)
		r.start(all...)
	}
	return h, rigs
}

// newProxied is a rig whose clients connect to one node while another owns all
// tenants: what is kept and spent is the owner's.
func newProxied(t testing.TB, opts ...rigOption) *rig {
	t.Helper()
	_, rigs := newCluster(t, 2, opts...)
	owner, in := rigs[0], rigs[1]
	in.quota, in.notes, in.queue = owner.quota, owner.notes, owner.queue
	return in
}

// ways are the two a client may take to its tenant's owner.
var ways = []struct {
	name string
	rig  func(testing.TB, ...rigOption) *rig
}{{"at the owner", newRig}, {"through another node", newProxied}}

// mayAnswer is what a node says that adopts when it is told to.
func (r *rig) mayAnswer(ctx context.Context, t tenant.ID, epoch uint64) error {
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		r.amu.Lock()
		have := r.adopted[t]
		r.amu.Unlock()
		if have == epoch {
			return nil
		}
		select {
		case <-tick.C:
		case <-late.C:
			return errors.New("not adopted")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// shop is the tests' main tenant.
func (r *rig) shop() *tenant.Tenant { return r.current().TenantByName("shop") }

// give makes a node the owner of the shop; it adopts by adopt.
func (r *rig) give(to *rig) {
	r.t.Helper()
	r.apply(tenant.Own{Tenant: r.shop().ID, Node: to.node, Expect: r.shop().Epoch})
}

func (r *rig) adopt() {
	r.t.Helper()
	s := r.shop()
	if _, err := r.queue.Adopt(s.ID, s.Epoch); err != nil {
		r.t.Fatal(err)
	}
	r.amu.Lock()
	r.adopted[s.ID] = s.Epoch
	r.amu.Unlock()
}

// forget makes a node release the shop.
func (r *rig) forget() {
	r.t.Helper()
	r.amu.Lock()
	r.adopted[r.shop().ID] = 0
	r.amu.Unlock()
	if err := r.queue.Release(r.shop().ID); err != nil {
		r.t.Fatal(err)
	}
}

// move hands the shop over whole.
func (r *rig) move(to *rig) {
	r.t.Helper()
	r.forget()
	r.give(to)
	to.adopt()
}
