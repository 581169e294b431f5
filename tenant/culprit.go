package tenant

import (
	"fmt"
	"slices"
)

// ownSigns are the points a culprit needs of what its mail did, since
// pointsVersion: a list names whoever hit its trap, the careless too, and who
// sent much is not bad for that.
const ownSigns = 10

func (x *Suspect) own() (n int) {
	for _, t := range x.Terms {
		if t.Name != "evidence" && t.Name != "share" {
			n += t.Points
		}
	}
	return n
}

// culprit is the account with enough points, and twice those of the next, or
// half of what is enough more: beside a careless neighbour nobody has twice as
// many. Twice it must be, since pointsVersion, where a listing follows another
// whose culprit is held: it has mostly many small causes, one of them the worst.
func (s *State) culprit(c *Case, all []Suspect) AccountID {
	bar := s.containRule().Culprit
	if len(all) == 0 || all[0].Score < bar {
		return 0
	}
	if s.level >= pointsVersion && all[0].own() < ownSigns {
		return 0
	}
	first := all[0].Score
	if len(all) == 1 || first >= 2*all[1].Score {
		return all[0].Account
	}
	if s.level >= pastVersion && first >= all[1].Score+bar/2 && (s.level < pointsVersion || !s.followsFound(c)) {
		return all[0].Account
	}
	return 0
}

// followsFound says whether the culprit of another case of the same days is
// held, and none of this one.
func (s *State) followsFound(c *Case) bool {
	held := func(c *Case) bool { return slices.ContainsFunc(c.Suspects, func(x Suspect) bool { return x.Held }) }
	if held(c) {
		return false
	}
	for x := range s.cases.all() {
		if x.ID != c.ID && !x.Drill && !x.Dismissed && x.Raised.Add(s.containRule().Window).After(c.Raised) && held(x) {
			return true
		}
	}
	return false
}

// holdCulprit holds the culprit. A drill only tells.
func (d *draft) holdCulprit(id uint64) {
	c := d.cases.get(id)
	if c.Culprit == 0 || c.Drill || d.mode(c, d.ownerOf(c.Culprit)) != AutomationOn {
		return
	}
	i := slices.IndexFunc(c.Suspects, func(x Suspect) bool { return x.Account == c.Culprit })
	a := d.accounts.get(c.Culprit)
	if c.Suspects[i].Held || a == nil {
		return
	}
	// Who is suspended for a bill must not send again when it is paid.
	if a.Held == "" || d.suspensions.has(closureKey(a.Tenant, a.ID)) {
		d.decided(Entry{Act: "hold", Subject: d.accountText(a.ID), Tenant: a.Tenant, account: a.ID, Source: c.Source, Case: id, Why: culpritText(c)})
		_ = d.hold(Hold{Account: a.ID, Reason: culpritText(c)}) // it exists
	}
	d.changeCase(id, func(c *Case) { c.Suspects[i].Held = true })
}

// culpritText is what a held account's operator reads. It does not change with
// later evidence, or the hold could not be told from another's.
func culpritText(c *Case) string {
	return fmt.Sprintf("%s was listed and this account is named as the cause: case %d", c.Addr, c.ID)
}
