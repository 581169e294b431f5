package delivery

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func TestAnswersAreKeptByTheirTTL(t *testing.T) {
	cases := []struct {
		name    string
		records []string
		keep    time.Duration
	}{
		{"TTL 0", []string{"a.test. 0 IN MX 10 mx.test.", "mx.test. 300 IN A 127.1.0.1"}, minTTL},
		{"host's TTL", []string{"a.test. 300 IN MX 10 mx.test.", "mx.test. 77 IN A 127.1.0.1"}, 77 * time.Second},
		{"a year", []string{"a.test. 31536000 IN MX 10 mx.test.", "mx.test. 31536000 IN A 127.1.0.1"}, maxTTL},
		{"NXDOMAIN", nil, time.Minute},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := startLiar(t, zone(c.records...))
			now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
			r := lyingResolver(l, func(c *resolverConfig) { c.Now = func() time.Time { return now } })
			ask := func() int {
				r.Site(context.Background(), "a.test")
				return l.times("a.test. MX")
			}
			if n := ask(); n != 1 {
				t.Fatalf("asked %d times at first", n)
			}
			now = now.Add(c.keep - time.Second)
			if n := ask(); n != 1 {
				t.Errorf("asked again before %v", c.keep)
			}
			now = now.Add(time.Second)
			if n := ask(); n != 2 {
				t.Errorf("a stale answer was used after %v", c.keep)
			}
		})
	}
}

func TestFailuresAreKeptForAMoment(t *testing.T) {
	l := startLiar(t, func(dns.Question, int, bool) *dns.Msg {
		return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}
	})
	now := testTime
	r := lyingResolver(l, func(c *resolverConfig) { c.Now = func() time.Time { return now } })
	for i, want := range []int{2, 2, 4} { // two tries each time
		if _, err := r.Site(context.Background(), "a.test"); err == nil {
			t.Fatal("found a site")
		}
		if n := l.times("a.test. MX"); n != want {
			t.Errorf("look-up %d: asked %d times, want %d", i+1, n, want)
		}
		now = now.Add(keepFailure*time.Duration(i) + keepFailure/2)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache[int](50, time.Now)
	for i := range 1000 {
		c.get(context.Background(), fmt.Sprint(i), func(context.Context) (int, time.Time, error) { return i, time.Now().Add(time.Hour), nil })
	}
	if len(c.entries) > 50 {
		t.Errorf("%d entries", len(c.entries))
	}
}

func TestOneLookUpServesAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[int](50, time.Now)
		calls := 0
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				v, _, err := c.get(context.Background(), "k", func(context.Context) (int, time.Time, error) {
					calls++
					time.Sleep(time.Second)
					return 7, time.Now().Add(time.Hour), nil
				})
				if v != 7 || err != nil {
					t.Errorf("%d %v", v, err)
				}
			})
		}
		wg.Wait()
		if calls != 1 {
			t.Errorf("%d look-ups", calls)
		}
	})
}

// Who waits for a look-up whose caller went away looks up for himself.
func TestCancelledLookUpIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[int](50, time.Now)
		load := func(ctx context.Context) (int, time.Time, error) {
			select {
			case <-time.After(10 * time.Second):
				return 7, time.Now().Add(time.Hour), nil
			case <-ctx.Done():
				return 0, time.Now().Add(time.Hour), ctx.Err()
			}
		}
		short, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := c.get(short, "k", load); err == nil {
				t.Error("no error")
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if v, _, err := c.get(context.Background(), "k", load); v != 7 || err != nil {
				t.Errorf("%d %v", v, err)
			}
		})
		wg.Wait()
	})
}
