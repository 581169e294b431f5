package node

import (
	"slices"

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

// listingGauges shows how each source stands, and how much of what matters the
// cluster sees. The labels are our own addresses.
type listingGauges struct {
	views                               *views
	level, listed, heavy, usable, blind *prometheus.Desc
}

func newListingGauges(v *views) *listingGauges {
	return &listingGauges{
		views:  v,
		level:  prometheus.NewDesc("postern_listing_level", "How a source stands with the DNS lists: 0 blind, 1 clear, 2 info, 3 notice, 4 warning, 5 listed.", []string{"source"}, nil),
		listed: prometheus.NewDesc("postern_listing_listed", "1 while the source counts as listed.", []string{"source"}, nil),
		heavy:  prometheus.NewDesc("postern_verdict_heavy_zones", "Heavy zones of the source that is seen worst.", nil, nil),
		usable: prometheus.NewDesc("postern_verdict_heavy_zones_usable", "Those of them that enough nodes have an answer from.", nil, nil),
		blind:  prometheus.NewDesc("postern_verdict_blind", "1 while a heavy zone cannot be seen by enough nodes: a listing there would move nobody.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (g *listingGauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.level, g.listed, g.heavy, g.usable, g.blind} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Before lists are applied there is
// nothing to tell.
func (g *listingGauges) Collect(ch chan<- prometheus.Metric) {
	st := g.views.node.cluster.State()
	if st.Lists() == nil || len(st.Lists().Zones) == 0 {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	heavy, usable := 0, 0
	for i, src := range slices.Collect(st.Sources()) {
		v := st.Verdict(src.ID)
		if i == 0 || v.Heavy-v.Usable > heavy-usable {
			heavy, usable = v.Heavy, v.Usable
		}
		listed := 0.
		if l := st.Listing(src.ID); l != nil && !l.Raised.IsZero() {
			listed = 1
		}
		gauge(g.level, float64(v.Level), src.Addr.String())
		gauge(g.listed, listed, src.Addr.String())
	}
	gauge(g.heavy, float64(heavy))
	gauge(g.usable, float64(usable))
	if usable < heavy || heavy == 0 {
		gauge(g.blind, 1)
	} else {
		gauge(g.blind, 0)
	}
}
