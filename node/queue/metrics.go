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

	mirrorRecords prometheus.Counter
	mirrorOctets  prometheus.Counter
	mirrorLost    prometheus.Counter
	mirrorGaps    prometheus.Counter
	withdrawn     prometheus.Counter
	peerErrors    prometheus.Counter
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
	m.mirror(f, s)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_queue_free_bytes", Help: "Free octets on the queue's disk.",
	}, func() float64 { return float64(s.disk.free.Load()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_queue_floor_bytes", Help: "Free octets below which no mail is taken.",
	}, func() float64 { return float64(s.disk.floor.Load()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_queue_full", Help: "1 while no mail is taken, because the disk has too little free space or failed.",
	}, func() float64 {
		if s.disk.full.Load() || s.broken() != nil {
			return 1
		}
		return 0
	})
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

// mirror adds what is measured of second copies.
func (m *metrics) mirror(f promauto.Factory, s *Store) {
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m.mirrorRecords = counter("postern_mirror_records_total", "Log records sent to holders of second copies.")
	m.mirrorOctets = counter("postern_mirror_bytes_total", "Octets of log records sent to holders.")
	m.mirrorLost = counter("postern_mirror_connections_lost_total", "Connections to holders that failed or ended.")
	m.mirrorGaps = counter("postern_mirror_gaps_total", "Times a log came here with records missing; always 0.")
	m.withdrawn = counter("postern_mirror_withdrawn_total", "Messages taken back because their second copy was not confirmed in time.")
	m.peerErrors = counter("postern_mirror_peer_errors_total", "Connections of other stores that ended with an error.")
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_mirror_behind_seconds", Help: "Age of the oldest record without its holder's word, of all tenants owned here.",
	}, func() float64 {
		var most time.Duration
		for _, st := range s.Mirrors() {
			most = max(most, st.Behind)
		}
		return most.Seconds()
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_mirror_broken", Help: "Tenants owned here whose holder cannot be reached, or refuses.",
	}, func() float64 {
		n := 0
		for _, st := range s.Mirrors() {
			if st.Broken > 0 {
				n++
			}
		}
		return float64(n)
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postern_mirror_unsent_bytes", Help: "Octets of records kept until their holder has them.",
	}, func() float64 { return float64(s.unsent()) })
}

func (s *Store) unsent() int64 {
	if s.ship == nil {
		return 0
	}
	s.ship.mu.Lock()
	defer s.ship.mu.Unlock()
	return s.ship.octets
}
