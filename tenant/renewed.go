package tenant

import (
	"slices"
	"time"
)

// renewedFor is how long after a change of source it is worth trying at once
// what the one before was refused for.
const renewedFor = 10 * time.Minute

// Renewal is a tenant whose mail leaves by another source because of a case.
type Renewal struct {
	Case   uint64
	Tenant ID
}

// Renewed lists the tenants of a node whose mail leaves by another source now
// than when a case was raised, lately: those that have come to the node, and
// those that stayed and used the listed member of its pool. What hosts refused
// because of the source is worth another try then, once.
func Renewed(s *State, node NodeID) (all []Renewal) {
	for c := range s.cases.all() {
		if c.Drill || c.Mode != AutomationOn {
			continue
		}
		for _, f := range c.Fates {
			t := s.tenants.get(f.Tenant)
			if t == nil || t.Owner != node || s.mode(c, t.ID) != AutomationOn {
				continue
			}
			since := f.Owned
			switch {
			case f.Kind == FateMove && f.To.Node == node:
			case f.Kind == FateStay && c.Ended.IsZero() && slices.ContainsFunc(c.Suspects, func(x Suspect) bool { return x.Tenant == t.ID }):
				since = f.At
			default:
				continue
			}
			if !since.IsZero() && s.Now().Sub(since) < renewedFor {
				all = append(all, Renewal{c.ID, t.ID})
			}
		}
	}
	return all
}
