package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"postern/cluster"
	"postern/node/queue"
	"postern/node/trouble"
	"postern/tenant"
)

const (
	erasingEvery = 2 * time.Second
	// erasingRest is how long it rests after a failure: each try writes the whole
	// queue anew.
	erasingRest = time.Minute
	// erasingWait bounds one try.
	erasingWait = time.Hour
)

// erasing removes tenants that are to be erased from this node's disk, says so
// when nothing of them is left, and has it done again when an older state brings
// one back.
type erasing struct {
	name    string
	dir     string // the node's
	cluster *cluster.Cluster
	queue   *queue.Store
	kept    *keptReports
	archive *archive
	marks   *marker
	memory  *erasedFile
	log     *slog.Logger
	failed  *trouble.Log[string]

	rest time.Time // not before; Run's alone
}

func newErasing(n *Node, log *slog.Logger) *erasing {
	return &erasing{name: n.cfg.Name, dir: n.cfg.Dir, cluster: n.cluster, queue: n.queue, kept: n.kept, archive: n.archive, marks: n.seal.marks,
		memory: &erasedFile{name: filepath.Join(n.cfg.Dir, "erased")}, log: log,
		failed: trouble.New[string](log, slog.LevelError, "a tenant was not erased from this node, trying again", "node")}
}

// Run erases until ctx ends.
func (e *erasing) Run(ctx context.Context) error {
	onBeat(ctx, erasingEvery, e.failed, e.name, e.step)
	return nil
}

func (e *erasing) step(ctx context.Context) error {
	select {
	case <-e.cluster.Ready():
	default:
		return nil
	}
	if time.Now().Before(e.rest) || time.Now().After(e.cluster.Status().Lease) {
		return nil // a state that is behind may not know what came back
	}
	st := e.cluster.State()
	me := st.NodeByName(e.name)
	if me == nil {
		return nil
	}
	if err := e.remember(ctx, st); err != nil {
		return err
	}
	var due []tenant.ID
	for x := range st.Erasures() {
		for _, n := range x.Left {
			if n == me.ID {
				due = append(due, x.Tenant)
			}
		}
	}
	if len(due) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, erasingWait)
	defer cancel()
	began := time.Now()
	err := e.erase(ctx, st, due)
	if errors.Is(err, queue.ErrBusy) {
		return nil // in a moment
	}
	if err != nil {
		e.rest = time.Now().Add(erasingRest)
		return err
	}
	if _, _, err := e.cluster.Propose(ctx, tenant.RequestID{}, tenant.Erased{Node: me.ID, Tenants: due}); err != nil {
		return fmt.Errorf("tell that tenants are erased: %w", err)
	}
	for _, id := range due {
		e.log.Info("tenant erased from this node", "tenant", id, "took", time.Since(began).Round(time.Millisecond))
	}
	return nil
}

// remember notes which tenants were erased, and has those erased again that an
// older state has: a backup was restored.
func (e *erasing) remember(ctx context.Context, st *tenant.State) error {
	var marks []string
	for x := range st.Erasures() {
		marks = append(marks, e.mark(x.Tenant, x.Name))
	}
	if err := e.memory.add(marks); err != nil {
		return fmt.Errorf("note what was erased: %w", err)
	}
	for t := range st.Tenants() {
		if !e.memory.has(e.mark(t.ID, t.Name)) {
			continue
		}
		e.log.Warn("a tenant that was erased came back with an older state: it is erased again", "tenant", t.Name)
		_, _, err := e.cluster.Propose(ctx, tenant.RequestID{}, tenant.EraseTenant{Tenant: t.ID})
		if refused := (*tenant.Refused)(nil); err != nil && !errors.As(err, &refused) { // another node was first
			return fmt.Errorf("erase tenant again: %w", err)
		}
	}
	return nil
}

// mark is how the file knows a tenant: by a key of this cluster, so that no
// other cluster's tenant is ever meant. Numbers are never given twice.
func (e *erasing) mark(id tenant.ID, name string) string {
	m := e.marks.Mark(tenant.MarkAddress, "erased "+strconv.FormatUint(uint64(id), 10)+" "+name) // no address, so no ban's mark
	return fmt.Sprintf("%x", m.Hash[:16])
}

// erase is done all over when it was interrupted: each part finds nothing where
// it was done.
func (e *erasing) erase(ctx context.Context, st *tenant.State, due []tenant.ID) error {
	for _, id := range due {
		if err := e.queue.EraseForGood(id); err != nil {
			return err
		}
		traces := st.TracesOf(id)
		if traces == nil {
			continue
		}
		if err := e.kept.erase(traces.In); err != nil {
			return err
		}
		if err := e.archive.erase(st, traces.Speaks); err != nil {
			return err
		}
	}
	if err := e.queue.Scrub(ctx); err != nil {
		return err
	}
	if err := e.cluster.Scrub(ctx, st.Index()); err != nil {
		return err
	}
	return e.removeAside()
}

// removeAside removes states that were set aside when the node joined or was
// restored: the tenant is in them.
func (e *erasing) removeAside() error {
	dirs, err := os.ReadDir(e.dir)
	if err != nil {
		return fmt.Errorf("look for states set aside: %w", err)
	}
	for _, d := range dirs {
		if ok, _ := filepath.Match("raft.old-*", d.Name()); !ok || !d.IsDir() {
			continue
		}
		if err := os.RemoveAll(filepath.Join(e.dir, d.Name())); err != nil {
			return fmt.Errorf("remove state set aside: %w", err)
		}
		e.log.Warn("a state that was set aside is removed, because a tenant in it is erased", "dir", d.Name())
	}
	return nil
}
