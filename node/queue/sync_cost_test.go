package queue

import (
	"bytes"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// counted counts what goes over a connection, both ways.
type counted struct {
	net.Conn
	octets *atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.octets.Add(int64(n))
	return n, err
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.octets.Add(int64(n))
	return n, err
}

// TestWalkCostsWhatDiffers: a holder that has nearly all of a queue gets the
// rest, not the queue.
func TestWalkCostsWhatDiffers(t *testing.T) {
	const size = 2000
	messages := 4000
	if os.Getenv("POSTERN_SOAK") != "" {
		messages = 20_000
	}
	var octets atomic.Int64
	n := newNetwork()
	n.wrap = func(_, _ string, c net.Conn) net.Conn { return &counted{c, &octets} }
	a := n.member(t, "a", vfs.NewMem(), nil)
	b := n.member(t, "b", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "")
	body := bytes.Repeat([]byte("x"), size)
	fillQueue := func(count int) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range count / 8 {
					if _, err := tryPut(a, 1, body, envelope("u@one.test")); err != nil {
						t.Errorf("Put: %v", err)
					}
				}
			})
		}
		all.Wait()
	}
	fillQueue(messages)
	began := time.Now()
	mirror(t, a, 1, 1, 2, "b")
	until(t, "the copy is whole", synced(a, 1))
	first := octets.Swap(0)
	t.Logf("%d messages copied in %v, %d octets", messages, time.Since(began), first)
	if first < int64(messages*size) {
		t.Fatalf("%d octets for %d messages", first, messages)
	}
	mirror(t, a, 1, 1, 3, "")
	fillQueue(40)
	for range 40 {
		deliver(t, a, takeOne(t, a))
	}
	began = time.Now()
	octets.Store(0)
	mirror(t, a, 1, 1, 4, "b")
	until(t, "the copy is whole again", synced(a, 1))
	again := octets.Load()
	t.Logf("compared in %v, %d octets", time.Since(began), again)
	if most := int64(40*(size+1000) + 40*messages + 20_000); again > most {
		t.Errorf("%d octets to bring 80 changes over, at most %d", again, most)
	}
	sameCopies(t, a, b, 1)
}
