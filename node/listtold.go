package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"postern/cluster"
	"postern/node/bounce"
	"postern/node/submission"
	"postern/node/trouble"
	"postern/tenant"
)

// maxListPending bounds notices that were taken and not told.
const maxListPending = 256

// listTold tells the state of signed notices of lists' operators.
type listTold struct {
	name    string
	cluster *cluster.Cluster
	hashes  *bounce.Signer // alike on all nodes
	log     *slog.Logger
	failed  *trouble.Log[string] // by node: this one

	mu      sync.Mutex // guards what follows
	notices []tenant.ListNotice
	told    retold[tenant.ListTold]
}

func newListTold(name string, c *cluster.Cluster, hashes *bounce.Signer, log *slog.Logger) *listTold {
	return &listTold{name: name, cluster: c, hashes: hashes, log: log,
		failed: trouble.New[string](log, slog.LevelError, "notices of lists' operators not told, trying again", "node")}
}

// notice takes one. Whose message it returns counts by our signature in it alone;
// the sources are those that it names, for a reader.
func (l *listTold) notice(st *tenant.State, x submission.IntakeReport, account tenant.AccountID) {
	n := tenant.ListNotice{Zone: x.Zone, At: x.At}
	if account != 0 {
		n.Account = account
		n.Ref = l.hashes.Number(x.Transaction[:], []byte(messageOf(x)), []byte{byte(tenant.EchoList)}, binary.AppendUvarint(nil, uint64(account)))
	}
	for _, a := range x.Clues.Sources {
		if src := st.SourceByAddr(a); src != nil && len(n.Sources) < tenant.MaxListSources {
			n.Sources = append(n.Sources, src.ID)
		}
	}
	slices.Sort(n.Sources)
	n.Sources = slices.Compact(n.Sources)
	if n.Account == 0 && len(n.Sources) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.notices) >= maxListPending {
		l.log.Warn("a signed notice of a list's operator is not counted: too many at once", "zone", n.Zone)
		return
	}
	l.notices = append(l.notices, n)
}

// Run tells until ctx ends, once a second at most.
func (l *listTold) Run(ctx context.Context) error {
	onBeat(ctx, time.Second, l.failed, l.name, func(ctx context.Context) error { return l.tell(ctx, l.cluster.State()) })
	return nil
}

func (l *listTold) tell(ctx context.Context, st *tenant.State) error {
	op, id := l.batch(st, time.Now())
	if op == nil {
		return nil
	}
	if err := l.told.tell(ctx, l.cluster, &l.mu, op, id); err != nil {
		return fmt.Errorf("tell notices of lists' operators: %w", err)
	}
	return nil
}

// batch is what to tell now, or nil. What waits for programs that do not know it
// stays, as far as there is room.
func (l *listTold) batch(st *tenant.State, now time.Time) (*tenant.ListTold, tenant.RequestID) {
	me := st.NodeByName(l.name)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told.op == nil && me != nil && len(l.notices) > 0 && st.Knows(tenant.ListTold{}) {
		n := min(len(l.notices), tenant.MaxListNotices)
		l.told.begin(&tenant.ListTold{Node: me.ID, Notices: slices.Clone(l.notices[:n])}, now)
		l.notices = slices.Delete(l.notices, 0, n)
	}
	return l.told.op, l.told.id
}
