package tenant

import (
	"fmt"
	"slices"
	"time"
)

// complained is how many of those who could complain did. Providers without a
// feedback loop tell nobody, so only mail to those who tell counts; and while no
// complaint at all came in, there is no loop.
func (s *State) complained(a AccountID, at time.Time, r ContainRule, loops bool) SuspectTerm {
	t, x := SuspectTerm{Name: "complaints"}, s.echoes.get(a)
	n, of := x.told(EchoComplaint, at, r), x.delivered(at, r)
	switch {
	case s.echoes.len() == 0:
		t.NoData = true
		return t
	case !loops:
		t.NoData, t.Text = true, "none came in about anybody"
		return t
	}
	t.Text = fmt.Sprintf("%d of %d at providers that tell of them", n, of)
	if of < 200 {
		t.NoData = true
	} else if n >= 3 {
		t.Points = steps(n*1000/of, [2]uint64{1, 10}, [2]uint64{3, 20}, [2]uint64{5, 30})
	}
	return t
}

// loops says whether any complaint came in within the window.
func (s *State) loops(at time.Time, r ContainRule) bool {
	return slices.ContainsFunc(s.echoes.vals, func(x *echoBook) bool { return x.told(EchoComplaint, at, r) > 0 })
}

// oneTrap are the points of a single message in a spam trap, since pointsVersion:
// many traps are addresses that were somebody's, and a careless sender who never
// cleans a large list meets one now and then. A spammer meets more.
const oneTrap = 30

// trapped is evidence that came by itself: mail of the account in a spam trap, or
// returned by a list's operator.
func (s *State) trapped(t SuspectTerm, a AccountID, at time.Time, r ContainRule) SuspectTerm {
	if n := s.echoes.get(a).told(EchoList, at, r); t.Points == 0 && n > 0 {
		t.Points, t.Text = 50, fmt.Sprintf("operators of lists returned mail of it: %d", n)
	}
	if n := s.echoes.get(a).told(EchoTrap, at, r); t.Points == 0 && n > 0 {
		if t.Points = 50; n == 1 && s.level >= pointsVersion {
			t.Points = oneTrap
		}
		t.Text = fmt.Sprintf("mail of it came to spam traps: %d", n)
	}
	return t
}

// unknown counts recipients that do not exist, also those of whom it was told
// only after their host had taken the message: by whichever source.
func (s *State) unknown(a AccountID, c Counts, at time.Time, r ContainRule) SuspectTerm {
	late := s.echoes.get(a).told(EchoBounce, at, r)
	if late == 0 {
		return unknownTerm(c)
	}
	all := s.uses.get(a).anywhere(slotOf(at, r.Slot), uint64(r.Window/r.Slot))
	all.Unknown = plus(all.Unknown, late)
	t := unknownTerm(all)
	t.Text += fmt.Sprintf(", %d of them told later", late)
	return t
}

// manyLogins is how many networks may be new within an hour.
const manyLogins = 5

// loggedIn speaks against who logs in from many places that are new: a password
// in wrong hands is used by many machines.
func (s *State) loggedIn(a AccountID, at time.Time, r ContainRule) SuspectTerm {
	t, x := SuspectTerm{Name: "logins"}, s.echoes.get(a)
	if x == nil || x.logins.IsZero() {
		t.NoData = true
		return t
	}
	usual := x.logins.Add(scaledDay(r)) // what is new before that, is new because everything is
	if usual.After(at) {
		t.NoData, t.Text = true, "known for "+spell(at.Sub(x.logins).Truncate(time.Minute))+" only"
		return t
	}
	var fresh []time.Time
	for _, m := range x.echoes {
		if m.kind == EchoLogin && !m.at.Before(usual) && m.at.Add(r.Window).After(at) {
			fresh = append(fresh, m.at)
		}
	}
	slices.SortFunc(fresh, time.Time.Compare)
	most, from := 0, 0
	for i, now := range fresh {
		for now.Sub(fresh[from]) > r.Hour {
			from++
		}
		most = max(most, i-from+1)
	}
	t.Text = fmt.Sprintf("from %d new networks within %s at most", most, spell(r.Hour))
	if most >= manyLogins {
		if t.Points = 20; s.level < pointsVersion {
			t.Points = 10
		}
	}
	return t
}
