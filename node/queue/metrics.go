package queue

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	commit     prometheus.Histogram
	stalls     prometheus.Counter
	slow       prometheus.Counter
	background prometheus.Counter
	misuse     prometheus.Counter
	corrupt    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Store) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		commit: f.NewHistogram(prometheus.HistogramOpts{
			Name:                            "postern_queue_commit_seconds",
			Help:                            "Time a synced batch of the queue took.",
			Buckets:                         []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .5, 1, 5},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		}),
		stalls: f.NewCounter(prometheus.CounterOpts{
			Name: "postern_queue_stalls_total", Help: "Times writes of the queue waited for flushes or compactions."}),
		slow: f.NewCounter(prometheus.CounterOpts{
			Name: "postern_queue_slow_writes_total", Help: "Disk operations of the queue longer than 5 s."}),
		background: f.NewCounter(prometheus.CounterOpts{
			Name: "postern_queue_background_errors_total", Help: "Failed flushes and compactions of the queue; they are tried again."}),
		misuse: f.NewCounter(prometheus.CounterOpts{
			Name: "postern_queue_key_misuse_total", Help: "Keys written twice; always 0."}),
		corrupt: f.NewCounter(prometheus.CounterOpts{
			Name: "postern_queue_corrupt_records_total", Help: "Records that failed their checksum; their messages are left alone."}),
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_queue_free_bytes", Help: "Free octets on the queue's disk.",
	}, func() float64 { return float64(s.disk.free.Load()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_queue_in_doubt", Help: "Items started before a crash and never settled, still queued.",
	}, func() float64 { return float64(s.sumCounts().InDoubt) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_queue_messages", Help: "Messages in the queues of the tenants owned here.",
	}, func() float64 { return float64(s.sumCounts().Messages) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_queue_memory_bytes", Help: "Octets of messages kept in memory until they are settled.",
	}, func() float64 { return float64(s.cached()) })
	return m
}

func (s *Store) sumCounts() (c Counts) {
	for _, n := range s.Count() {
		c.Queued, c.Messages, c.InDoubt = c.Queued+n.Queued, c.Messages+n.Messages, c.InDoubt+n.InDoubt
	}
	return c
}

func (s *Store) cached() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.cached
}
