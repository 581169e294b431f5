package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"postern/tenant"
)

// TestMain looks for goroutines that nobody ended; those that end by a timeout
// of their own get the time.
func TestMain(m *testing.M) {
	code := m.Run()
	var leak error
	for end := time.Now().Add(30 * time.Second); code == 0 && time.Now().Before(end); {
		if leak = goleak.Find(); leak == nil {
			break
		}
	}
	if leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}

// clock is a settable time for Config.Now.
type clock struct{ us atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.us.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMicro())
	return c
}
func (c *clock) now() time.Time          { return time.UnixMicro(c.us.Add(1)).UTC() }
func (c *clock) advance(d time.Duration) { c.us.Add(d.Microseconds()) }

// testStore opens a store on fs and closes it at the end of the test.
func testStore(t testing.TB, fs vfs.FS, change func(*Config)) *Store {
	t.Helper()
	cfg := Config{Dir: "q", FS: fs, FreeFloor: 1, Fatal: func(err error) { t.Errorf("fatal: %v", err) }}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s *Store) {
	select {
	case <-s.queue.done:
		return
	default:
	}
	if err := s.Close(); err != nil && !errors.Is(err, ErrFailed) {
		t.Errorf("Close: %v", err)
	}
}

func adopt(t testing.TB, s *Store, id tenant.ID, epoch uint64) []tenant.Spent {
	t.Helper()
	sp, err := s.Adopt(id, epoch)
	if err != nil {
		t.Fatalf("Adopt: %v", err)
	}
	return sp
}

func envelope(rcpts ...string) *Envelope {
	e := &Envelope{Account: 7, Class: tenant.Transactional, Kind: Submitted, From: "a@sender.test",
		Arrived: time.Unix(1_700_000_000, 0).UTC(), Expires: time.Unix(1_700_100_000, 0).UTC(), MessageID: "<m@sender.test>"}
	for _, r := range rcpts {
		e.Rcpts = append(e.Rcpts, Rcpt{Addr: r})
	}
	return e
}

func put(t testing.TB, s *Store, tn tenant.ID, body []byte, e *Envelope, spend ...Spend) ID {
	t.Helper()
	id, err := tryPut(s, tn, body, e, spend...)
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	return id
}

func tryPut(s *Store, tn tenant.ID, body []byte, e *Envelope, spend ...Spend) (ID, error) {
	w, err := s.NewMessage(tn)
	if err != nil {
		return ID{}, err
	}
	if _, err := w.Write(body); err != nil {
		w.Discard()
		return ID{}, err
	}
	return w.Put(context.Background(), []byte("X-Prefix: 1\r\n"), e, spend)
}

// wantBody is what goes out for a body put by tests.
func wantBody(body []byte) []byte { return append([]byte("X-Prefix: 1\r\n"), body...) }

// failer is what a test and a property have in common.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func readBody(t failer, s *Store, id ID) []byte {
	t.Helper()
	b, err := s.Body(id)
	if err != nil {
		t.Fatalf("Body: %v", err)
	}
	defer b.Close()
	var out bytes.Buffer
	if _, err := out.ReadFrom(b); err != nil {
		t.Fatalf("read body: %v", err)
	}
	if int64(out.Len()) != b.Size() {
		t.Fatalf("body of %d octets, Size says %d", out.Len(), b.Size())
	}
	return out.Bytes()
}

func waitLanesOnce(t testing.TB, s *Store) []Lane {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ls, err := s.Wait(ctx)
	if err != nil {
		t.Fatalf("Wait: %v", err)
	}
	return ls
}

// takeOne waits for the next due item.
func takeOne(t testing.TB, s *Store) *Item {
	t.Helper()
	for {
		var got *Item
		for _, l := range waitLanesOnce(t, s) {
			if got != nil {
				s.Park(l, time.Time{}) // back to Wait
				continue
			}
			items, more, err := s.Take(l, 1)
			if err != nil {
				t.Fatalf("Take: %v", err)
			}
			if len(items) == 1 {
				got = items[0]
			}
			if more {
				s.Park(l, time.Time{})
			}
		}
		if got != nil {
			return got
		}
	}
}

func outcomes(it *Item, r Result) (os []Outcome) {
	for _, i := range it.Rcpts {
		os = append(os, Outcome{Rcpt: i, Result: r, Reply: Reply{Code: 250, Text: "ok"}})
	}
	return os
}

