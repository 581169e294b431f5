package queue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

// TestWaitWakesWhenMailFallsDue runs on a virtual clock.
func TestWaitWakesWhenMailFallsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testStore(t, vfs.NewMem(), nil)
		adopt(t, s, 1, 1)
		put(t, s, 1, []byte("x"), envelope("u@d.test"))
		it := takeOne(t, s)
		began := time.Now()
		settle(t, s, Settlement{Item: it, Next: began.Add(5 * time.Minute), Outcomes: outcomes(it, Deferred)})
		ls, err := s.Wait(context.Background())
		if err != nil || len(ls) != 1 {
			t.Fatalf("Wait: %v %v", ls, err)
		}
		if d := time.Since(began); d < 5*time.Minute || d > 5*time.Minute+time.Second {
			t.Fatalf("woke after %v", d)
		}
		// Announced once until drained.
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		put(t, s, 1, []byte("x"), envelope("u@d.test"))
		if ls, err := s.Wait(ctx); err == nil {
			t.Fatalf("announced again: %v", ls)
		}
		if items, more, err := s.Take(ls[0], 10); len(items) != 2 || more || err != nil {
			t.Fatalf("Take: %v %v %v", items, more, err)
		}
		// A lane parked and emptied in between still wakes for what comes later.
		s.Park(ls[0], time.Now().Add(time.Minute))
		began = time.Now()
		put(t, s, 1, []byte("x"), envelope("u@d.test"))
		if _, err := s.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < 59*time.Second || d > 61*time.Second {
			t.Fatalf("woke after %v", d)
		}
		closeStore(t, s)
	})
}

// TestOneLaneDoesNotHideOthers: lanes come by when their oldest mail fell due,
// however much lies behind one of them.
func TestOneLaneDoesNotHideOthers(t *testing.T) {
	s := testStore(t, vfs.NewMem(), nil)
	s.limits = limits{cached: 50 << 10, ready: 20, scan: 8}
	adopt(t, s, 1, 1)
	adopt(t, s, 2, 1)
	for range 500 {
		put(t, s, 1, []byte("x"), envelope("u@flood.test"))
	}
	put(t, s, 2, []byte("x"), envelope("u@small.test"))
	lanes := waitLanesOnce(t, s)
	if len(lanes) != 2 || lanes[0].Domain != "flood.test" {
		t.Fatalf("lanes %v", lanes)
	}
	if items, more, err := s.Take(lanes[1], 8); len(items) != 1 || more || err != nil {
		t.Fatalf("the small one: %v %v %v", items, more, err)
	}
	got := 0
	var last ID
	for more := true; more; {
		var items []*Item
		var err error
		if items, more, err = s.Take(lanes[0], 7); err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			if compareIDs(last, it.ID) >= 0 {
				t.Fatalf("%v after %v: not oldest first", it.ID, last)
			}
			last = it.ID
			got++
		}
	}
	if got != 500 {
		t.Fatalf("took %d", got)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	s := testStore(t, vfs.NewMem(), func(c *Config) { c.Registerer = reg })
	adopt(t, s, 1, 1)
	put(t, s, 1, []byte("x"), envelope("u@d.test"))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	for name, want := range map[string]float64{"postern_queue_messages": 1, "postern_queue_in_doubt": 0, "postern_queue_key_misuse_total": 0,
		"postern_queue_stalls_total": 0, "postern_queue_commit_seconds": 2} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if got["postern_queue_memory_bytes"] == 0 {
		t.Error("no memory counted")
	}
}
