package cluster

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of this node's part of the consensus. Labels are result, with the
// values done and failed, and node.
type metrics struct {
	commit    prometheus.Histogram
	write     prometheus.Histogram
	snapshots *prometheus.CounterVec
	// mismatches, lag and offset are the leader's.
	mismatches prometheus.Counter
	lag        *prometheus.GaugeVec
	offset     *prometheus.GaugeVec
	all        []prometheus.Collector
	registry   prometheus.Registerer
}

// latency makes a native histogram that text scrapes can read too.
func latency(name, text string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:                            name,
		Help:                            text,
		Buckets:                         []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	})
}

// newMetrics registers the metrics; a nil registry keeps them unseen.
func newMetrics(registry prometheus.Registerer, c *Cluster) (*metrics, error) {
	m := &metrics{
		commit: latency("postern_cluster_commit_seconds", "Time from handing a command to the log until it is applied."),
		write:  latency("postern_cluster_log_write_seconds", "Time of one synced write to the log."),
		snapshots: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_cluster_snapshots_total",
			Help: "Snapshots of the replicated state, by result (done, failed).",
		}, []string{"result"}),
		mismatches: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postern_cluster_digest_mismatches_total",
			Help: "Reports of a state that differs from the leader's at the same index.",
		}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "postern_raft_follower_lag",
			Help: "Entries a node with fresh contact lacks, as the leader knows.",
		}, []string{"node"}),
		offset: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "postern_cluster_node_clock_skew_seconds",
			Help: "How far the clock of a node with fresh contact is from the median of three nodes or more, as the leader knows; its own is postern_cluster_clock_skew_seconds.",
		}, []string{"node"}),
		registry: registry,
	}
	m.snapshots.WithLabelValues("done")
	m.snapshots.WithLabelValues("failed")
	index := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_cluster_applied_index",
		Help: "Index of the last log entry applied.",
	}, func() float64 { return float64(c.fsm.index.Load()) })
	leads := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_cluster_leads",
		Help: "1 while this node leads.",
	}, func() float64 {
		if c.leads.Load() {
			return 1
		}
		return 0
	})
	skew := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_cluster_clock_skew_seconds",
		Help: "How far the leader's clock is from the median of the nodes; 0 elsewhere.",
	}, func() float64 { return c.skew().Seconds() })
	lease := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_cluster_lease",
		Help: "1 while this node has a lease.",
	}, func() float64 {
		if l := c.lease.Load(); l != nil && c.clocks.now().before(l.until) {
			return 1
		}
		return 0
	})
	m.all = []prometheus.Collector{m.commit, m.write, m.snapshots, index, leads, m.mismatches, m.lag, m.offset, skew, lease}
	if registry == nil {
		return m, nil
	}
	for i, collector := range m.all {
		if err := registry.Register(collector); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// unregister lets a later Cluster use the same registry.
func (m *metrics) unregister() {
	if m.registry == nil {
		return
	}
	for _, collector := range m.all {
		m.registry.Unregister(collector)
	}
}

// forget takes away what only a leader knows.
func (m *metrics) forget() {
	m.lag.Reset()
	m.offset.Reset()
}

func (m *metrics) wrote(d time.Duration) { m.write.Observe(d.Seconds()) }

func (m *metrics) took(ok bool) {
	result := "failed"
	if ok {
		result = "done"
	}
	m.snapshots.WithLabelValues(result).Inc()
}
