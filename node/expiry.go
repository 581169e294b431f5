package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/admin"
	"postern/node/queue"
	"postern/node/trouble"
	"postern/tenant"
)

const (
	// expiryEvery is how often it is looked whether something is due: after an
	// hour, or when somebody set for how long things are kept.
	expiryEvery = 10 * time.Second
	expiryRest  = time.Hour
)

// expiry removes from this node's files what is kept no longer, and shows how
// old the oldest of each class is; the queue's rows expire in the queue.
type expiry struct {
	name    string
	state   func() *tenant.State
	queue   interface{ Oldest() queue.Oldest }
	kept    *keptReports
	archive *archive
	failed  *trouble.Log[string]

	done time.Time // Run's alone
	by   tenant.Retention

	oldest, keep, erasure *prometheus.Desc
}

func newExpiry(name string, state func() *tenant.State, q interface{ Oldest() queue.Oldest }, kept *keptReports, a *archive,
	reg prometheus.Registerer, log *slog.Logger) (*expiry, error) {
	x := &expiry{name: name, state: state, queue: q, kept: kept, archive: a,
		failed: trouble.New[string](log, slog.LevelError, "what is kept too long was not removed, trying again", "node"),
		oldest: prometheus.NewDesc("postern_kept_oldest_timestamp_seconds",
			"When the oldest of a class of personal data on this node came, as the last clean-up left it; absent: there is none.", []string{"class"}, nil),
		keep: prometheus.NewDesc("postern_kept_seconds", "For how long a class of personal data is kept; absent: for ever.", []string{"class"}, nil),
		erasure: prometheus.NewDesc("postern_erasure_waiting_seconds",
			"How long ago the oldest erasing of a tenant began that not all nodes are done with; 0: there is none.", nil, nil),
	}
	if err := reg.Register(x); err != nil {
		return nil, fmt.Errorf("register metrics of retention: %w", err)
	}
	return x, nil
}

// Run removes until ctx ends.
func (x *expiry) Run(ctx context.Context) error {
	onBeat(ctx, expiryEvery, x.failed, x.name, func(context.Context) error { return x.step(time.Now()) })
	return nil
}

func (x *expiry) step(now time.Time) error {
	r := x.state().Retention()
	if r == x.by && now.Sub(x.done) < expiryRest && !x.archive.Oldest().IsZero() {
		return nil
	}
	err := x.kept.tidy(now.Add(-tenant.Days(r.Reports)))
	var journal time.Time // before all: it only looks how old the oldest is
	if r.Journal > 0 {
		journal = now.Add(-tenant.Days(r.Journal))
	}
	err = errors.Join(err, x.archive.tidy(journal))
	if err == nil {
		x.done, x.by = now, r
	}
	return err
}

// Oldest tells of each class how old the oldest on this node is.
func (x *expiry) Oldest() map[string]time.Time {
	q, all := x.queue.Oldest(), map[string]time.Time{}
	for class, at := range map[string]time.Time{"recipients": q.Recipients, "dialogues": q.Dialogues, "reports": x.kept.Oldest(), "journal": x.archive.Oldest()} {
		if !at.IsZero() {
			all[class] = at
		}
	}
	return all
}

// Describe implements prometheus.Collector.
func (x *expiry) Describe(ch chan<- *prometheus.Desc) {
	ch <- x.oldest
	ch <- x.keep
	ch <- x.erasure
}

// Collect implements prometheus.Collector.
func (x *expiry) Collect(ch chan<- prometheus.Metric) {
	for class, at := range x.Oldest() {
		ch <- prometheus.MustNewConstMetric(x.oldest, prometheus.GaugeValue, float64(at.Unix()), class)
	}
	st := x.state()
	var began time.Time
	for e := range st.Erasures() {
		if e.Done.IsZero() && (began.IsZero() || e.At.Before(began)) {
			began = e.At
		}
	}
	waiting := 0.
	if !began.IsZero() {
		waiting = max(time.Since(began).Seconds(), 0)
	}
	ch <- prometheus.MustNewConstMetric(x.erasure, prometheus.GaugeValue, waiting)
	r := st.Retention()
	for _, c := range tenant.RetentionClasses() {
		if n := *r.Class(c.Name); n > 0 {
			ch <- prometheus.MustNewConstMetric(x.keep, prometheus.GaugeValue, tenant.Days(n).Seconds(), c.Name)
		}
	}
}

var _ admin.Kept = (*expiry)(nil)
