package dnsbl

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/tenant"
)

// told is an asker without a network: what each question's answer is, and when
// it was asked.
type told struct {
	mu     sync.Mutex // guards what follows
	answer func(name string) ([]netip.Addr, tenant.Why)
	times  map[string][]time.Time
	slow   time.Duration
	now    int // questions under way
	most   int
}

// sound is a zone that passes its tests and lists the given labels.
func sound(listed ...string) func(string) ([]netip.Addr, tenant.Why) {
	return func(name string) ([]netip.Addr, tenant.Why) {
		for _, l := range append(listed, "2.0.0.127.", mapped(2).label(), "test.") {
			if strings.HasPrefix(name, l) {
				return addrs("127.0.0.2"), ""
			}
		}
		return nil, ""
	}
}

func (f *told) values(_ context.Context, name string) ([]netip.Addr, tenant.Why) {
	f.mu.Lock()
	if f.times == nil {
		f.times = map[string][]time.Time{}
	}
	f.times[name] = append(f.times[name], time.Now())
	f.now++
	f.most = max(f.most, f.now)
	answer, slow := f.answer, f.slow
	f.mu.Unlock()
	time.Sleep(slow) // of the bubble's clock
	f.mu.Lock()
	f.now--
	f.mu.Unlock()
	return answer(name)
}

func (f *told) reason(context.Context, string) string { return "because" }

func (f *told) play(answer func(string) ([]netip.Addr, tenant.Why)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *told) count(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, times := range f.times {
		if strings.HasPrefix(name, prefix) {
			n += len(times)
		}
	}
	return n
}

const fourZones = `
groups: [{name: small, cap: 20}]
zones:
  - name: heavy.test
    asks: [ipv4, ipv6]
    heavy: true
    every: 5m
    delist: https://heavy.test/{}
    codes:
      - {code: 127.0.0.2, weight: 100, means: spam}
      - {code: 127.0.0.10, policy: hold, means: policy}
  - name: mid.test
    asks: [ipv4]
    heavy: true
    every: 10m
    codes: [{code: 127.0.0.2, weight: 60, means: spam}]
  - name: slow.test
    asks: [ipv4]
    every: 2h
    group: small
    codes: [{code: 127.0.0.2, weight: 10, means: spam}]
  - name: dom.test
    asks: [domain]
    heavy: true
    every: 15m
    codes: [{code: 127.0.0.2, weight: 50, means: spam}]
`

func readBook(t testing.TB, text string) *Book {
	t.Helper()
	b, faults := ParseZones([]byte(text))
	if faults != nil {
		t.Fatal(faults)
	}
	return b
}

func subjectsOf(t testing.TB, texts ...string) (all []Subject) {
	t.Helper()
	for _, text := range texts {
		s, err := ParseSubject(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// newObserver makes one that asks f, or its resolver when f is nil.
func newObserver(t testing.TB, cfg Config, f *told, subjects ...Subject) *Observer {
	t.Helper()
	if cfg.Resolver == nil {
		cfg.Resolver = quick(t, time.Second, netip.MustParseAddrPort("127.0.0.1:1"))
	}
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewPedanticRegistry()
	}
	if cfg.Node == "" {
		cfg.Node = "n1"
	}
	o, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if f != nil {
		o.asker = f
	}
	if err := o.Watch(subjects); err != nil {
		t.Fatal(err)
	}
	return o
}
