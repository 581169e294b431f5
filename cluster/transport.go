package cluster

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"postern/tenant"
)

const (
	rpcTimeout = 3 * time.Second
	rpcPool    = 3
)

// transport is raft's network transport with an eye on who answered.
type transport struct {
	*raft.NetworkTransport
	contacts *contacts
	// silent is a term in which this node no longer speaks as the leader: its
	// leadership ends when raft sees that nobody answers.
	silent atomic.Uint64

	renew func() (newest uint64, err error) // takes a snapshot; its index

	mu   sync.Mutex               // guards sent
	sent map[raft.ServerID]uint64 // index of the last snapshot sent

	beats beats
}

// beats are the heartbeats being taken. raft takes them in their connections'
// goroutines, for which its Shutdown does not wait, and writes a newer term they
// bring to the store: it would panic if that was closed meanwhile.
type beats struct {
	all  sync.WaitGroup
	mu   sync.Mutex // guards over, and all against being waited for too early
	over bool
}

func (b *beats) through(take func(raft.RPC)) func(raft.RPC) {
	return func(rpc raft.RPC) {
		if b.enter() {
			defer b.all.Done()
			take(rpc)
		}
	}
}

func (b *beats) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		b.all.Add(1)
	}
	return !b.over
}

// end lets no more through, and waits for those being taken.
func (b *beats) end() {
	b.mu.Lock()
	b.over = true
	b.mu.Unlock()
	b.all.Wait()
}

// SetHeartbeatHandler implements raft.Transport.
func (t *transport) SetHeartbeatHandler(take func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(t.beats.through(take))
}

// resendPause is before a snapshot is sent a second time.
const resendPause = time.Second

var errRenewed = errors.New("a newer snapshot was made for it")

var errSilenced = errors.New("this node gives its leadership up")

// newTransport carries raft over a layer. Without one raft speaks to nobody
// but itself: a cluster of one.
func newTransport(name string, layer raft.StreamLayer, contacts *contacts, log hclog.Logger) raft.Transport {
	if layer == nil {
		addr, t := raft.NewInmemTransport(raft.ServerAddress(name))
		t.Connect(addr, t)
		return t
	}
	return &transport{NetworkTransport: raft.NewNetworkTransportWithConfig(networkConfig(layer, log)), contacts: contacts}
}

// networkConfig is a network transport's configuration. One request in flight
// and no more: with the default of two, a follower whose disk failed for a
// moment can stay without entries for ever while heartbeats call it healthy.
func networkConfig(layer raft.StreamLayer, log hclog.Logger) *raft.NetworkTransportConfig {
	return &raft.NetworkTransportConfig{
		Stream:          layer,
		Logger:          log,
		MaxPool:         rpcPool,
		MaxRPCsInFlight: 1,
		Timeout:         rpcTimeout,
	}
}

// AppendEntriesPipeline implements raft.Transport: there is none, see
// networkConfig, and every request is seen by AppendEntries.
func (t *transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// AppendEntries implements raft.Transport, for heartbeats too.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if args.Term == t.silent.Load() {
		return errSilenced
	}
	began, at := t.contacts.mark(), time.Now()
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	if err == nil && resp.Term == args.Term {
		t.contacts.answered(id, args.Term, began, at)
	}
	return err
}

// InstallSnapshot implements raft.Transport. raft sends a node the same snapshot
// again and again, without a pause, when the first entry after the node's own
// snapshot is one that only that node has (it led for a moment): raft compares
// the entry before, which is in no log there. A snapshot that goes beyond that
// entry ends it. Where there is nothing newer, the same one goes again: the last
// one may have got lost on its way.
func (t *transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	t.mu.Lock()
	again := t.sent[id] == args.LastLogIndex
	if t.sent == nil {
		t.sent = map[raft.ServerID]uint64{}
	}
	t.sent[id] = args.LastLogIndex
	t.mu.Unlock()
	if again {
		newest, err := t.renew()
		if err == nil && newest > args.LastLogIndex {
			return errRenewed
		}
		time.Sleep(resendPause)
	}
	return t.NetworkTransport.InstallSnapshot(id, target, args, resp, data)
}

