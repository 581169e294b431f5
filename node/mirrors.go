package node

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"postern/node/trouble"
	"postern/tenant"
)

const (
	mirrorsEvery = 500 * time.Millisecond
	// brokenFor is how long a holder may be out of reach, or silent, before a
	// stand-in is named.
	brokenFor = 1500 * time.Millisecond
	// namedFor is how long a new holder has to connect and take the log before it
	// is judged: changes of holder must not chase each other.
	namedFor = 4 * time.Second
	// settledFor is how long a better holder must have been usable before the
	// copy goes back to it.
	settledFor = 10 * time.Second
)

// mirrors keeps a second copy of every tenant this node owns: it names a
// stand-in when the holder cannot be reached, goes back to the prepared node,
// and closes older generations once the newest copy is complete.
type mirrors struct {
	owned  *owned
	better map[tenant.ID]candidate // since when another holder would be better
	named  map[tenant.ID]naming    // when the present holder was named
	failed *trouble.Log[string]    // by node: this one
}

func newMirrors(o *owned) *mirrors {
	return &mirrors{owned: o, better: map[tenant.ID]candidate{}, named: map[tenant.ID]naming{},
		failed: trouble.New[string](o.log, slog.LevelError, "mirrors not set, trying again", "node")}
}

type naming struct {
	epoch uint64
	at    time.Time
}

type candidate struct {
	node  tenant.NodeID
	since time.Time
}

// Run watches until ctx ends.
func (m *mirrors) Run(ctx context.Context) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		st := m.owned.cluster.State()
		changed, watch := m.owned.queue.MirrorsChanged(), m.owned.cluster.Watch(st.Index())
		if err := m.step(ctx, st); err == nil {
			m.failed.Well(m.owned.name)
		} else if ctx.Err() == nil {
			m.failed.Bad(m.owned.name, "err", err)
			changed, watch = nil, nil
		}
		tick.Reset(untilBeat(mirrorsEvery))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-changed:
		case <-watch:
		}
	}
}

func (m *mirrors) step(ctx context.Context, st *tenant.State) error {
	o := m.owned
	me := st.NodeByName(o.name)
	if me == nil {
		return nil
	}
	stands := o.queue.Mirrors()
	usable, reachable := o.usable(st), o.reachable(st)
	now := time.Now()
	var set, done []tenant.MirrorChange
	for id, epoch := range o.snapshot() {
		t := st.Tenant(id)
		stand, ok := stands[id]
		if t == nil || t.Owner != me.ID || t.Epoch != epoch || !ok {
			continue
		}
		if t.Generation > stand.Generation && (t.Mirror() != 0 || alone(st)) {
			if err := o.follow(st, id); err != nil {
				return err
			}
			continue
		}
		if m.named[id].epoch != epoch {
			m.named[id] = naming{epoch, now}
		}
		broken := stand.Broken > brokenFor || stand.Behind > 2*brokenFor
		if now.Sub(m.named[id].at) < namedFor && usable(t.Mirror()) {
			broken = false
		}
		want := m.want(st, t, usable, reachable, now, broken, stand.Synced)
		change := tenant.MirrorChange{Tenant: id, Epoch: epoch, Generation: t.Generation}
		switch {
		case want != t.Mirror():
			change.Node, change.First = want, o.queue.NextFirst(id)
			set = append(set, change)
			m.named[id] = naming{epoch, now}
		case stand.Synced && stand.Generation == t.Generation && len(t.Copies) > 1 && o.complete(id):
			done = append(done, change)
		}
	}
	if len(set) > 0 {
		if _, _, err := o.cluster.Propose(ctx, tenant.RequestID{}, tenant.SetMirrors{Changes: set}); err != nil {
			return fmt.Errorf("name holders of copies: %w", err)
		}
	}
	if len(done) > 0 {
		if _, _, err := o.cluster.Propose(ctx, tenant.RequestID{}, tenant.CloseMirrors{Changes: done}); err != nil {
			return fmt.Errorf("close complete copies: %w", err)
		}
	}
	return nil
}

// want is the node that should hold the copy. The present holder stays unless
// it is broken, or a better one has been usable for a while and nothing is
// being copied.
func (m *mirrors) want(st *tenant.State, t *tenant.Tenant, usable, reachable func(tenant.NodeID) bool, now time.Time, broken, synced bool) tenant.NodeID {
	cur := t.Mirror()
	best := tenant.MirrorFor(st, t, func(id tenant.NodeID) bool { return usable(id) && !(broken && id == cur) })
	if t.To != 0 && reachable(t.To) && !(broken && t.To == cur) {
		best = t.To // the tenant is being handed over to it
	}
	switch {
	case best == 0, best == cur:
		delete(m.better, t.ID)
		return cur
	case cur == 0, broken, !usable(cur):
		delete(m.better, t.ID)
		return best
	case !synced || len(t.Copies) > 1:
		return cur
	case best == t.To:
		return best
	}
	if c := m.better[t.ID]; c.node != best {
		m.better[t.ID] = candidate{best, now}
		return cur
	} else if now.Sub(c.since) < settledFor {
		return cur
	}
	delete(m.better, t.ID)
	return best
}

// follow makes the store send the tenant's log where the state says.
func (o *owned) follow(st *tenant.State, id tenant.ID) error {
	t := st.Tenant(id)
	if t == nil {
		return nil
	}
	name := ""
	if holder := t.Mirror(); holder != 0 {
		name = nodeName(st, holder)
	} else if !alone(st) {
		return nil // nobody can be reached: nothing is accepted with one copy
	}
	if err := o.queue.Mirror(id, t.Epoch, t.Generation, name, t.Ends); err != nil {
		return fmt.Errorf("mirror tenant %s to %q: %w", t.Name, name, err)
	}
	return nil
}

// alone says whether the cluster has one node, which keeps one copy.
func alone(st *tenant.State) bool {
	n := 0
	for range st.Nodes() {
		n++
	}
	return n == 1
}
