package tenant

import (
	"slices"
	"time"
)

// leastThrottle is what a throttled account may send in an hour at least.
const leastThrottle = 10

// Throttled is how many recipients an account may send to in an hour while a
// case suspects it strongly and does not hold it: a tenth of what it usually
// sends, until a person has looked and the case has ended. 0: it is not.
func (s *State) Throttled(a AccountID) (least uint64) {
	if s.level < throttleVersion {
		return 0
	}
	r := s.containRule()
	for _, c := range s.cases.vals {
		if !c.Ended.IsZero() || c.Drill {
			continue
		}
		i := slices.IndexFunc(c.Suspects, func(x Suspect) bool { return x.Account == a })
		if i < 0 || c.Suspects[i].Held || !s.strong(c.Suspects[i], r) || s.mode(c, c.Suspects[i].Tenant) != AutomationOn {
			continue
		}
		if n := s.tenth(a, c, r); least == 0 || n < least {
			least = n
		}
	}
	return least
}

// strong is a suspicion of three quarters of what makes a culprit: 38 of 50 points.
// Before pastVersion it was two thirds, when 60 were usual.
func (s *State) strong(x Suspect, r ContainRule) bool {
	if s.level < pastVersion {
		return 3*x.Score >= 2*r.Culprit
	}
	return 4*x.Score >= 3*r.Culprit
}

// tenth is a tenth of what an account sent in an hour in the window before a
// case; what it sent last, in the span in which it was listed, does not count.
func (s *State) tenth(a AccountID, c *Case, r ContainRule) uint64 {
	x := s.uses.get(a)
	if x == nil {
		return leastThrottle
	}
	var sum uint64
	now := slotOf(c.Raised, r.Slot)
	for slot := now - min(now, uint64(r.Window/r.Slot)); slot < now; slot++ {
		sum = plus(sum, x.tried(slot))
	}
	hours := max(float64(r.Window)/float64(time.Hour), 1e-3)
	return max(uint64(float64(min(sum, maxPlan))/hours/10), leastThrottle)
}
