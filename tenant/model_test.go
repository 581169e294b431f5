package tenant

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// key is one account's epoch in one window.
type key struct {
	account AccountID
	window  Window
	epoch   uint64
}

// owner is what one owning process knows. It dies with a crash; log does not.
type owner struct {
	node  NodeID
	epoch uint64
	given map[key]Amount
}

// world is a cluster of one state, an owner with a durable log, and a network
// that loses, repeats and delays what the owner proposes.
type world struct {
	s        *State
	index    uint64
	now      time.Time
	requests uint16
	proposed []Command // everything ever proposed; may be applied again at any time
	late     []Command // on its way, not applied yet
	owner    owner
	log      map[key]Amount    // spent, durable
	cap      map[key]Amount    // epoch 0: the most that may be spent in a window
	wrote    map[uint64]NodeID // who wrote each epoch's log
	lost     bool              // a log could not be read: what was granted stays charged
	accounts []AccountID
}

func newWorld(t *rapid.T) *world {
	w := &world{s: New(), wrote: make(map[uint64]NodeID), now: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC), log: make(map[key]Amount), cap: make(map[key]Amount)}
	for i := range 2 {
		w.must(t, AddNode{Name: fmt.Sprintf("n%d", i)})
		w.must(t, AddSource{Node: NodeID(i + 1), Addr: netip.AddrFrom4([4]byte{127, 77, byte(i), 1}), EHLO: "out.test", Shared: true})
	}
	w.must(t, AddTenant{Name: "a", Hostname: "a.test", Home: Place{Node: 1}, Backup: Place{Node: 2}})
	for i := range 2 {
		w.must(t, AddAccount{Tenant: 1, Username: fmt.Sprintf("u%d@a.test", i), Plan: Plan{MailsPerMonth: 50, BytesPerMonth: 500}})
		w.accounts = append(w.accounts, AccountID(i+1))
	}
	w.owner = owner{node: 1, epoch: 1, given: make(map[key]Amount)}
	return w
}

func (w *world) apply(t *rapid.T, cmd Command) ([]Event, error) {
	t.Helper()
	w.index++
	next, events, err := Apply(w.s, w.index, cmd)
	w.s = next
	if err := w.s.Check(); err != nil {
		t.Fatal(err)
	}
	return events, err
}

