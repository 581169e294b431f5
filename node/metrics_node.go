package node

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// nodeGauges shows what only this node knows of itself: whether it may say 250,
// when its certificates end, whether it has its addresses.
type nodeGauges struct {
	views *views

	build                          prometheus.Metric
	ready, missing, expiry, backup *prometheus.Desc
}

func newNodeGauges(v *views, version string) *nodeGauges {
	build := prometheus.NewDesc("postern_build_info", "1, with the version of this node's program.", []string{"version"}, nil)
	return &nodeGauges{
		views:   v,
		build:   prometheus.MustNewConstMetric(build, prometheus.GaugeValue, 1, version),
		ready:   prometheus.NewDesc("postern_ready", "1 while this node may accept mail, as /readyz says.", nil, nil),
		missing: prometheus.NewDesc("postern_sources_missing", "Sources of this node whose address is not on its machine: their mail waits.", nil, nil),
		expiry: prometheus.NewDesc("postern_certificate_expiry_timestamp_seconds",
			"When a certificate ends: submission (the files in tls), names (the first of tls.dir), node (the peer port's) or authority (the cluster's).", []string{"certificate"}, nil),
		backup: prometheus.NewDesc("postern_backup_timestamp_seconds", "When this node last gave a backup of the cluster's state, since it started; 0: never.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (g *nodeGauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.build.Desc()
	for _, d := range []*prometheus.Desc{g.ready, g.missing, g.expiry, g.backup} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *nodeGauges) Collect(ch chan<- prometheus.Metric) {
	show := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ends := func(certificate string, at time.Time) {
		if !at.IsZero() {
			show(g.expiry, float64(at.Unix()), certificate)
		}
	}
	n := g.views.node
	ch <- g.build
	show(g.ready, flag(n.admin.Ready()))
	show(g.missing, float64(len(g.views.sourcesElsewhere())))
	if len(n.certs) > 0 {
		ends("submission", n.certs[0].ends())
		if n.certs[0].named != nil {
			ends("names", n.certs[0].named.ends())
		}
	}
	own, authority := n.cluster.CertificateEnds()
	ends("node", own)
	ends("authority", authority)
	last := 0.
	if at := n.admin.LastBackup(); !at.IsZero() {
		last = float64(at.Unix())
	}
	show(g.backup, last)
}

// register registers what is shown of the queue, the state and the node.
func (v *views) register(reg prometheus.Registerer, version string) error {
	for _, c := range []prometheus.Collector{newQueueGauges(v), newListingGauges(v), newStateGauges(v.node.cluster.State, v.node.id, time.Now), newNodeGauges(v, version)} {
		if err := reg.Register(c); err != nil {
			return fmt.Errorf("register metrics of the node: %w", err)
		}
	}
	return nil
}
