package queue

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// said is what a store logs.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.b.String(), text)
}

func (s *said) log(c *Config) {
	c.Log = slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func counter(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// A dead holder is dialled all the time. The log says so once, and once that it
// is back.
func TestLostMirrorIsSaidOnce(t *testing.T) {
	n := newNetwork()
	var out said
	a := n.member(t, "a", vfs.NewMem(), out.log)
	n.member(t, "b", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	until(t, "the copy is whole", synced(a, 1))
	n.sever("a", "b", true)
	until(t, "some retries", func() bool { return counter(t, a.metrics.mirrorLost) >= 6 })
	if c := out.count(`msg="mirror connection lost" node=b`); c != 1 {
		t.Errorf("said %d times", c)
	}
	n.sever("a", "b", false)
	until(t, "the good end is said", func() bool { return out.count(`msg="mirror connection lost: well again" node=b`) == 1 })
}

// A store that hangs up in the midst of a call does no harm: it knows enough,
// or it died, which others say. One that speaks nonsense is worth a line.
func TestHangingUpIsNoAlarm(t *testing.T) {
	n := newNetwork()
	var out said
	a := n.member(t, "a", vfs.NewMem(), nil)
	b := n.member(t, "b", vfs.NewMem(), out.log)
	c, err := a.ask(t.Context(), "b", verbInventory)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.flush(); err != nil {
		t.Fatal(err)
	}
	c.close()
	until(t, "the end is seen", func() bool { return out.count("peer connection ended by the peer") == 1 })
	if n, errs := out.count("level=WARN"), counter(t, b.metrics.peerErrors); n != 0 || errs != 0 {
		t.Errorf("%d warnings, %v errors", n, errs)
	}
	bad, err := n.dial(t.Context(), "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(bad, "nonse!"); err != nil {
		t.Fatal(err)
	}
	until(t, "nonsense is said", func() bool { return out.count(`level=WARN msg="peer connection ended" node=a`) == 1 })
}
