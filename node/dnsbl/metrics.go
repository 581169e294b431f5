package dnsbl

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"postern/tenant"
)

// metrics have as labels zones of the zones file, which bounds their number,
// without their keys.
type metrics struct {
	queries *prometheus.CounterVec // outcome: listed, clean, unknown, refused, text
	usable  *prometheus.GaugeVec   // space: ipv4, ipv6, domain
	round   *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer, o *Observer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		queries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_dnsbl_queries_total", Help: "Questions put to DNS lists, test points included; text is the question for a listing's reason."},
			[]string{"zone", "outcome"}),
		usable: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "postern_dnsbl_zone_usable", Help: "1 when the zone's last test let it be believed."},
			[]string{"zone", "space"}),
		round: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "postern_dnsbl_round_seconds", Help: "Time from the first to the last answer of a round over all subjects; in ordinary running most of it is spread on purpose.",
			Buckets:                         []float64{.1, .5, 1, 5, 15, 60, 300, 900, 3600, 7200},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"zone"}),
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_dnsbl_heavy_zones", Help: "Zones without which a verdict is blind.",
	}, func() float64 { return float64(o.Sight().Heavy) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_dnsbl_heavy_zones_usable", Help: "Those that can be believed now.",
	}, func() float64 { return float64(o.Sight().Usable) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_dnsbl_blind", Help: "1 while a heavy zone cannot be believed, or there is none: verdicts see less than they should.",
	}, func() float64 {
		if o.Sight().Blind() {
			return 1
		}
		return 0
	})
	return m
}

func (m *metrics) asked(zone string, kind tenant.AnswerKind) {
	m.queries.WithLabelValues(zone, kind.String()).Inc()
}

func (m *metrics) health(h Health) {
	g := m.usable.WithLabelValues(h.Zone, h.Space.String())
	if h.State == Usable {
		g.Set(1)
	} else {
		g.Set(0)
	}
}
