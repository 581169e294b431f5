package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/queue"
	"postern/node/trouble"
	"postern/tenant"
)

// agesEvery is how often the oldest messages are looked for.
const agesEvery = 15 * time.Second

// kept is what ages needs of the queue.
type kept interface {
	Count() map[tenant.ID]queue.Counts
	List(queue.Filter) ([]queue.Summary, error)
	Show(queue.ID) (queue.Summary, error)
}

// ages shows how old each tenant's oldest message is. Finding it may read past
// what ended before it, so that is done here and not when somebody asks; the one
// that was the oldest usually still is, and then it costs one read.
type ages struct {
	state  func() *tenant.State
	queue  kept
	failed *trouble.Log[tenant.ID]
	oldest *prometheus.GaugeVec
	known  map[tenant.ID]queue.ID // Run's alone
	shown  map[tenant.ID]string   // the name it is shown under
}

func newAges(state func() *tenant.State, q kept, reg prometheus.Registerer, log *slog.Logger) (*ages, error) {
	a := &ages{state: state, queue: q, known: map[tenant.ID]queue.ID{}, shown: map[tenant.ID]string{},
		failed: trouble.New[tenant.ID](log, slog.LevelWarn, "oldest message not found, trying again", "tenant"),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "postern_queue_oldest_timestamp_seconds",
			Help: "When the oldest message that a tenant's owner keeps was accepted; absent: there is none."}, []string{"tenant"})}
	if err := reg.Register(a.oldest); err != nil {
		return nil, fmt.Errorf("register metrics of ages: %w", err)
	}
	return a, nil
}

// Run looks until ctx ends.
func (a *ages) Run(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		a.look(ctx)
		pause.Reset(untilBeat(agesEvery))
	}
}

func (a *ages) look(ctx context.Context) {
	st, counts := a.state(), a.queue.Count()
	for t, name := range a.shown {
		if x := st.Tenant(t); x == nil || x.Name != name || counts[t].Messages == 0 {
			a.forget(t)
		}
	}
	for t, n := range counts {
		x := st.Tenant(t)
		if x == nil || n.Messages == 0 {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		m, err := a.find(t)
		switch {
		case errors.Is(err, queue.ErrNotFound):
			a.forget(t) // all ended meanwhile
		case err != nil:
			a.failed.Bad(t, "err", err)
		default:
			a.failed.Well(t)
			a.known[t], a.shown[t] = m.ID, x.Name
			a.oldest.WithLabelValues(x.Name).Set(float64(m.Envelope.Arrived.UnixMilli()) / 1000)
		}
	}
}

func (a *ages) forget(t tenant.ID) {
	a.oldest.DeleteLabelValues(a.shown[t])
	delete(a.shown, t)
	delete(a.known, t)
}

// find gives the message with a tenant's lowest id: ids grow with time, but for
// what a returning node hands over.
func (a *ages) find(t tenant.ID) (queue.Summary, error) {
	if id, ok := a.known[t]; ok {
		if m, err := a.queue.Show(id); !errors.Is(err, queue.ErrNotFound) {
			return m, err
		}
	}
	all, err := a.queue.List(queue.Filter{Tenant: t, Limit: 1})
	if err == nil && len(all) == 0 {
		err = queue.ErrNotFound
	}
	if err != nil {
		return queue.Summary{}, err
	}
	return all[0], nil
}
