package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// shortConn lets some records of a log through and then ends, between two
// frames, as when the owner dies.
type shortConn struct {
	net.Conn
	mu   sync.Mutex
	left *int // records that may still pass; nil: all
	over chan struct{}
}

func (c *shortConn) allow(records int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = &records
}

func (c *shortConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == nil {
		return c.Conn.Write(b)
	}
	end := 0
	for end < len(b) {
		if b[end] == frameRecord {
			if *c.left == 0 {
				break
			}
			*c.left--
		}
		end += int(binary.BigEndian.Uint32(b[end+1:])) + frameOverhead
	}
	n, err := c.Conn.Write(b[:end])
	if err == nil && end < len(b) {
		close(c.over)
		_ = c.Close()
		err = errors.New("the owner died")
	}
	return n, err
}

// TestNoticeComesWithItsSettlement: wherever an owner is cut off, its holder has
// the message or the notice that it failed.
func TestNoticeComesWithItsSettlement(t *testing.T) {
	for records := range 3 {
		n := newNetwork()
		var conn *shortConn
		n.wrapping(func(from, to string, c net.Conn) net.Conn {
			if from != "a" {
				return c
			}
			x := &shortConn{Conn: c, over: make(chan struct{})}
			if conn == nil { // the first one is that of the log
				conn = x
			}
			return x
		})
		a, b := n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", vfs.NewMem(), nil)
		adopt(t, a, 1, 1)
		mirror(t, a, 1, 1, 1, "b")
		until(t, "the copy is whole", synced(a, 1))
		put(t, a, 1, []byte("x"), envelope("u@one.test"))
		it := takeOne(t, a)
		if err := a.Start(it); err != nil {
			t.Fatal(err)
		}
		until(t, "the copy is whole", synced(a, 1))
		conn.allow(records)
		settle(t, a, Settlement{Item: it, Outcomes: outcomes(it, Bounced), Reports: []Notice{
			{Envelope: *envelope("a@sender.test"), Body: []byte("it failed")}, {Envelope: *envelope("b@sender.test"), Body: []byte("it failed")}}})
		<-conn.over
		n.sever("a", "b", true)
		if _, err := b.Fence(t.Context(), "", 1, 2); err != nil {
			t.Fatal(err)
		}
		adopt(t, b, 1, 3)
		list, err := b.List(Filter{Tenant: 1, Limit: 10})
		if err != nil || len(list) != 1 || list[0].ID.Seq != it.ID.Seq {
			t.Errorf("cut behind %d of 3 records: at the holder are %d messages, %v", records, len(list), err)
		}
	}
}

// TestSecured: what an owner took over is secure once its own second copy has it.
func TestSecured(t *testing.T) {
	n := newNetwork()
	a, b := n.member(t, "a", vfs.NewMem(), nil), n.member(t, "b", vfs.NewMem(), nil)
	n.member(t, "c", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	old := put(t, a, 1, []byte("x"), envelope("u@one.test"))
	until(t, "the copy is whole", synced(a, 1))
	h := &halt{make(chan struct{}), make(chan struct{})}
	walk := sync.OnceFunc(func() { close(h.over) })
	t.Cleanup(walk)
	n.wrapping(func(from, _ string, c net.Conn) net.Conn {
		if from == "b" {
			return &halted{c, h}
		}
		return c
	})
	if err := a.Release(1); err != nil {
		t.Fatal(err)
	}
	if err := a.Secured(t.Context(), old); !errors.Is(err, ErrStale) {
		t.Errorf("Secured where the log is not: %v", err)
	}
	adopt(t, b, 1, 3)
	mirror(t, b, 1, 3, 2, "c")
	own := put(t, b, 1, []byte("y"), envelope("v@one.test"))
	ask := func(id ID, wait time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		return b.Secured(ctx, id)
	}
	if err := ask(own, time.Minute); err != nil {
		t.Errorf("Secured of the owner's own: %v", err)
	}
	if err := ask(old, 20*time.Millisecond); !errors.Is(err, ErrNoCopy) {
		t.Errorf("Secured before the walk: %v", err)
	}
	walk()
	if err := ask(old, time.Minute); err != nil {
		t.Errorf("Secured behind the walk: %v", err)
	}
}