func (w *world) must(t *rapid.T, op Op) {
	t.Helper()
	if _, err := w.apply(t, Command{At: w.now, Op: op}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) command(op Op) Command {
	w.requests++
	cmd := Command{Request: RequestID{byte(w.requests), byte(w.requests >> 8), 1}, At: w.now, Op: op}
	w.proposed = append(w.proposed, cmd)
	return cmd
}

// hear tells the owner what a command gave, when the answer reaches it.
func (w *world) hear(events []Event) {
	for _, e := range events {
		g, ok := e.(Granted)
		if !ok || g.Grant.Epoch != w.owner.epoch {
			continue
		}
		k := key{g.Grant.Account, g.Grant.Window, g.Grant.Epoch}
		w.owner.given[k] = w.owner.given[k].Max(g.Grant.Given)
	}
}

func amounts(t *rapid.T, label string) Amount {
	return Amount{Mails: rapid.Uint64Range(0, 30).Draw(t, label+" mails"), Bytes: rapid.Uint64Range(0, 300).Draw(t, label+" bytes")}
}

func (w *world) wants(t *rapid.T) TakeGrant {
	op := TakeGrant{Node: w.owner.node}
	for _, a := range w.accounts {
		for _, win := range append(w.s.WindowsOf(a, w.now), WindowAt(Month, w.now.AddDate(0, -1, 0)), WindowAt(Minute, w.now.Add(-time.Minute))) {
			if rapid.Bool().Draw(t, "wanted") {
				k := key{a, win, w.owner.epoch}
				op.Wants = append(op.Wants, Want{Account: a, Window: win, Epoch: w.owner.epoch, Spent: w.log[k], Need: amounts(t, "need")})
			}
		}
	}
	return op
}

// propose sends a command over the bad network.
func (w *world) propose(t *rapid.T, cmd Command) {
	switch rapid.SampledFrom([]string{"fine", "fine", "fine", "answer lost", "lost", "late"}).Draw(t, "network") {
	case "fine":
		events, _ := w.apply(t, cmd)
		w.hear(events)
	case "answer lost":
		_, _ = w.apply(t, cmd)
	case "late":
		w.late = append(w.late, cmd)
	}
}

// spend accepts one message if what the owner was given covers it in every
// window.
func (w *world) spend(t *rapid.T, a AccountID, need Amount) bool {
	wins := w.s.WindowsOf(a, w.now)
	for _, win := range wins {
		k := key{a, win, w.owner.epoch}
		if !w.owner.given[k].Covers(w.log[k].Plus(need)) {
			return false
		}
	}
	for _, win := range wins {
		k := key{a, win, w.owner.epoch}
		w.log[k] = w.log[k].Plus(need)
	}
	return true
}

// lose takes the owner down: the other node owns, if it is up, and has not read
// the log yet. What it may ask for before that must not oversell.
func (w *world) lose(t *rapid.T) {
	w.must(t, NodesDown{Nodes: []NodeID{w.owner.node}})
	tn := w.s.Tenant(1)
	w.owner = owner{node: tn.Owner, epoch: tn.Epoch, given: make(map[key]Amount)}
	if rapid.Bool().Draw(t, "hasty") {
		w.splurge(t)
	}
}

// strand makes a node the owner that can reach no log but its own.
func (w *world) strand(t *rapid.T) {
	w.must(t, NodesUp{Nodes: []NodeID{1, 2}})
	tn := w.s.Tenant(1)
	op := Own{Tenant: 1, Node: 3 - tn.Owner, Expect: tn.Epoch}
	for k, amount := range w.log {
		if w.wrote[k.epoch] == op.Node {
			op.Spent = append(op.Spent, Spent{Account: k.account, Window: k.window, Epoch: k.epoch, Amount: amount})
		}
	}
	if _, err := w.apply(t, w.command(op)); err != nil {
		t.Fatal(err)
	}
	w.owner, w.lost = owner{node: op.Node, epoch: op.Expect + 1, given: make(map[key]Amount)}, true
}

// splurge takes and spends all there is, and reports nothing of it.
func (w *world) splurge(t *rapid.T) {
	op := TakeGrant{Node: w.owner.node}
	for _, a := range w.accounts {
		for _, win := range w.s.WindowsOf(a, w.now) {
			op.Wants = append(op.Wants, Want{Account: a, Window: win, Epoch: w.owner.epoch, Spent: w.log[key{a, win, w.owner.epoch}], Need: Amount{Mails: 100, Bytes: 1000}})
		}
	}
	events, _ := w.apply(t, w.command(op))
	w.hear(events)
	for _, a := range w.accounts {
		for w.spend(t, a, Amount{Mails: 1}) {
			if w.log[key{a, WindowAt(Month, w.now), w.owner.epoch}].Mails > 200 {
				break // no limit
			}
		}
	}
}

// start is the next epoch: a new process, on either node, that has read the log.
func (w *world) start(t *rapid.T, node NodeID) {
	epoch := w.s.Tenant(1).Epoch
	op := Own{Tenant: 1, Node: node, Expect: epoch, Read: true}
	for k, amount := range w.log {
		op.Spent = append(op.Spent, Spent{Account: k.account, Window: k.window, Epoch: k.epoch, Amount: amount})
	}
	w.must(t, NodesUp{Nodes: []NodeID{1, 2}})
	if op.Expect = w.s.Tenant(1).Epoch; op.Expect != epoch {
		epoch = op.Expect // its own return moved it
	}
	if _, err := w.apply(t, w.command(op)); err != nil {
		t.Fatal(err)
	}
	w.owner = owner{node: node, epoch: epoch + 1, given: make(map[key]Amount)}
	for _, a := range w.accounts {
		for _, u := range w.s.UsagesOf(a) {
			if got, want := w.s.UsageOf(a, u.Window), w.total(a, u.Window); got != want && !(w.lost && got.Covers(want)) {
				t.Fatalf("account %d, %s: settled %s, the logs say %s", a, u.Window, got, want)
			}
		}
	}
}

func (w *world) total(a AccountID, win Window) Amount {
	var sum Amount
	for k, amount := range w.log {
		if k.account == a && k.window == win {
			sum = sum.Plus(amount)
		}
	}
	return sum
}

// limit changes a plan, or the caution limits. What was given before stays
// spendable.
func (w *world) limit(t *rapid.T, op SetAccount) {
	kinds := []WindowKind{Month, Minute, Hour, HalfDay, Day}
	bounds := make(map[Window]Amount)
	for _, k := range kinds {
		win := WindowAt(k, w.s.Now())
		bounds[win] = w.s.UsageOf(op.Account, win)
		if g := w.s.Grant(op.Account, win); g != nil {
			bounds[win] = bounds[win].Plus(g.Given)
		}
	}
	w.must(t, op)
	for win, bound := range bounds {
		w.cap[key{account: op.Account, window: win}] = bound.Max(w.most(op.Account, win.Kind))
	}
}

// most is the limit with nothing for infinity.
func (w *world) most(a AccountID, k WindowKind) Amount {
	limit := w.s.Limit(a, k)
	if limit.Mails == 0 {
		limit.Mails = ^uint64(0)
	}
	if limit.Bytes == 0 {
		limit.Bytes = ^uint64(0)
	}
	return limit
}

func (w *world) check(t *rapid.T) {
	w.wrote[w.owner.epoch] = w.owner.node
	for k := range w.log {
		total, bound := w.total(k.account, k.window), w.bound(k.account, k.window)
		if !bound.Covers(total) {
			t.Fatalf("account %d spent %s of %s in %s", k.account, total, bound, k.window)
		}
	}
}

func (w *world) bound(a AccountID, win Window) Amount {
	if b, ok := w.cap[key{account: a, window: win}]; ok {
		return b
	}
	// Not changed in this window: the first limit, or the one set in an earlier window.
	return w.most(a, win.Kind)
}

// pass moves the clock; a new window starts under the limit of that moment.
func (w *world) pass(t *rapid.T, d time.Duration) {
	for _, a := range w.accounts {
		for _, kind := range []WindowKind{Month, Minute, Hour, HalfDay, Day} {
			k := key{account: a, window: WindowAt(kind, w.now)}
			w.cap[k] = w.bound(a, k.window)
		}
	}
	w.now = w.now.Add(d)
	w.must(t, Pause{Tenant: 1})
}

// TestSpentStaysWithinLimit lets the owner crash and move, the network lose,
// repeat and delay, nodes go down, limits change and windows roll: no account ever spends more
// than its limit, no spending is lost or counted twice, and in the end every bit
// of the limit can be spent.
func TestSpentStaysWithinLimit(t *testing.T) {
	if os.Getenv("POSTERN_SOAK") != "" {
		if err := flag.Set("rapid.checks", "5000"); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		account := rapid.SampledFrom(w.accounts)
		t.Repeat(map[string]func(*rapid.T){
			"":        w.check,
			"take":    func(t *rapid.T) { w.propose(t, w.command(w.wants(t))) },
			"spend":   func(t *rapid.T) { w.spend(t, account.Draw(t, "account"), amounts(t, "message")) },
			"restart": func(t *rapid.T) { w.start(t, w.owner.node) },
			"move":    func(t *rapid.T) { w.start(t, 3-w.owner.node) },
			"again": func(t *rapid.T) {
				if len(w.proposed) > 0 {
					events, _ := w.apply(t, rapid.SampledFrom(w.proposed).Draw(t, "repeated"))
					w.hear(events)
				}
			},
			"arrive": func(t *rapid.T) {
				if n := len(w.late); n > 0 {
					i := rapid.IntRange(0, n-1).Draw(t, "which")
					events, _ := w.apply(t, w.late[i])
					w.hear(events)
				}
			},
			"limit": func(t *rapid.T) {
				w.limit(t, SetAccount{Account: account.Draw(t, "account"), Plan: &Plan{
					MailsPerMonth: rapid.SampledFrom([]uint64{0, 5, 50, 100}).Draw(t, "mails"),
					BytesPerMonth: rapid.SampledFrom([]uint64{0, 50, 500, 1000}).Draw(t, "bytes"),
				}})
			},
			"caution": func(t *rapid.T) {
				var limits []CautionLimit
				for _, k := range []WindowKind{Minute, Hour, HalfDay, Day} {
					if rapid.Bool().Draw(t, "limited") {
						limits = append(limits, CautionLimit{Kind: k, Limit: Amount{Mails: rapid.SampledFrom([]uint64{3, 10, 20}).Draw(t, "mails")}})
					}
				}
				w.limit(t, SetAccount{Account: account.Draw(t, "account"), Limits: &limits})
			},
			"lose":    w.lose,
			"splurge": w.splurge,
			"strand":  w.strand,
			"lose both": func(t *rapid.T) {
				w.lose(t)
				w.lose(t)
			},
			"pass": func(t *rapid.T) {
				w.pass(t, rapid.SampledFrom([]time.Duration{time.Second, 20 * time.Second, time.Minute, time.Hour, 13 * time.Hour, 31 * 24 * time.Hour}).Draw(t, "time"))
			},
			"hold": func(t *rapid.T) {
				w.must(t, Hold{Account: account.Draw(t, "account"), Reason: rapid.SampledFrom([]string{"", "x"}).Draw(t, "reason")})
			},
		})
		w.drain(t)
	})
}