// serverAddress is a server's address in raft's configuration: the node's name
// and the beginning of the hash of its key. The peer port turns the name into a
// place, so that a node that moves changes nothing here. The key tells a node
// from its replacement: that one comes with an empty log under the old name,
// and must not vote or acknowledge in the old one's place.
func serverAddress(n *tenant.Node) raft.ServerAddress {
	if n.Key == ([32]byte{}) {
		return raft.ServerAddress(n.Name)
	}
	return raft.ServerAddress(n.Name + "/" + hex.EncodeToString(n.Key[:8]))
}

// raftLayer is raft's StreamLayer over the peer port.
type raftLayer struct {
	name     string
	peers    peers
	state    func() *tenant.State
	listener net.Listener
	incoming chan net.Conn
	done     chan struct{}
	pumped   chan struct{}

	mu    sync.Mutex // guards conns
	conns map[net.Conn]struct{}
	ended bool // guarded by mu
}

var _ raft.StreamLayer = (*raftLayer)(nil)

func newLayer(name string, p peers, state func() *tenant.State) *raftLayer {
	w := &raftLayer{
		name: name, peers: p, state: state, listener: p.listen(protoRaft),
		incoming: make(chan net.Conn), done: make(chan struct{}), pumped: make(chan struct{}),
		conns: make(map[net.Conn]struct{}),
	}
	go w.pump()
	return w
}

// pump hands on what others open; Dial hands on what this node opens to itself.
func (w *raftLayer) pump() {
	defer close(w.pumped)
	for {
		conn, err := w.listener.Accept()
		if err != nil {
			return
		}
		select {
		case w.incoming <- conn:
		case <-w.done:
			_ = conn.Close()
			return
		}
	}
}

// Accept implements net.Listener.
func (w *raftLayer) Accept() (net.Conn, error) {
	select {
	case conn := <-w.incoming:
		return w.keep(conn)
	case <-w.done:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (w *raftLayer) Addr() net.Addr { return nodeAddr(w.name) }

// Close implements net.Listener. raft's transport leaves open connections
// behind, so they end here.
func (w *raftLayer) Close() error {
	w.mu.Lock()
	if w.ended {
		w.mu.Unlock()
		return nil
	}
	w.ended = true
	conns := w.conns
	w.conns = nil
	w.mu.Unlock()
	close(w.done)
	err := w.listener.Close()
	for conn := range conns {
		_ = conn.(*kept).Conn.Close()
	}
	<-w.pumped
	return err
}

// Dial implements raft.StreamLayer.
func (w *raftLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	name, key, _ := strings.Cut(string(address), "/")
	if name == w.name {
		return w.dialSelf()
	}
	n := w.state().NodeByName(name)
	if n != nil && key != "" && serverAddress(n) != address {
		return nil, fmt.Errorf("dial node %s: it was replaced", name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := w.peers.dial(ctx, name, protoRaft)
	if err != nil {
		return nil, fmt.Errorf("dial node %s: %w", name, err)
	}
	return w.keep(conn)
}

func (w *raftLayer) dialSelf() (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case w.incoming <- there:
		return w.keep(here)
	case <-w.done:
		return nil, errors.Join(net.ErrClosed, here.Close(), there.Close())
	}
}

// keep remembers a connection until it is closed.
func (w *raftLayer) keep(conn net.Conn) (net.Conn, error) {
	k := &kept{Conn: conn, layer: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	w.conns[k] = struct{}{}
	return k, nil
}

type kept struct {
	net.Conn
	layer *raftLayer
}

func (k *kept) Close() error {
	k.layer.mu.Lock()
	delete(k.layer.conns, k)
	k.layer.mu.Unlock()
	return k.Conn.Close()
}
