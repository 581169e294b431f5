package node

import (
	"testing"
	"time"

	"postern/tenant"
)

// backlog gives a tenant mail that stays queued until release.
func (s *street) backlog(name string, count int64) {
	s.t.Helper()
	s.propose(0, tenant.Pause{Tenant: s.tenant(name).ID, Reason: "test"})
	s.give("mail@"+name+".test", count)
}

func (s *street) release(by int, names ...string) {
	s.t.Helper()
	for _, name := range names {
		s.propose(by, tenant.Pause{Tenant: s.tenant(name).ID})
	}
}

// from counts the mails that came from each node's source.
func (s *street) from() (n [3]int) {
	from, _ := s.arrived()
	for i := range n {
		n[i] = from[s.source(i).String()]
	}
	return n
}

func (s *street) opened() func() bool {
	src := s.state().SourceByAddr(s.source(0)).ID
	return func() bool { return s.state().OpenCase(src) != nil }
}

// owned waits until a node has taken a tenant over.
func (s *street) owned(name string, by int) {
	s.t.Helper()
	await(s.t, name+" elsewhere", func() bool {
		x := s.nodes[by].cluster.State().TenantByName(name)
		return x != nil && x.Owner == s.nodes[by].id() && s.nodes[by].Node.owned.epoch(x.ID) == x.Epoch
	})
}

// dismissed ends the case, and waits until all are at home with whole copies.
func (s *street) dismissed() {
	s.t.Helper()
	s.propose(0, tenant.EndCase{Case: s.fates().ID, Reason: "the test goes on"})
	s.lists.list([]int{0, 1, 2})
	for name, mirror := range map[string]int{"shoes": 1, "bakery": 1, "clinic": 2} {
		s.settled(s.tenant(name).ID, 0, mirror)
	}
	await(s.t, "the source to be clean", func() bool { x := s.standing(2, s.source(0)); return x.Raised.IsZero() && x.Level == tenant.LevelClear })
}

// A listing when a backup is lost, when the owner is cut off, and when nobody
// has a majority: whoever has a clean place goes there, what has none waits,
// nothing is lost, bounced or doubled, and nothing leaves the listed source.
func TestListingDuringFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("its code is run by TestListingMovesTheOthers, too; it is long by waiting")
	}
	t.Parallel()
	s := newStreet(t)
	defer func() {
		if c := s.fates(); t.Failed() && c != nil {
			t.Logf("the last case: %+v", *c)
		}
	}()
	s.withoutBackup()
	s.dismissed()
	s.cutOff()
	s.dismissed()
	s.withoutQuorum()
}

// withoutBackup: the node that is bakery's backup is gone when the source is
// listed. Bakery waits until it is back; clinic goes.
func (s *street) withoutBackup() {
	t := s.t
	t.Helper()
	s.backlog("bakery", 30)
	s.backlog("clinic", 30)
	sent := s.from()
	s.stop(1)
	await(t, "the loss", func() bool { return !s.state().NodeByName("n2").Down.IsZero() })
	opened := s.opened()
	s.lists.list([]int{0, 2}, s.source(0))
	await(t, "the verdict", opened)
	s.owned("clinic", 2)
	s.release(0, "bakery", "clinic")
	s.delivered(int(s.sent) - 30)
	if x := s.tenant("bakery"); x.Owner != s.nodes[0].id() || s.state().Plight(x.ID).Since.IsZero() {
		t.Errorf("bakery has no backup, and is %+v", x)
	}
	s.start(1)
	s.owned("bakery", 1)
	s.delivered(int(s.sent))
	if now := s.from(); now[0] != sent[0] || now[1] != sent[1]+30 || now[2] != sent[2]+30 {
		t.Errorf("left by %v, before by %v", now, sent)
	}
}

// cutOff: the owner is alone when its source is listed. The others judge and
// take its tenants, which stay there while the listing lasts, however healthy
// their home is again.
func (s *street) cutOff() {
	t := s.t
	t.Helper()
	s.backlog("bakery", 30)
	s.backlog("clinic", 30)
	sent := s.from()
	opened := s.opened()
	s.lines.sever(0, 1)
	s.lines.sever(0, 2)
	s.lists.list([]int{0, 1, 2}, s.source(0))
	await(t, "the verdict", opened)
	s.owned("bakery", 1)
	s.owned("clinic", 2)
	s.release(2, "bakery", "clinic")
	s.delivered(int(s.sent))
	s.lines.mend()
	await(t, "the owner to come back", func() bool { return s.state().NodeByName("n1").Down.IsZero() })
	if all := tenant.Homing(s.state(), time.Now().Add(time.Hour), 0); len(all) > 0 {
		t.Errorf("%+v go home to a listed source", all)
	}
	if now := s.from(); now[0] != sent[0] || now[1] != sent[1]+30 || now[2] != sent[2]+30 {
		t.Errorf("left by %v, before by %v", now, sent)
	}
}

// withoutQuorum: every node is alone when the source is listed. All see it and
// none may act: nothing moves, leaves or is accepted, until two are joined.
func (s *street) withoutQuorum() {
	t := s.t
	t.Helper()
	s.backlog("bakery", 30)
	sent, opened := s.from(), s.opened()
	s.lines.sever(0, 1)
	s.lines.sever(0, 2)
	s.lines.sever(1, 2)
	await(t, "leases to end", func() bool {
		for _, n := range s.nodes {
			if n.cluster.Status().Lease.After(time.Now()) {
				return false
			}
		}
		return true
	})
	s.lists.list([]int{0, 1, 2}, s.source(0))
	before := s.state().Index()
	if n := s.send(0, 1, s.senders["mail@clinic.test"]); n != 0 {
		t.Errorf("%d messages were taken without a majority", n)
	}
	for _, n := range s.nodes { // that took longer than four rounds
		if st := n.cluster.State(); st.OpenCase(st.SourceByAddr(s.source(0)).ID) != nil || st.TenantByName("bakery").Owner != s.nodes[0].id() {
			t.Errorf("%s has decided alone", n.cfg.Name)
		}
	}
	s.lines.mend()
	await(t, "the verdict", opened)
	if s.fates().Entry <= before {
		t.Errorf("the case is of entry %d, and %d was there before", s.fates().Entry, before)
	}
	s.owned("bakery", 1)
	s.release(2, "bakery")
	s.delivered(int(s.sent))
	if now := s.from(); now[0] != sent[0] || now[1] != sent[1]+30 {
		t.Errorf("left by %v, before by %v", now, sent)
	}
}
