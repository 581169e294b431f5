package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"postern/cluster"
	"postern/node/bounce"
	"postern/node/delivery"
	"postern/node/queue"
	"postern/node/submission"
	"postern/node/trouble"
	"postern/tenant"
)

// maxEchoesPending bounds what was heard and not told.
const maxEchoesPending = 4096

// heard gathers what comes back about accounts, and what else speaks for or
// against them, and tells the state.
type heard struct {
	name    string
	cluster *cluster.Cluster
	hashes  *bounce.Signer // alike on all nodes
	log     *slog.Logger
	failed  *trouble.Log[string] // by node: this one

	mu     sync.Mutex // guards what follows
	echoes map[echoKey]time.Time
	fed    map[tenant.AccountID]uint64
	lost   int // echoes that were not kept: too many at once
	told   retold[tenant.Heard]
}

type echoKey struct {
	account tenant.AccountID
	kind    tenant.EchoKind
	ref     uint64
}

func newHeard(name string, c *cluster.Cluster, hashes *bounce.Signer, log *slog.Logger) *heard {
	return &heard{name: name, cluster: c, hashes: hashes, log: log, failed: trouble.New[string](log, slog.LevelError, "what was heard is not told, trying again", "node"),
		echoes: map[echoKey]time.Time{}, fed: map[tenant.AccountID]uint64{}}
}

func (h *heard) note(a tenant.AccountID, kind tenant.EchoKind, at time.Time, parts ...[]byte) {
	key := echoKey{a, kind, h.hashes.Number(append(parts, []byte{byte(kind)}, binary.AppendUvarint(nil, uint64(a)))...)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.echoes[key]; known {
		return
	}
	if len(h.echoes) >= maxEchoesPending {
		h.lost++
		return
	}
	h.echoes[key] = at
}

// report takes what the intake heard about a message. One message counts once
// for each kind, or once for each of its recipients whom the signed return path
// names: everything else in a report is the claim of whoever wrote it.
func (h *heard) report(a tenant.AccountID, kind tenant.EchoKind, x submission.IntakeReport) {
	ref := [][]byte{x.Transaction[:]}
	if x.Transaction == ([16]byte{}) {
		ref[0] = []byte(messageOf(x))
	}
	if x.Rcpt >= 0 {
		ref = append(ref, binary.AppendUvarint(nil, uint64(x.Rcpt)))
	}
	h.note(a, kind, x.At, ref...)
}

// loggedIn is told of every login, by whichever node it came in.
func (h *heard) loggedIn(a tenant.AccountID, client netip.Addr) {
	client = client.Unmap()
	bits := 24
	if client.Is6() {
		bits = 48
	}
	if p, err := client.Prefix(bits); err == nil {
		h.note(a, tenant.EchoLogin, time.Now(), p.Addr().AsSlice())
	}
}

// settled is told of every attempt once it is durable.
func (h *heard) settled(e delivery.Event) {
	if !bounce.Complains(bounce.ProviderOf(e.Attempt.Host)) {
		return
	}
	n := uint64(0)
	for _, o := range e.Outcomes {
		if o.Result == queue.Delivered {
			n++
		}
	}
	if n == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.fed[e.Item.Lane.Account]; known || len(h.fed) < maxPending {
		h.fed[e.Item.Lane.Account] += n
	}
}

// Run tells until ctx ends.
func (h *heard) Run(ctx context.Context) error {
	onBeat(ctx, time.Second, h.failed, h.name, func(ctx context.Context) error { return h.tell(ctx, h.cluster.State()) })
	return nil
}

// tell proposes what was heard.
func (h *heard) tell(ctx context.Context, st *tenant.State) error {
	op, id := h.batch(st, time.Now())
	if op == nil {
		return nil
	}
	if err := h.told.tell(ctx, h.cluster, &h.mu, op, id); err != nil {
		return fmt.Errorf("tell what was heard: %w", err)
	}
	return nil
}

// batch is what to tell now, or nil. What the state has already, or would not
// keep, is not told: a flood costs the log no more than a trickle.
func (h *heard) batch(st *tenant.State, now time.Time) (*tenant.Heard, tenant.RequestID) {
	me := st.NodeByName(h.name)
	h.mu.Lock()
	defer h.mu.Unlock()
	if me == nil || st.Contain() == nil || !st.Knows(tenant.Heard{}) {
		clear(h.echoes) // nobody asks
		clear(h.fed)
		return nil, h.told.id
	}
	if h.told.op != nil {
		return h.told.op, h.told.id
	}
	if len(h.echoes)+len(h.fed) == 0 || now.Sub(h.told.last) < usesEvery {
		return nil, h.told.id
	}
	if h.lost > 0 {
		h.log.Warn("reports about accounts were not counted: too many at once", "count", h.lost)
		h.lost = 0
	}
	op := &tenant.Heard{Node: me.ID}
	for k, at := range h.echoes {
		if len(op.Echoes) == tenant.MaxHeard {
			break
		}
		if m := (tenant.Echo{Account: k.account, Kind: k.kind, Ref: k.ref, At: at}); st.Lacks(m) {
			op.Echoes = append(op.Echoes, m)
		}
		delete(h.echoes, k)
	}
	for a, n := range h.fed {
		if len(op.Fed) == tenant.MaxHeard {
			break
		}
		op.Fed = append(op.Fed, tenant.Fed{Account: a, At: now, Delivered: n})
		delete(h.fed, a)
	}
	if len(op.Echoes)+len(op.Fed) == 0 {
		return nil, h.told.id
	}
	h.told.begin(op, now)
	return op, h.told.id
}
