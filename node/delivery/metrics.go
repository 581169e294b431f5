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
	delivered, bounced, expired, deferred, inDoubt *prometheus.CounterVec

	attempt, latency prometheus.Histogram
	open             *prometheus.GaugeVec
	refused          *prometheus.CounterVec
	resting          prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"tenant"})
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help,
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		})
	}
	m := &metrics{
		delivered: counter("postern_delivered_total", "Recipients a next hop took over."),
		bounced:   counter("postern_bounced_total", "Recipients that ended undelivered, expired ones included."),
		expired:   counter("postern_expired_total", "Recipients that ended because their time was up."),
		deferred:  counter("postern_deferred_total", "Recipients put off, once for each attempt."),
		inDoubt:   counter("postern_in_doubt_total", "Recipients whose final dot was sent and never answered: they may arrive twice."),
		attempt:   histogram("postern_delivery_attempt_seconds", "From the start of a transaction to its last reply."),
		latency:   histogram("postern_delivery_latency_seconds", "From acceptance to delivery."),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "postern_delivery_connections", Help: "Open outgoing connections by provider.",
		}, []string{"provider"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_delivery_ip_refused_total", Help: "Attempts refused because of our IP, by the provider whose host said so.",
		}, []string{"provider"}),
		resting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postern_delivery_backed_off_sites", Help: "Pairs of source and site that are left alone after failures.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.delivered, m.bounced, m.expired, m.deferred, m.inDoubt, m.attempt, m.latency, m.open, m.refused, m.resting} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// tally is one tenant's counters, found once.
type tally struct {
	delivered, bounced, expired, deferred, inDoubt prometheus.Counter
}

func (m *metrics) tallyOf(id string) *tally {
	return &tally{
		delivered: m.delivered.WithLabelValues(id),
		bounced:   m.bounced.WithLabelValues(id),
		expired:   m.expired.WithLabelValues(id),
		deferred:  m.deferred.WithLabelValues(id),
		inDoubt:   m.inDoubt.WithLabelValues(id),
	}
}
