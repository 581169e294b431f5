package lab

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rules are the measures a Chronicle is judged by.
type Rules struct {
	// Early is how long before a reign was known to have begun its first dot
	// may have come: a log line is written a little after what it tells.
	Early time.Duration
	// Late is how long after the next reign began a dot of the one before may
	// have been read: the exchangers share the machine.
	Late time.Duration
	// Thaw is how long after a freeze a dot may come that was on its way when
	// the process froze, between its last look at the lease and the write.
	Thaw time.Duration
	// Doubt is how long before a fault a message may have been begun whose
	// outcome the fault took along.
	Doubt time.Duration
	// After is how long after its end a fault of a node still explains that a
	// tenant leaves it.
	After time.Duration
	// Forgets says that the receiver itself makes doubles of mail to rcpt.
	Forgets func(rcpt string) bool
}

// StandardRules are those of tests on a busy machine.
func StandardRules() Rules {
	return Rules{
		Early: time.Second, Late: 250 * time.Millisecond, Thaw: time.Second, Doubt: 5 * time.Second, After: 30 * time.Second,
		Forgets: func(rcpt string) bool { return strings.HasSuffix(rcpt, "@forgetful.test") },
	}
}

// Finding is the verdict over a chronicle.
type Finding struct {
	Dots    int // judged
	Moves   int // changes of a tenant's node
	Doubles int // arrivals beyond the first, those of forgetful receivers left out
	Thawed  int // dots of frozen processes: the admitted exception
	// Twice tells of some doubles, by the fault before their last arrival.
	Twice []string
	// Unforced are changes of owner that no fault of the former one explains.
	Unforced []string
	// Wrong is what must not be: at most a few of each kind, in words.
	Wrong []string
}

func (f *Finding) wrong(format string, args ...any) {
	if len(f.Wrong) < maxBroken {
		f.Wrong = append(f.Wrong, fmt.Sprintf(format, args...))
	}
}

// Check judges everything entered so far: a tenant leaves only from sources of
// the node that owns it, a change of node needs an epoch, and what came twice
// was begun shortly before a fault or during it.
func (c *Chronicle) Check(r Rules) Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := Finding{Wrong: slices.Clone(c.broken)}
	for tenant := range c.dots {
		c.checkDots(&f, r, tenant)
	}
	for _, all := range c.arrivals {
		c.checkDoubles(&f, r, all)
	}
	for tenant := range c.reigns {
		c.checkMoves(&f, r, tenant)
	}
	return f
}

// checkMoves looks for takeovers from nodes that were well.
func (c *Chronicle) checkMoves(f *Finding, r Rules, tenant string) {
	reigns := c.ordered(tenant)
	for i := 1; i < len(reigns); i++ {
		was, is := reigns[i-1], reigns[i]
		if was.Node == is.Node || slices.ContainsFunc(c.faults, func(x Fault) bool {
			return (x.Node == "" || x.Node == was.Node) && x.From.Before(is.At) && (x.To.IsZero() || is.At.Before(x.To.Add(r.After)))
		}) {
			continue
		}
		f.Unforced = append(f.Unforced, fmt.Sprintf("tenant %s went from %s to %s under epoch %d at %s", tenant, was.Node, is.Node, is.Epoch, clockOf(is.At)))
	}
}

// ordered lists a tenant's reigns by epoch.
func (c *Chronicle) ordered(tenant string) []Reign {
	var all []Reign
	for _, r := range c.reigns[tenant] {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Reign) int { return cmp.Compare(a.Epoch, b.Epoch) })
	return all
}

