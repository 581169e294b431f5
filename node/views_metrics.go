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
	gauge := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{"tenant"}, nil)
	}
	return &queueGauges{
		views:   v,
		queued:  gauge("postern_queued", "Recipients of kept messages without an outcome."),
		oneCopy: gauge("postern_one_copy", "Kept messages that no second node keeps."),
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
		ch <- prometheus.MustNewConstMetric(g.oneCopy, prometheus.GaugeValue, float64(c.Messages), t.Name) // a cluster of one keeps one
	}
}
