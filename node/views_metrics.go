package node

import (
	"github.com/prometheus/client_golang/prometheus"
)

// queueGauges shows the queue's numbers by tenant. They are read when asked
// for: the store keeps them up to date anyway.
type queueGauges struct {
	views           *views
	queued, oneCopy *prometheus.Desc
}

func newQueueGauges(v *views) *queueGauges {
	return &queueGauges{
		views:   v,
		queued:  prometheus.NewDesc("postern_queued", "Recipients of kept messages without an outcome.", []string{"tenant"}, nil),
		oneCopy: prometheus.NewDesc("postern_one_copy", "Kept messages of which no second node surely has a copy.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (g *queueGauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.queued
	ch <- g.oneCopy
}

// Collect implements prometheus.Collector. A tenant that is being removed has
// no name any more and is left out.
func (g *queueGauges) Collect(ch chan<- prometheus.Metric) {
	st := g.views.node.cluster.State()
	for id, c := range g.views.node.queue.Count() {
		t := st.Tenant(id)
		if t == nil {
			continue
		}
		ch <- prometheus.MustNewConstMetric(g.queued, prometheus.GaugeValue, float64(c.Queued), t.Name)
	}
	ch <- prometheus.MustNewConstMetric(g.oneCopy, prometheus.GaugeValue, float64(g.views.node.queue.OneCopy()))
}
