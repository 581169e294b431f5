package dnsbl

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/tenant"
)

func TestSight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &told{answer: sound()}
		o := newObserver(t, Config{Book: readBook(t, fourZones)}, f, subjectsOf(t, "192.0.2.10", "2001:db8::1")...)
		sight := func() string {
			t.Helper()
			if err := o.Round(t.Context()); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%d of %d %v", o.Sight().Usable, o.Sight().Heavy, o.Sight().Blind())
		}
		if s := o.Sight(); !s.Blind() || s.Usable != 0 {
			t.Errorf("before the first round: %+v", s)
		}
		if got := sight(); got != "2 of 2 false" {
			t.Error(got)
		}
		// One of a zone's two sides fails: the zone is not usable.
		f.play(func(name string) ([]netip.Addr, tenant.Why) {
			if strings.HasPrefix(name, mapped(2).label()) {
				return nil, ""
			}
			return sound()(name)
		})
		if got := sight(); got != "1 of 2 true" {
			t.Error(got)
		}
		f.play(func(string) ([]netip.Addr, tenant.Why) { return addrs("127.255.255.254"), "" })
		if got := sight(); got != "0 of 2 true" {
			t.Error(got)
		}
		for _, h := range o.Health() {
			if h.State != Refused || h.Why != tenant.WhyOpenResolver {
				t.Errorf("%+v", h)
			}
		}
	})
}

// What is exported of it: counts by zone and outcome, the health, the blindness;
// and never a key.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &told{answer: sound("10.2.0.192")}
		reg := prometheus.NewPedanticRegistry()
		b := readBook(t, fourZones)
		b.Zones[0].key = newSecret(theKey)
		o := newObserver(t, Config{Book: b, Metrics: reg}, f, subjectsOf(t, "192.0.2.10", "192.0.2.11")...)
		if err := o.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		text := gathered(t, reg)
		for _, want := range []string{
			`postern_dnsbl_queries_total{outcome=listed zone=heavy.test} 2`, // the point and the address
			`postern_dnsbl_queries_total{outcome=clean zone=heavy.test} 3`,
			`postern_dnsbl_queries_total{outcome=text zone=heavy.test} 1`,
			`postern_dnsbl_zone_usable{space=ipv4 zone=mid.test} 1`,
			`postern_dnsbl_heavy_zones{} 2`, `postern_dnsbl_heavy_zones_usable{} 2`, `postern_dnsbl_blind{} 0`,
			`postern_dnsbl_round_seconds{zone=slow.test} 1`,
		} {
			if !strings.Contains(text, want) {
				t.Errorf("no %s in\n%s", want, text)
			}
		}
		f.play(func(string) ([]netip.Addr, tenant.Why) { return nil, tenant.WhyServFail })
		if err := o.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		text = gathered(t, reg)
		for _, want := range []string{`postern_dnsbl_queries_total{outcome=unknown zone=heavy.test} 1`, `postern_dnsbl_zone_usable{space=ipv4 zone=mid.test} 0`, `postern_dnsbl_blind{} 1`} {
			if !strings.Contains(text, want) {
				t.Errorf("no %s in\n%s", want, text)
			}
		}
		if strings.Contains(text, theKey) {
			t.Error("the key is in the metrics")
		}
	})
}

func gathered(t *testing.T, reg prometheus.Gatherer) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			fmt.Fprintf(&b, "%s{%s} %g\n", f.GetName(), strings.Join(labels, " "), v)
		}
	}
	return b.String()
}

// A zone that suddenly lists most of what is watched is set aside; what it says
// of a few stands.
func TestJudgeWorld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := readBook(t, situationZones)
		subjects := subjectsOf(t, "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "relay.example")
		var observers []*Observer
		var fakes []*told
		for range 3 {
			f := &told{answer: sound()}
			fakes = append(fakes, f)
			observers = append(observers, newObserver(t, Config{Book: book, Node: fmt.Sprint(len(fakes))}, f, subjects...))
		}
		judge := func(labels ...string) string {
			t.Helper()
			for _, f := range fakes {
				f.play(func(name string) ([]netip.Addr, tenant.Why) {
					if strings.HasSuffix(name, "heavy.test.") {
						return sound(labels...)(name)
					}
					return sound()(name)
				})
			}
			for range 2 {
				for _, o := range observers {
					if err := o.Round(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(3 * time.Minute)
			}
			r := Judge(time.Now(), observers, subjects)
			text := fmt.Sprint(r.Faulty)
			for _, s := range r.Subjects[:5] {
				text += " " + s.Verdict.Level.String()
			}
			return text
		}
		if got := judge(); got != "[] clear clear clear clear clear" {
			t.Error(got)
		}
		if got := judge("1.2.0.192", "2.2.0.192"); got != "[] move move clear clear clear" {
			t.Error(got)
		}
		if got := judge("1.2.0.192", "2.2.0.192", "3.2.0.192"); got != "[heavy.test] warning warning warning blind blind" {
			t.Error(got)
		}
		time.Sleep(time.Hour)
		if got := judge("1.2.0.192", "2.2.0.192", "3.2.0.192"); got != "[heavy.test] warning warning warning blind blind" {
			t.Error("an hour later:", got)
		}
		if got := judge("1.2.0.192"); got != "[] move clear clear clear clear" {
			t.Error(got)
		}
	})
}
