package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"postern/tenant"
)

// Protocols of this package on the peer port. A joining node has no
// certificate yet; every other protocol demands one.
const (
	protoRaft  = "postern-raft/1"
	protoCalls = "postern-calls/1"
	protoJoin  = "postern-join/1"
)

const (
	// handshakeTime bounds a handshake, from either side.
	handshakeTime = 10 * time.Second
	// maxHandshakes and maxHandshakesFrom bound connections nobody has proved
	// anything on, all of them and from one address.
	maxHandshakes     = 256
	maxHandshakesFrom = 64
	// maxJoining is how many connections for joining are served at a time: their
	// other ends have proved nothing. Those in the queue wait.
	maxJoining = 16
	// maxCalling is the same for calls, of nodes: as many as proposals of three.
	maxCalling = 1024
	// acceptQueue is how many proved connections wait for their protocol.
	acceptQueue = 64
)

// pace is what tests make faster.
type pace struct {
	sweep     time.Duration // how often open connections are judged again
	renewal   time.Duration // how often a certificate's age is looked at
	span      time.Duration // how long a new certificate lives
	retryMin  time.Duration // pause after a first failure to reach a node
	retryMax  time.Duration
	dial      time.Duration // bounds connect, handshake and greeting
	handshake time.Duration // bounds the accepting side's
	grace     time.Duration // for a token that is not known yet
	gossip    gossipPace
}

func standardPace() pace {
	return pace{
		sweep:     time.Second,
		renewal:   time.Hour,
		span:      lifeNode,
		retryMin:  50 * time.Millisecond,
		retryMax:  time.Second,
		dial:      dialTime,
		handshake: handshakeTime,
		grace:     tokenGrace,
		gossip:    lanPace(),
	}
}

// propose carries one operation through the log and returns a state that has it.
type proposal func(context.Context, tenant.Op) (*tenant.State, error)

// port is the one mTLS peer port of a node: it listens, dials, knows where the
// others are and who of them may speak. openPort starts nothing.
type port struct {
	peering Peering
	name    string
	state   func() *tenant.State
	log     *slog.Logger
	now     func() time.Time
	pace    pace
	pki     pkiDir

	// fresh says that the state here is the newest one for sure: this node
	// leads or has a lease. Set before run, or left alone.
	fresh func() bool
	// propose is how joins are registered. Set before run.
	propose proposal

	id    atomic.Pointer[identity]
	book  *book
	calls calls
	hints hints
	joins bucket

	seldom seldom

	mu        sync.Mutex // guards what follows
	closed    bool
	listeners map[string]*peerListener
	conns     map[*peerConn]struct{}
	links     map[string]*link
	shaking   map[string]int // handshakes by address

	done     chan struct{} // closed with the port
	shakes   chan struct{} // one for each handshake under way
	serving  sync.WaitGroup
	renewing sync.Mutex // one renewal at a time
	founding sync.Mutex // one founding at a time
}

// openPort makes the peer port of the node called name from its directory of
// certificates. It takes p.Listener and closes it in the end.
func openPort(p Peering, name string, state func() *tenant.State, log *slog.Logger) (*port, error) {
	if p.Listener == nil {
		return nil, errors.New("open peer port: no listener")
	}
	if !tenant.ValidPeer(p.Advertise) {
		return nil, fmt.Errorf("open peer port: %.80q is no address others can dial: write host:port", p.Advertise)
	}
	pki := openPKI(p.PKI)
	id, err := pki.load()
	if err != nil {
		return nil, fmt.Errorf("open peer port: %w", err)
	}
	if id.name != name {
		return nil, fmt.Errorf("open peer port: the certificate in %s is of node %q and this node is %q: %w", p.PKI, id.name, name, ErrForeign)
	}
	c := &port{
		peering:   p,
		name:      name,
		state:     state,
		log:       log,
		now:       time.Now,
		pace:      standardPace(),
		pki:       pki,
		fresh:     func() bool { return false },
		listeners: map[string]*peerListener{},
		conns:     map[*peerConn]struct{}{},
		links:     map[string]*link{},
		shaking:   map[string]int{},
		done:      make(chan struct{}),
		shakes:    make(chan struct{}, maxHandshakes),
	}
	c.id.Store(id)
	if c.book, err = openBook(pki, log); err != nil {
		return nil, fmt.Errorf("open peer port: %w", err)
	}
	c.joins.fill(joinBurst)
	c.handle(verbSign, c.answerSign)
	c.handle(verbGossip, c.answerGossip)
	c.handle(verbHere, c.answerHere)
	return c, nil
}

// run accepts, judges, renews and gossips until ctx ends. Then it closes the
// listeners and all connections.
func (p *port) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, p.close)
	defer stop()
	calls, joins := p.listen(protoCalls), p.listen(protoJoin)
	p.serving.Go(func() { p.serve(ctx, calls, maxCalling, p.answerCalls) })
	p.serving.Go(func() { p.serve(ctx, joins, maxJoining, p.answerJoin) })
	p.serving.Go(func() { p.watch(ctx) })
	p.serving.Go(func() { p.keepCertificate(ctx) })
	p.serving.Go(func() { p.gossip(ctx) })
	p.serving.Go(func() { p.sayHere(ctx) })
	p.serving.Go(func() { p.finishFounding(ctx) })
	err := p.accept(ctx)
	cancel(err)
	p.close()
	p.serving.Wait()
	return err
}

// close ends the port; run does it too.
func (p *port) close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	close(p.done)
	listeners, conns := p.listeners, p.conns
	p.listeners, p.conns = map[string]*peerListener{}, map[*peerConn]struct{}{}
	p.mu.Unlock()
	_ = p.peering.Listener.Close()
	for _, l := range listeners {
		_ = l.Close()
	}
	for c := range conns {
		c.abort()
	}
}

// watch judges open connections again and again, and keeps the address book.
func (p *port) watch(ctx context.Context) {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		tick.Reset(untilBeat(p.pace.sweep))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.sweep()
			p.book.learn(p.state(), p.name)
		}
	}
}

func (p *port) isClosed() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// sleep waits; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
