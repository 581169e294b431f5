package node

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"postern/cluster"
	"postern/node/delivery"
	"postern/node/trouble"
	"postern/tenant"
)

// sentAs gathers as which domains accounts send, and tells the state of those it
// does not know: a domain that is listed speaks against who sent as it.
type sentAs struct {
	name    string
	cluster *cluster.Cluster
	failed  *trouble.Log[string] // by node: this one

	mu    sync.Mutex // guards what follows
	fresh map[senderKey]time.Time
	told  retold[tenant.SentAs]
}

type senderKey struct {
	account tenant.AccountID
	domain  string
}

func newSentAs(name string, c *cluster.Cluster, log *slog.Logger) *sentAs {
	return &sentAs{name: name, cluster: c, fresh: map[senderKey]time.Time{},
		failed: trouble.New[string](log, slog.LevelError, "as which domains accounts send is not told, trying again", "node")}
}

// settled is told of every attempt once it is durable.
func (w *sentAs) settled(e delivery.Event) { w.count(w.cluster.State(), e) }

func (w *sentAs) count(st *tenant.State, e delivery.Event) {
	_, domain, ok := strings.Cut(e.Item.Envelope.From, "@")
	if !ok || st.Contain() == nil || !st.Knows(tenant.SentAs{}) {
		return // nobody to blame, or nobody asks
	}
	x := tenant.Sender{Account: e.Item.Lane.Account, Domain: strings.ToLower(domain), At: e.Attempt.At}
	if !st.LacksSender(x) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// What does not fit is lacking still when the next message leaves.
	if key := (senderKey{x.Account, x.Domain}); len(w.fresh) < maxPending {
		w.fresh[key] = x.At
	}
}

// Run tells until ctx ends.
func (w *sentAs) Run(ctx context.Context) error {
	onBeat(ctx, time.Second, w.failed, w.name, func(ctx context.Context) error { return w.tell(ctx, w.cluster.State()) })
	return nil
}

// tell proposes what the state lacks.
func (w *sentAs) tell(ctx context.Context, st *tenant.State) error {
	op, id := w.batch(st, time.Now())
	if op == nil {
		return nil
	}
	if err := w.told.tell(ctx, w.cluster, &w.mu, op, id); err != nil {
		return fmt.Errorf("tell as which domains accounts send: %w", err)
	}
	return nil
}

// batch is what to tell now, or nil.
func (w *sentAs) batch(st *tenant.State, now time.Time) (*tenant.SentAs, tenant.RequestID) {
	me := st.NodeByName(w.name)
	w.mu.Lock()
	defer w.mu.Unlock()
	if me == nil || st.Contain() == nil {
		clear(w.fresh)
		return nil, w.told.id
	}
	if w.told.op != nil {
		return w.told.op, w.told.id
	}
	if len(w.fresh) == 0 || now.Sub(w.told.last) < usesEvery {
		return nil, w.told.id
	}
	op := &tenant.SentAs{Node: me.ID}
	for k, at := range w.fresh {
		if len(op.Sent) == tenant.MaxSentAs {
			break
		}
		if x := (tenant.Sender{Account: k.account, Domain: k.domain, At: at}); st.LacksSender(x) {
			op.Sent = append(op.Sent, x)
		}
		delete(w.fresh, k)
	}
	if len(op.Sent) == 0 {
		return nil, w.told.id
	}
	w.told.begin(op, now)
	return op, w.told.id
}
