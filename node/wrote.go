package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"postern/cluster"
	"postern/node/bounce"
	"postern/node/delivery"
	"postern/node/trouble"
	"postern/tenant"
)

// wrote gathers whom accounts write to, as keyed hashes, and tells the state of
// those it does not know: who writes to strangers all of a sudden is suspicious.
type wrote struct {
	name    string
	cluster *cluster.Cluster
	hashes  *bounce.Signer // alike on all nodes
	log     *slog.Logger
	failed  *trouble.Log[string] // by node: this one

	mu      sync.Mutex // guards what follows
	written map[tenant.AccountID]uint64
	fresh   map[recipientKey]time.Time
	lost    int // recipients that were not counted: too many at once
	told    retold[tenant.Wrote]
}

type recipientKey struct {
	account tenant.AccountID
	ref     uint32
}

func newWrote(name string, c *cluster.Cluster, hashes *bounce.Signer, log *slog.Logger) *wrote {
	return &wrote{name: name, cluster: c, hashes: hashes, log: log, failed: trouble.New[string](log, slog.LevelError, "whom accounts wrote to is not told, trying again", "node"),
		written: map[tenant.AccountID]uint64{}, fresh: map[recipientKey]time.Time{}}
}

// settled is told of every attempt once it is durable. A message's first attempt
// counts; what we write ourselves has no sender, and no account to blame.
func (w *wrote) settled(e delivery.Event) { w.count(w.cluster.State(), e) }

func (w *wrote) count(st *tenant.State, e delivery.Event) {
	if e.Attempt.N != 1 || e.Item.Envelope.From == "" {
		return
	}
	a, at := e.Item.Lane.Account, e.Attempt.At
	if st.Contain() == nil || !st.Knows(tenant.Wrote{}) {
		return // nobody asks
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.written[a]; !known && len(w.written) >= maxPending {
		w.lost += len(e.Outcomes)
		return
	}
	w.written[a] += uint64(len(e.Outcomes))
	for _, o := range e.Outcomes {
		key := recipientKey{a, w.ref(a, e.Item.Envelope.Rcpts[o.Rcpt].Addr)}
		if _, known := w.fresh[key]; known || !st.LacksRecipient(tenant.Recipient{Account: a, Ref: key.ref, At: at}) {
			continue
		}
		if len(w.fresh) >= maxPending {
			w.lost++
			continue
		}
		w.fresh[key] = at
	}
}

// ref is alike on all nodes for one account and address, and tells who has no key
// nothing about either.
func (w *wrote) ref(a tenant.AccountID, addr string) uint32 {
	return uint32(w.hashes.Number([]byte("recipient"), binary.AppendUvarint(nil, uint64(a)), []byte(strings.ToLower(addr))))
}

// Run tells until ctx ends.
func (w *wrote) Run(ctx context.Context) error {
	onBeat(ctx, time.Second, w.failed, w.name, func(ctx context.Context) error { return w.tell(ctx, w.cluster.State()) })
	return nil
}

// tell proposes what was written.
func (w *wrote) tell(ctx context.Context, st *tenant.State) error {
	op, id := w.batch(st, time.Now())
	if op == nil {
		return nil
	}
	if err := w.told.tell(ctx, w.cluster, &w.mu, op, id); err != nil {
		return fmt.Errorf("tell whom accounts wrote to: %w", err)
	}
	return nil
}

// batch is what to tell now, or nil. A flood of strangers makes the state keep
// fewer of them, so most of what waits here is never told.
func (w *wrote) batch(st *tenant.State, now time.Time) (*tenant.Wrote, tenant.RequestID) {
	me := st.NodeByName(w.name)
	w.mu.Lock()
	defer w.mu.Unlock()
	if me == nil || st.Contain() == nil {
		clear(w.written)
		clear(w.fresh)
		return nil, w.told.id
	}
	if w.told.op != nil {
		return w.told.op, w.told.id
	}
	if len(w.written)+len(w.fresh) == 0 || now.Sub(w.told.last) < usesEvery {
		return nil, w.told.id
	}
	if w.lost > 0 {
		w.log.Warn("recipients were not counted: too many at once", "count", w.lost)
		w.lost = 0
	}
	op := &tenant.Wrote{Node: me.ID}
	for a, n := range w.written {
		if len(op.Written) == tenant.MaxWrote {
			break
		}
		op.Written = append(op.Written, tenant.Written{Account: a, At: now, Recipients: n})
		delete(w.written, a)
	}
	for k, at := range w.fresh {
		if len(op.Recipients) == tenant.MaxWrote {
			break
		}
		if m := (tenant.Recipient{Account: k.account, Ref: k.ref, At: at}); st.LacksRecipient(m) {
			op.Recipients = append(op.Recipients, m)
		}
		delete(w.fresh, k)
	}
	if len(op.Written)+len(op.Recipients) == 0 {
		return nil, w.told.id
	}
	w.told.begin(op, now)
	return op, w.told.id
}