// checkDots walks the dots in order of time beside the reigns in order of
// epoch: a dot belongs to the reign of the dot before it or to a later one.
func (c *Chronicle) checkDots(f *Finding, r Rules, tenant string) {
	reigns := c.ordered(tenant)
	dots := slices.Clone(c.dots[tenant])
	slices.SortStableFunc(dots, func(a, b Dot) int { return a.At.Compare(b.At) })
	now, last := 0, ""
	for _, d := range dots {
		node, ok := c.nodes[d.Source]
		if !ok {
			f.wrong("tenant %s left from %s, which is no source (%s)", tenant, d.Source, d.UID)
			continue
		}
		f.Dots++
		i := now
		for i < len(reigns) && (reigns[i].Node != node || reigns[i].At.After(d.At.Add(r.Early))) {
			i++
		}
		if i == len(reigns) {
			if c.thawed(r, node, d.At) {
				f.Thawed++
				continue
			}
			f.wrong("tenant %s left from node %s at %s without an epoch for it; it had left from %q before, reigns %s",
				tenant, node, clockOf(d.At), last, tell(reigns))
			continue
		}
		// Of the reigns that had begun by then the newest must be the node's own.
		newest := i
		for j := i + 1; j < len(reigns); j++ {
			if !reigns[j].At.After(d.At.Add(-r.Late)) {
				newest = j
			}
		}
		if x := reigns[newest]; x.Node != node {
			if c.thawed(r, node, d.At) {
				f.Thawed++
				continue
			}
			f.wrong("tenant %s left from node %s at %s, %v after node %s owned it under epoch %d", tenant, node, clockOf(d.At),
				d.At.Sub(x.At).Round(time.Millisecond), x.Node, x.Epoch)
			continue
		}
		if last != "" && last != node {
			f.Moves++
		}
		now, last = newest, node
	}
}

// thawed reports that node had just been frozen at that time.
func (c *Chronicle) thawed(r Rules, node string, at time.Time) bool {
	return slices.ContainsFunc(c.faults, func(x Fault) bool {
		return x.What == "freeze" && x.Node == node && !x.To.IsZero() && at.After(x.From) && at.Before(x.To.Add(r.Thaw))
	})
}

// checkDoubles wants an excuse for each arrival but the last.
func (c *Chronicle) checkDoubles(f *Finding, r Rules, all []arrival) {
	if len(all) < 2 || r.Forgets != nil && r.Forgets(all[0].rcpt) {
		return
	}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b arrival) int { return a.at.Compare(b.at) })
	for _, a := range all[:len(all)-1] {
		f.Doubles++
		doubt := func(x Fault) bool {
			return a.at.After(x.From.Add(-r.Doubt)) && (x.To.IsZero() && a.at.Before(x.From.Add(r.Doubt)) || a.at.Before(x.To.Add(r.Doubt)))
		}
		again := all[len(all)-1]
		if len(f.Twice) < maxTold {
			f.Twice = append(f.Twice, fmt.Sprintf("%s: %s %s, again %s %s%s", a.rcpt, a.node, clockOf(a.at), again.node, clockOf(again.at), c.after(again.at)))
		}
		if !slices.ContainsFunc(c.faults, doubt) {
			f.wrong("%s got a message at %s and again at %s, and no fault was near", a.rcpt, clockOf(a.at), clockOf(again.at))
		}
	}
}

// after names the newest fault begun before a time.
func (c *Chronicle) after(at time.Time) string {
	for _, x := range slices.Backward(c.faults) {
		if x.From.Before(at) {
			return fmt.Sprintf(" (%s of %s at %s)", x.What, x.Node, clockOf(x.From))
		}
	}
	return ""
}

// maxTold bounds the doubles told in words.
const maxTold = 40

func clockOf(t time.Time) string { return t.Format("15:04:05.000") }

func tell(reigns []Reign) string {
	var b strings.Builder
	for _, r := range reigns[max(0, len(reigns)-6):] {
		fmt.Fprintf(&b, "%d=%s@%s ", r.Epoch, r.Node, clockOf(r.At))
	}
	return strings.TrimSpace(b.String())
}

// OverLimit reports an account that got more than it may: what was accepted, and
// what arrived although no answer told of it.
func OverLimit(c Counts, limit int64) error {
	if got := c.Accepted + c.Rescued; got > limit {
		return fmt.Errorf("check limit: %d e-mails were taken of an account that may send %d", got, limit)
	}
	return nil
}
