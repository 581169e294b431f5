package submission

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Bounds of the connections to one other node.
const (
	maxLinks  = 1024             // open at once
	maxIdle   = 64               // of them without a transaction
	linkIdle  = 30 * time.Second // then it is closed
	linkDial  = 5 * time.Second
	linkOut   = 8 << 10 // frames gathered before they are written
	linkIn    = maxWords + frameHead
	linkAhead = 16 // answers that nobody has taken yet
)

var (
	errLinksFull   = errors.New("connect to owner: too many connections")
	errLinksClosed = errors.New("connect to owner: closed")
	errLinkDead    = errors.New("talk to owner: connection lost")
)

// links are the connections to the other nodes. One carries one transaction at
// a time, and then waits a while for the next.
type links struct {
	dial func(ctx context.Context, node string) (net.Conn, error)

	mu     sync.Mutex // guards all below
	idle   map[string][]*link
	open   map[string]int
	all    map[*link]struct{}
	closed bool
	wg     sync.WaitGroup
}

func newLinks(dial func(context.Context, string) (net.Conn, error)) *links {
	return &links{dial: dial, idle: map[string][]*link{}, open: map[string]int{}, all: map[*link]struct{}{}}
}

// link is one connection. It belongs to one session at a time; its reading
// goroutine passes the answers on until the connection ends.
type link struct {
	of      *links
	node    string
	conn    net.Conn
	reused  bool
	tag     uint32 // of the transaction at hand
	out     []byte
	err     error // of the last write
	answers chan answer
	dead    chan struct{} // closed when nothing more will come
	timer   *time.Timer   // while idle
	stop    chan struct{} // closed to end it
	once    sync.Once     // closes stop
}

// get finds an idle connection, or opens one.
func (l *links) get(ctx context.Context, node string) (*link, error) {
	l.mu.Lock()
	for list := l.idle[node]; len(list) > 0; list = l.idle[node] {
		k := list[len(list)-1]
		l.idle[node] = list[:len(list)-1]
		if k.timer.Stop() && !k.isDead() {
			l.mu.Unlock()
			k.reused = true
			return k, nil
		}
	}
	if l.closed || l.open[node] >= maxLinks {
		defer l.mu.Unlock()
		if l.closed {
			return nil, errLinksClosed
		}
		return nil, errLinksFull
	}
	l.open[node]++
	l.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, linkDial)
	defer cancel()
	c, err := l.dial(ctx, node)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.leave(node)
		return nil, fmt.Errorf("connect to owner: %w", err)
	}
	if l.closed {
		l.leave(node)
		_ = c.Close()
		return nil, errLinksClosed
	}
	k := &link{of: l, node: node, conn: c, answers: make(chan answer, linkAhead), dead: make(chan struct{}), stop: make(chan struct{})}
	l.all[k] = struct{}{}
	l.wg.Add(1)
	go k.read()
	return k, nil
}

// leave is called with the lock held.
func (l *links) leave(node string) {
	if l.open[node]--; l.open[node] <= 0 {
		delete(l.open, node)
	}
}

// put makes a connection free for the next transaction.
func (l *links) put(k *link) {
	if k.err != nil || k.isDead() {
		k.close()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.idle[k.node]) >= maxIdle {
		k.close()
		return
	}
	k.timer = time.AfterFunc(linkIdle, k.close)
	l.idle[k.node] = append(l.idle[k.node], k)
}

// close ends all connections and waits for their goroutines.
func (l *links) close() {
	l.mu.Lock()
	l.closed = true
	for k := range l.all {
		k.close()
	}
	l.mu.Unlock()
	l.wg.Wait()
}

// gone is a connection's last act.
func (l *links) gone(k *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, k)
	l.leave(k.node)
	for i, other := range l.idle[k.node] {
		if other == k {
			k.timer.Stop()
			l.idle[k.node] = append(l.idle[k.node][:i], l.idle[k.node][i+1:]...)
			break
		}
	}
	if len(l.idle[k.node]) == 0 {
		delete(l.idle, k.node)
	}
	l.wg.Done()
}

func (k *link) close() {
	k.once.Do(func() { close(k.stop) })
	_ = k.conn.Close()
}

func (k *link) isDead() bool {
	select {
	case <-k.dead:
		return true
	default:
		return false
	}
}

// read passes answers on. It ends with the connection, or by close.
func (k *link) read() {
	defer k.of.gone(k)
	defer close(k.dead)
	defer k.close()
	f := frames{conn: k.conn}
	for {
		what, payload, err := f.next(linkIn, noDeadline)
		if err != nil || what != kindAnswer {
			return
		}
		a, ok := parseAnswer(payload)
		if !ok {
			return
		}
		select {
		case k.answers <- a:
		case <-k.stop:
			return
		}
	}
}

// ready takes the answer to the transaction at hand, if it is there. One to an
// older message, which was refused or dropped in its midst, has no reader.
func (k *link) ready() (answer, bool) {
	for {
		select {
		case a := <-k.answers:
			if a.tag == k.tag {
				return a, true
			}
		default:
			return answer{}, false
		}
	}
}

// noDeadline: who waits for an answer has a clock of its own, and an idle
// connection its timer.
func noDeadline() error { return nil }

// say adds a frame to what goes out next.
func (k *link) say(what kind, payload []byte) {
	k.out = appendFrame(k.out, what, payload)
}

// piece sends octets of a message, in as many frames as it takes.
func (k *link) piece(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), maxPiece)
		if n < linkOut/2 {
			k.say(kindPiece, p[:n])
		} else {
			// Not worth a copy: the head goes out with what is pending.
			k.out = appendFrameHead(k.out, kindPiece, p[:n])
			k.flush()
			part := p[:n:n]
			if k.err == nil {
				k.err = writeAll(k.conn, &part)
			}
		}
		p = p[n:]
		if len(k.out) >= linkOut {
			k.flush()
		}
	}
	return k.err
}

// flush writes what is pending. An error stays.
func (k *link) flush() {
	if k.err == nil {
		k.err = writeAll(k.conn, &k.out)
	}
	k.out = k.out[:0]
}
