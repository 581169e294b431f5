package submission

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"postern/tenant"
)

// gaps remember when accounts began their last message, for those that must
// pause between two. Both the owner and the node that has the client remember,
// and the latter tells the owner: so a pause outlives the owner, unless both go
// at once.
type gaps struct {
	mu   sync.Mutex // guards last
	last map[tenant.AccountID]time.Time
}

// turn is an account's place in time, taken by a message that has begun.
type turn struct {
	gaps    *gaps
	account tenant.AccountID
	at      time.Time
	before  time.Time
}

// take lets a message begin, or says how long the account has to wait. quiet is
// how long ago another node saw its last message; 0 is unknown.
func (g *gaps) take(a *tenant.Account, quiet time.Duration, now time.Time) (turn, error) {
	if a.Gap <= 0 {
		return turn{}, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	last := g.last[a.ID]
	if quiet > 0 && now.Add(-quiet).After(last) {
		last = now.Add(-quiet)
	}
	if wait := last.Add(a.Gap).Sub(now); !last.IsZero() && wait > 0 {
		return turn{}, tooSoon(a.Gap, wait)
	}
	g.set(a, now)
	return turn{g, a.ID, now, last}, nil
}

// set notes a time; what is too old to matter goes when there are many.
func (g *gaps) set(a *tenant.Account, at time.Time) {
	if len(g.last) >= maxTallies {
		for id, t := range g.last {
			if at.Sub(t) > a.Gap || len(g.last) >= maxTallies {
				delete(g.last, id)
			}
		}
	}
	if g.last == nil {
		g.last = map[tenant.AccountID]time.Time{}
	}
	g.last[a.ID] = at
}

// passed notes a message that another node took.
func (g *gaps) passed(a *tenant.Account, at time.Time) {
	if a.Gap <= 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if at.After(g.last[a.ID]) {
		g.set(a, at)
	}
}

// quiet is how long the account's last message is ago; 0 unknown.
func (g *gaps) quiet(a *tenant.Account, now time.Time) time.Duration {
	if a.Gap <= 0 {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	last, ok := g.last[a.ID]
	if !ok {
		return 0
	}
	return max(now.Sub(last), time.Millisecond)
}

// used makes the turn final: the message was kept.
func (t *turn) used() { *t = turn{} }

// giveBack undoes the turn of a message that was not kept.
func (t *turn) giveBack() {
	if t.gaps == nil {
		return
	}
	t.gaps.mu.Lock()
	defer t.gaps.mu.Unlock()
	if t.gaps.last[t.account].Equal(t.at) {
		t.gaps.last[t.account] = t.before
		if t.before.IsZero() {
			delete(t.gaps.last, t.account)
		}
	}
	*t = turn{}
}

func tooSoon(gap, wait time.Duration) *reply {
	every := gap.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(every, zero) {
			every = every[:len(every)-2]
		}
	}
	return refuse(450, [3]int{4, 7, 1}, reasonRate,
		fmt.Sprintf("Rate limit (one message every %s), retry after %d s", every, int(math.Ceil(wait.Seconds()))))
}
