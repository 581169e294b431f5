package lab

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Exchanger is one pretend mail exchanger: an IP with a mood.
type Exchanger struct {
	Name string
	Addr netip.Addr
	Mood Mood
}

// Tally counts what one exchanger did.
type Tally struct {
	Conns    int64 `json:"connections"`
	Taken    int64 `json:"taken"`    // messages kept
	Refused  int64 `json:"refused"`  // 5xx replies to MAIL, RCPT or the dot
	Deferred int64 `json:"deferred"` // 4xx replies likewise
	HungUp   int64 `json:"hung_up"`  // connections closed after the dot
	Open     int64 `json:"open"`     // connections now
}

// exchanger serves one Exchanger. go-smtp is not used for it: the moods need
// faults a library forbids (silence, hanging up between dot and reply), and
// under load the receiving side must cost little.
type exchanger struct {
	name  string
	ln    net.Listener
	mood  atomic.Pointer[Mood]
	tls   *tls.Config
	taken func(*Mail)

	conns, kept, refused, deferred, hung atomic.Int64

	mu   sync.Mutex // guards what follows
	seen map[string]time.Time
	open map[net.Conn]struct{}
	done bool
}

const (
	maxConns = 4096   // of one exchanger
	maxSeen  = 200000 // first tries remembered for greylisting and hanging up
)

func listenExchanger(x Exchanger, port uint16, t *tls.Config, taken func(*Mail)) (*exchanger, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(x.Addr.String(), strconv.Itoa(int(port))))
	if err != nil {
		return nil, fmt.Errorf("listen mail exchanger %s: %w", x.Name, err)
	}
	e := &exchanger{name: x.Name, ln: l, tls: t, taken: taken, seen: map[string]time.Time{}, open: map[net.Conn]struct{}{}}
	m := x.Mood
	if m.Kind == "" {
		m.Kind = Fine
	}
	e.mood.Store(&m)
	return e, nil
}

func (e *exchanger) tally() Tally {
	e.mu.Lock()
	open := int64(len(e.open))
	e.mu.Unlock()
	return Tally{
		Open:  open,
		Conns: e.conns.Load(), Taken: e.kept.Load(), Refused: e.refused.Load(),
		Deferred: e.deferred.Load(), HungUp: e.hung.Load(),
	}
}

// run accepts until ctx ends, then closes every connection and waits for the
// sessions.
func (e *exchanger) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, e.close)
	defer stop()
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer e.close()
	for {
		c, err := e.ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if t, ok := err.(interface{ Temporary() bool }); ok && t.Temporary() {
				// Out of descriptors: let some close first.
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
				}
				continue
			}
			return fmt.Errorf("accept at mail exchanger %s: %w", e.name, err)
		}
		if !e.enter(c) {
			_ = c.Close()
			continue
		}
		e.conns.Add(1)
		sessions.Go(func() {
			defer e.leave(c)
			newSession(e, c).serve(ctx)
		})
	}
}

func (e *exchanger) enter(c net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done || len(e.open) >= maxConns {
		return false
	}
	e.open[c] = struct{}{}
	return true
}

func (e *exchanger) leave(c net.Conn) {
	_ = c.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.open, c)
}

func (e *exchanger) close() {
	_ = e.ln.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done = true
	for c := range e.open {
		_ = c.Close()
	}
}

// first reports whether key has not been seen before, or not for long enough:
// a second try within wait is still a first one.
func (e *exchanger) first(key string, wait time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	at, ok := e.seen[key]
	if !ok {
		if len(e.seen) >= maxSeen {
			clear(e.seen)
		}
		e.seen[key] = time.Now()
		return true
	}
	return time.Since(at) < wait
}
