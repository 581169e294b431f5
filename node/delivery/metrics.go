package delivery

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of delivery. Labels: tenant is a tenant's name (at most twenty
// live ones a node), provider a name of the shaping table (of package bounce's for refusals),
// "other" or "route".
// Never a recipient domain.
type metrics struct {
	delivered, bounced, expired, suppressed, deferred, inDoubt *prometheus.CounterVec

	attempt, latency prometheus.Histogram
	open             *prometheus.GaugeVec
	refused          *prometheus.CounterVec
	outcomes         *prometheus.CounterVec
	resting          prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"tenant"})
	}
	// Text scrapes see only the buckets; without them they would see none.
	histogram := func(name, help string, buckets ...float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		})
	}
	m := &metrics{
		delivered:  counter("postern_delivered_total", "Recipients a next hop took over."),
		bounced:    counter("postern_bounced_total", "Recipients that ended undelivered, expired and suppressed ones included."),
		expired:    counter("postern_expired_total", "Recipients that ended because their time was up."),
		suppressed: counter("postern_suppressed_total", "Recipients that ended untried because their address is on the tenant's suppression list."),
		deferred:   counter("postern_deferred_total", "Recipients put off, once for each attempt."),
		inDoubt:    counter("postern_in_doubt_total", "Recipients whose final dot was sent and never answered: they may arrive twice."),
		attempt: histogram("postern_delivery_attempt_seconds", "From the start of a transaction to its last reply.",
			.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300),
		latency: histogram("postern_delivery_latency_seconds", "From acceptance to delivery.",
			.1, .5, 1, 5, 15, 60, 300, 900, 3600, 4*3600, 24*3600, 5*24*3600),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "postern_delivery_connections", Help: "Open outgoing connections by provider.",
		}, []string{"provider"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_delivery_ip_refused_total", Help: "Attempts refused because of our IP, by the provider whose host said so.",
		}, []string{"provider"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_delivery_recipients_total",
			Help: "Recipients by what an attempt at a host of the provider came to: delivered, deferred, bounced.",
		}, []string{"provider", "outcome"}),
		resting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postern_delivery_backed_off_sites", Help: "Pairs of source and site that are left alone after failures.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.delivered, m.bounced, m.expired, m.suppressed, m.deferred, m.inDoubt, m.attempt, m.latency, m.open, m.refused, m.outcomes, m.resting} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// attempted counts what an attempt at a provider's host came to.
func (m *metrics) attempted(provider string, v *verdict) {
	for _, x := range [...]struct {
		outcome string
		n       int
	}{{"delivered", v.delivered}, {"deferred", v.deferred}, {"bounced", v.ended}} {
		if x.n > 0 {
			m.outcomes.WithLabelValues(provider, x.outcome).Add(float64(x.n))
		}
	}
}

// tally is one tenant's counters, found once.
type tally struct {
	delivered, bounced, expired, suppressed, deferred, inDoubt prometheus.Counter
}

func (m *metrics) tallyOf(id string) *tally {
	return &tally{
		delivered:  m.delivered.WithLabelValues(id),
		bounced:    m.bounced.WithLabelValues(id),
		expired:    m.expired.WithLabelValues(id),
		suppressed: m.suppressed.WithLabelValues(id),
		deferred:   m.deferred.WithLabelValues(id),
		inDoubt:    m.inDoubt.WithLabelValues(id),
	}
}