// drain spends what is left, message by message, over a good network.
func (w *world) drain(t *rapid.T) {
	w.start(t, w.owner.node)
	for _, a := range w.accounts {
		w.must(t, Hold{Account: a})
		w.limit(t, SetAccount{Account: a, Plan: &Plan{MailsPerMonth: 120, BytesPerMonth: 2000}, Limits: &[]CautionLimit{}})
		win := WindowAt(Month, w.now)
		// Mails without octets, then octets without mails: both run out exactly.
		for _, need := range []Amount{{Mails: 1}, {Bytes: 1}} {
			for n := 0; n < 4000; n++ {
				k := key{a, win, w.owner.epoch}
				events, err := w.apply(t, w.command(TakeGrant{Node: w.owner.node, Wants: []Want{{
					Account: a, Window: win, Epoch: w.owner.epoch, Spent: w.log[k], Need: Amount{Mails: need.Mails * 40, Bytes: need.Bytes * 700},
				}}}))
				if err != nil {
					t.Fatal(err)
				}
				w.hear(events)
				if !w.spend(t, a, need) {
					break
				}
				for w.spend(t, a, need) {
				}
			}
		}
		w.check(t)
		if got := w.total(a, win); got != w.bound(a, win) && !w.lost {
			t.Fatalf("account %d could spend %s of %s", a, got, w.bound(a, win))
		}
	}
}
