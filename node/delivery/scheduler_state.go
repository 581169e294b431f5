package delivery

import (
	"slices"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// standing is what the replicated state says of an account's mail here.
type standing struct {
	epoch   uint64
	sources []*tenant.Source
	why     string // why nothing may be attempted, or ""
	removed bool   // the account is: its mail waits for its end
}

func (a standing) equal(b standing) bool {
	return a.epoch == b.epoch && a.why == b.why && slices.EqualFunc(a.sources, b.sources, func(x, y *tenant.Source) bool { return *x == *y })
}

// view is what the scheduler last saw of the state.
type view struct {
	index     uint64
	node      tenant.NodeID
	standings map[queue.Lane]standing // by tenant, account and class; domain empty
	routes    []tenant.Route
}

func newView() view { return view{standings: map[queue.Lane]standing{}} }

// of gives a lane's standing as last seen, or looks for the first time.
func (v *view) of(st *tenant.State, node tenant.NodeID, key queue.Lane) standing {
	key.Domain = ""
	if a, ok := v.standings[key]; ok {
		return a
	}
	a := standingIn(st, node, key)
	v.standings[key] = a
	return a
}

// standingIn reads the standing of an account's mail of a class from the state.
func standingIn(st *tenant.State, node tenant.NodeID, key queue.Lane) standing {
	t, a := key.Tenant, key.Account
	owner := st.Tenant(t)
	switch {
	case owner == nil:
		return standing{why: "no such tenant"}
	case owner.Owner != node:
		return standing{epoch: owner.Epoch, why: "owned elsewhere"}
	}
	stand := standing{epoch: owner.Epoch}
	if why := st.Stopped(a); why != "" {
		stand.why, stand.removed = why, st.Account(a) == nil
		return stand
	}
	place := owner.Home
	if place.Node != node {
		place = owner.Backup
	}
	if place.Node == node {
		for _, src := range st.Prefer(st.SourcesFor(t, place), key.Class) {
			if src.Node == node {
				stand.sources = append(stand.sources, src)
			}
		}
	}
	if len(stand.sources) == 0 {
		stand.why = "no source here that is not listed"
	}
	return stand
}

// reconsider acts on a new state: lanes whose account may no longer be
// attempted stop and give their items back, others go on.
func (s *scheduler) reconsider() {
	now := time.Now()
	st := s.cfg.State()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock.now(st, now)
	node := s.cfg.Node()
	if st.Index() == s.view.index && node == s.view.node {
		return
	}
	s.view.index, s.view.node = st.Index(), node
	changed := map[queue.Lane]bool{}
	for key, was := range s.view.standings {
		is := standingIn(st, s.cfg.Node(), key)
		if !is.equal(was) {
			s.view.standings[key] = is
			changed[key] = true
		}
	}
	routes := s.routesChanged(st)
	if len(changed) == 0 && !routes {
		return
	}
	for _, l := range s.lanes {
		short := queue.Lane{Tenant: l.key.Tenant, Account: l.key.Account, Class: l.key.Class}
		if !routes && !changed[short] {
			continue
		}
		if l.loading {
			l.recall = true
			continue
		}
		s.empty(l)
		l.more = true
		s.admit(l, now)
	}
}

// routesChanged notes the static routes and says whether they differ.
func (s *scheduler) routesChanged(st *tenant.State) bool {
	var routes []tenant.Route
	for r := range st.Routes() {
		routes = append(routes, *r)
	}
	if slices.Equal(routes, s.view.routes) {
		return false
	}
	s.view.routes = routes
	clear(s.routes)
	return true
}

// mayAttempt reads, right before the final dot, whether the item may still go
// out under the standing it was chosen by.
func (s *scheduler) mayAttempt(it *queue.Item, stand standing, source tenant.SourceID) bool {
	st := s.cfg.State()
	t := st.Tenant(it.ID.Tenant)
	if t == nil || t.Owner != s.cfg.Node() || t.Epoch != stand.epoch || st.Stopped(it.Lane.Account) != "" {
		return false
	}
	src := st.Source(source)
	return src != nil && src.Node == s.cfg.Node() && !st.Barred(source, t.ID)
}
