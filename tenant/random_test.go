package tenant

import (
	"net/netip"
	"strings"
	"time"
)

// choices turns bytes into decisions, so that one generator serves fuzzing and
// random runs. Where the bytes end, every choice is the first.
type choices struct{ b []byte }

func (c *choices) n(most int) int {
	if len(c.b) == 0 {
		return 0
	}
	v := int(c.b[0])
	c.b = c.b[1:]
	return v % most
}

// one is true once in n.
func (c *choices) one(n int) bool { return c.n(n) == n-1 }

func pick[T any](c *choices, xs ...T) T { return xs[c.n(len(xs))] }

// generator makes commands out of small sets of names and numbers, and of what
// the state holds, so that most of them meet something that exists.
type generator struct {
	c  *choices
	at time.Time
	i  int
}

func newGenerator(b []byte) *generator {
	return &generator{c: &choices{b: b}, at: time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)}
}

// next makes the next command, if there are bytes for one.
func (g *generator) next(s *State) (Command, bool) {
	c := g.c
	if len(c.b) == 0 {
		return Command{}, false
	}
	switch c.n(12) {
	case 0:
		g.at = g.at.Add(-time.Hour)
	case 1:
		g.at = g.at.Add(20 * 24 * time.Hour)
	default:
		g.at = g.at.Add(time.Duration(c.n(256)) * time.Minute)
	}
	cmd := Command{At: g.at, Op: randomOp(c, s, g.at)}
	if c.one(10) {
		cmd.Op = Batch{After: minus(s.Index(), uint64(c.n(3))), Name: randomText(c), Ops: []Op{cmd.Op, randomOp(c, s, g.at)}}
	}
	if c.one(3) {
		cmd.Op = By{Actor: randomText(c), Op: cmd.Op}
	}
	switch c.n(6) {
	case 0: // no id
	case 1: // perhaps one that was used
		cmd.Request = RequestID{1, byte(c.n(max(g.i, 1)))}
	default:
		cmd.Request = RequestID{1, byte(g.i), byte(g.i >> 8)}
	}
	g.i++
	return cmd, true
}

// epochOf is mostly the tenant's epoch.
func epochOf(c *choices, s *State, t ID) uint64 {
	tn := s.Tenant(t)
	if tn == nil || c.one(6) {
		return uint64(c.n(12))
	}
	return tn.Epoch
}

// epochFor is mostly the epoch of the account's tenant, less back.
func epochFor(c *choices, s *State, a AccountID, back uint64) uint64 {
	if acc := s.Account(a); acc != nil {
		return minus(epochOf(c, s, acc.Tenant), back)
	}
	return uint64(c.n(12))
}

func randomPlace(c *choices) Place {
	return Place{Node: NodeID(c.n(4)), Source: SourceID(pick(c, 0, 0, 1, 2, 3, 4, 5, 6))}
}

func randomAmount(c *choices) Amount {
	v := func() uint64 { return pick(c, 0, 1, uint64(c.n(200)), uint64(c.n(256))*100, ^uint64(0), maxPlan) }
	return Amount{Mails: v(), Bytes: v()}
}

func randomWindow(c *choices, at time.Time) Window {
	w := WindowAt(Month, at.AddDate(0, pick(c, 0, 0, 0, 0, -1, -2, -30, 1), 0))
	if c.one(20) {
		w.Start++
	}
	if c.one(20) {
		w = WindowAt(Day, at)
	}
	if c.one(4) {
		w = WindowAt(pick(c, Minute, Hour, HalfDay, Day), at.Add(time.Duration(c.n(3)-1)*time.Hour))
	}
	return w
}

func randomText(c *choices) string {
	return pick(c, "", "", "x", "a reason", "tab\t", "caf\u00e9", strings.Repeat("r", 501), "\xff", "\u2028")
}

func randomPlan(c *choices) Plan {
	return Plan{
		BytesPerMonth: pick(c, 0, 1000, 20000, ^uint64(0)), MailsPerMonth: pick(c, 0, 10, 100, maxPlan),
		MaxRecipients: pick(c, 0, 1, 1000, 1001), MaxSize: pick(c, 0, int64(5), 1<<40),
	}
}

func randomNetworks(c *choices) []netip.Prefix {
	var ps []netip.Prefix
	for range c.n(4) {
		ps = append(ps, netip.MustParsePrefix(pick(c, "10.0.0.0/8", "10.1.2.3/16", "192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0", "::ffff:1.2.3.4/120")))
	}
	return ps
}