func settle(t testing.TB, s *Store, x Settlement) {
	t.Helper()
	if err := trySettle(s, x); err != nil {
		t.Fatalf("Settle: %v", err)
	}
}

func trySettle(s *Store, x Settlement) error {
	done := make(chan error, 1)
	s.Settle(x, func(err error) { done <- err })
	return <-done
}

func deliver(t testing.TB, s *Store, it *Item) {
	t.Helper()
	if err := s.Start(it); err != nil {
		t.Fatalf("Start: %v", err)
	}
	settle(t, s, Settlement{Item: it, Attempt: Attempt{N: it.Attempts + 1, DotSent: true, Dialogue: "C: ."}, Outcomes: outcomes(it, Delivered)})
}

func TestMessageGoesThrough(t *testing.T) {
	for _, size := range []int{0, 1, 5000, inlineWithHead + 1, 300 << 10, 3 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := testStore(t, vfs.NewMem(), nil)
			adopt(t, s, 1, 1)
			body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
			e := envelope("x@one.test", "y@ONE.test", "z@two.test")
			id := put(t, s, 1, body, e)
			if id != (ID{1, 1, 1}) || e.Size != int64(len(wantBody(body))) {
				t.Fatalf("id %v size %d", id, e.Size)
			}
			if c := s.Count()[1]; c != (Counts{Queued: 3, Messages: 1}) {
				t.Fatalf("counts %+v", c)
			}
			got := map[string][]int{}
			for range 2 {
				it := takeOne(t, s)
				got[it.Lane.Domain] = it.Rcpts
				if !bytes.Equal(readBody(t, s, it.ID), wantBody(body)) {
					t.Fatal("body differs")
				}
				deliver(t, s, it)
			}
			if fmt.Sprint(got) != "map[one.test:[0 1] two.test:[2]]" {
				t.Fatalf("items %v", got)
			}
			if c := s.Count()[1]; c != (Counts{}) {
				t.Fatalf("counts %+v", c)
			}
			if _, err := s.Body(id); !errors.Is(err, ErrNotFound) {
				t.Fatalf("Body after the end: %v", err)
			}
			if fs, _ := s.fs.List(s.chunks); len(fs) != 0 {
				t.Fatalf("chunk files left: %v", fs)
			}
		})
	}
}

func TestDeferredComesBackAfterRestart(t *testing.T) {
	fs, c := vfs.NewMem(), newClock()
	s := testStore(t, fs, func(cfg *Config) { cfg.Now = c.now })
	adopt(t, s, 1, 1)
	body := []byte("hello\r\n")
	id := put(t, s, 1, body, envelope("x@one.test", "y@one.test"))
	it := takeOne(t, s)
	next := c.now().Add(5 * time.Minute)
	settle(t, s, Settlement{Item: it, Next: next, Delayed: true, Outcomes: []Outcome{
		{Rcpt: 0, Result: Delivered}, {Rcpt: 1, Result: Deferred, Reply: Reply{Code: 451, Enhanced: "4.7.1", Text: "later"}}}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = testStore(t, fs, func(cfg *Config) { cfg.Now = c.now })
	if _, err := s.Adopt(1, 1); !errors.Is(err, ErrStale) {
		t.Fatalf("Adopt with an old epoch: %v", err)
	}
	adopt(t, s, 1, 2)
	if n := s.Count()[1]; n != (Counts{Queued: 1, Messages: 1}) {
		t.Fatalf("counts %+v", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if ls, err := s.Wait(ctx); err == nil {
		t.Fatalf("due too early: %v", ls)
	}
	c.advance(6 * time.Minute)
	it = takeOne(t, s)
	if it.ID != id || it.Attempts != 1 || !it.Delayed || it.InDoubt || fmt.Sprint(it.Rcpts) != "[1]" ||
		it.Last != (Reply{451, "4.7.1", "later"}) || !it.Due.Equal(next.Truncate(time.Microsecond)) {
		t.Fatalf("item %+v", it)
	}
	if !bytes.Equal(readBody(t, s, id), wantBody(body)) {
		t.Fatal("body differs")
	}
	deliver(t, s, it)
	if n := s.Count()[1]; n != (Counts{}) {
		t.Fatalf("counts %+v", n)
	}
}
