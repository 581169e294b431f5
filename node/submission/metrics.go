package submission

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of submission. Labels: tenant is a name out of the replicated state
// (or "" before anyone is known), reason one of the reasons of replies.go.
type metrics struct {
	accepted *prometheus.CounterVec
	messages *prometheus.CounterVec
	refused  *prometheus.CounterVec
	passed   *prometheus.CounterVec
	lost     *prometheus.CounterVec
	failures prometheus.Counter
	gate     *prometheus.CounterVec
	conns    prometheus.Gauge
	seconds  prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		accepted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_accepted_total", Help: "Recipients of accepted messages."}, []string{"tenant"}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_accepted_messages_total", Help: "Accepted messages."}, []string{"tenant"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_refused_total", Help: "Refused commands and messages."}, []string{"tenant", "reason"}),
		passed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_passed_messages_total", Help: "Messages of this node's clients that their owner accepted."}, []string{"tenant"}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_lost_answers_total", Help: "Messages whose owner did not answer, by what it said when asked again."}, []string{"found"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postern_auth_failures_total", Help: "Logins with wrong credentials."}),
		gate: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postern_password_checks_total", Help: "Checks of imported passwords: computed, remembered, or refused because too many waited."}, []string{"result"}),
		conns: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postern_submission_connections", Help: "Open submission connections."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "postern_submission_seconds", Help: "From a message's final dot to its 250.",
			Buckets:                        []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25},
			NativeHistogramBucketFactor:    1.1,
			NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour}),
	}
	for _, c := range []prometheus.Collector{m.accepted, m.messages, m.refused, m.passed, m.lost, m.failures, m.gate, m.conns, m.seconds} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}
