package trouble

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lines gathers what a Log says, without the times.
type lines struct{ b strings.Builder }

func (l *lines) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(&l.b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func (l *lines) take() []string {
	s := strings.TrimSpace(l.b.String())
	l.b.Reset()
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

func (l *lines) want(t *testing.T, want ...string) {
	t.Helper()
	if got := l.take(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("said %q\nwant %q", got, want)
	}
}

// A dead peer is said once, then once a minute with the count of the rest, and
// once when it is back.
func TestDeadPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		l := New[string](out.log(), slog.LevelWarn, "peer failed", "node")
		l.Well("n2")
		out.want(t)
		for range 150 * 30 { // two minutes and a half, thirty a second
			l.Bad("n2", "err", "refused")
			time.Sleep(time.Second / 30)
		}
		got := out.take()
		if len(got) != 3 || got[0] != `level=WARN msg="peer failed" node=n2 err=refused` {
			t.Fatalf("said %q", got)
		}
		for _, s := range got[1:] {
			var n int
			if _, err := fmt.Sscanf(s, `level=WARN msg="peer failed" node=n2 err=refused suppressed=%d`, &n); err != nil || n < 1795 || n > 1805 {
				t.Errorf("said %q: %v", s, err)
			}
		}
		l.Well("n3") // of another one
		out.want(t)
		l.Well("n2")
		got = out.take()
		if len(got) != 1 || !strings.HasPrefix(got[0], `level=INFO msg="peer failed: well again" node=n2 lasted=2m30`) ||
			!strings.Contains(got[0], " suppressed=") {
			t.Fatalf("said %q", got)
		}
		l.Well("n2")
		out.want(t)
	})
}

// Each has its own line, and a second outage after a steady time is a new one.
func TestEachOutageIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		l := New[string](out.log(), slog.LevelError, "lost", "who")
		l.Bad("a")
		l.Bad("b")
		out.want(t, `level=ERROR msg=lost who=a`, `level=ERROR msg=lost who=b`)
		time.Sleep(2 * time.Second)
		l.Well("a")
		out.want(t, `level=INFO msg="lost: well again" who=a lasted=2s`)
		time.Sleep(steady)
		l.Bad("a")
		out.want(t, `level=ERROR msg=lost who=a`)
	})
}

// What comes and goes all the time is one trouble, of at most two lines a
// minute; its last word is true.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		l := New[string](out.log(), slog.LevelWarn, "lost", "who")
		for range 300 { // five minutes
			l.Bad("a")
			time.Sleep(500 * time.Millisecond)
			l.Well("a")
			time.Sleep(500 * time.Millisecond)
		}
		if got := out.take(); len(got) > 10 || !strings.Contains(got[len(got)-1], "well again") {
			t.Fatalf("said %d lines: %q", len(got), got)
		}
		// An outage hidden by the flapping is said within the minute.
		l.Bad("a")
		time.Sleep(every)
		l.Bad("a")
		if got := out.take(); len(got) == 0 || strings.Contains(got[len(got)-1], "well again") {
			t.Fatalf("said %q", got)
		}
		if l.Well("a"); len(out.take()) != 1 {
			t.Fatal("the end is not said")
		}
	})
}

// A peer that nobody asks any more is forgotten: Well is cheap again, and its
// next trouble is a new one.
func TestForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		l := New[string](out.log(), slog.LevelWarn, "lost", "who")
		l.Bad("removed")
		l.Bad("quiet")
		out.take()
		time.Sleep(over)
		l.Bad("quiet")
		l.Bad("new")
		out.want(t, `level=WARN msg=lost who=quiet`, `level=WARN msg=lost who=new`)
		if l.bad.Load() != 2 || len(l.all) != 2 {
			t.Errorf("%d bad, %d remembered", l.bad.Load(), len(l.all))
		}
		l.Well("quiet")
		if got := out.take(); len(got) != 1 || !strings.Contains(got[0], "lasted=0s") {
			t.Errorf("said %q", got)
		}
	})
}

// Many at once count right.
func TestConcurrent(t *testing.T) {
	l := New[int](slog.New(slog.DiscardHandler), slog.LevelWarn, "lost", "who")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 200 {
				l.Bad(i % 3)
				l.Well((i + 1) % 3)
			}
		})
	}
	all.Wait()
	for i := range 3 {
		l.Well(i)
	}
	if n := l.bad.Load(); n != 0 {
		t.Errorf("%d bad at the end", n)
	}
}
