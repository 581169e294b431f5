package tenant

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// Heard tells what came back about accounts since it was last told, and what
// else a node saw of them. It is a fact and never refused for what it says.
type Heard struct {
	Node   NodeID
	Echoes []Echo
	Fed    []Fed
}

// Echo is one thing heard of an account. The same one counts once, at however
// many nodes it is heard.
type Echo struct {
	Account AccountID
	Kind    EchoKind
	// Ref tells it from others of its kind: a hash, alike on all nodes, of the
	// message's reference, or of the network.
	Ref uint64
	At  time.Time // no later than the state's clock
}

// EchoKind is what was heard.
type EchoKind uint8

const (
	EchoComplaint EchoKind = iota + 1 // a recipient complained
	EchoBounce                        // an address proved gone after its host had taken the message
	EchoTrap                          // a message came to a spam trap
	EchoLogin                         // somebody logged in from a network
	EchoList                          // a list's operator returned a message; by ListTold alone
)

// Fed is how many recipients got mail of an account at providers that tell of
// complaints.
type Fed struct {
	Account   AccountID
	At        time.Time // no later than the state's clock
	Delivered uint64
}

func (Heard) op()           {}
func (Heard) since() uint32 { return heardVersion }

// MaxHeard is the most echoes, and the most of Fed, of one Heard; a node with
// more sends several.
const MaxHeard = 512

// maxEchoes bounds the echoes of a kind that are kept of an account.
const maxEchoes = 128

// echoBook is what came back about one account.
type echoBook struct {
	account AccountID
	logins  time.Time  // the first login was heard of; zero: none yet
	echoes  []keptEcho // ascending by kind and reference
	fed     []fedSpan  // ascending
}

// keptEcho is an Echo as it is kept. Of a kind of which there are too many only some
// are kept, by their reference, and stand for two to the power of weight each:
// so a flood costs no more than a trickle, and what comes twice counts once.
type keptEcho struct {
	kind   EchoKind
	ref    uint64
	at     time.Time
	weight uint8
}

type fedSpan struct{ slot, delivered uint64 }

func compareEchoes(a, b keptEcho) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.ref, b.ref))
}

// weight is what a new echo of a kind stands for.
func (x *echoBook) weight(kind EchoKind) (w uint8) {
	for _, m := range x.echoes {
		if m.kind == kind {
			w = max(w, m.weight)
		}
	}
	return w
}

// lacks says whether a echo would add something.
func (x *echoBook) lacks(m keptEcho) bool {
	if x == nil {
		return true
	}
	_, known := slices.BinarySearchFunc(x.echoes, m, compareEchoes)
	return !known && bits.TrailingZeros64(m.ref) >= int(x.weight(m.kind))
}

// Lacks says whether the state would count a echo: a node need not tell of
// others.
func (s *State) Lacks(m Echo) bool {
	return s.accounts.has(m.Account) && s.echoes.get(m.Account).lacks(keptEcho{kind: m.Kind, ref: m.Ref})
}

func (d *draft) heard(c Heard) error {
	if len(c.Echoes) > MaxHeard || len(c.Fed) > MaxHeard {
		return refuse("more than %d echoes in one command", MaxHeard)
	}
	if d.Contain() == nil {
		return nil // nobody asks
	}
	changed := make(map[AccountID]*echoBook)
	take := func(a AccountID, at *time.Time) *echoBook {
		if !d.accounts.has(a) || at.IsZero() || !inRange(*at) {
			return nil
		}
		if at.After(d.Now()) {
			*at = d.Now() // a clock that is ahead: the fact stays one
		}
		x := changed[a]
		if x == nil {
			x = d.echoes.get(a).clone(a)
			changed[a] = x
		}
		return x
	}
	for _, m := range c.Echoes {
		if m.Kind < EchoComplaint || m.Kind > EchoLogin {
			continue
		}
		if x := take(m.Account, &m.At); x != nil {
			x.add(keptEcho{kind: m.Kind, ref: m.Ref, at: m.At})
		}
	}
	for _, f := range c.Fed {
		if x := take(f.Account, &f.At); x != nil && f.Delivered > 0 {
			x.feed(slotOf(f.At, d.containRule().Slot), f.Delivered)
		}
	}
	d.keepEchoes(changed)
	return nil
}

// clone copies what is known of an account, or begins it.
func (x *echoBook) clone(a AccountID) *echoBook {
	if x == nil {
		return &echoBook{account: a}
	}
	return &echoBook{account: a, logins: x.logins, echoes: slices.Clone(x.echoes), fed: slices.Clone(x.fed)}
}

// keepEchoes puts what changed, in order of the accounts, and decides anew what
// is open.
func (d *draft) keepEchoes(changed map[AccountID]*echoBook) {
	ids := make([]AccountID, 0, len(changed))
	for a := range changed {
		ids = append(ids, a)
	}
	slices.Sort(ids)
	again := false
	for _, a := range ids {
		x, old := changed[a], d.echoes.get(a)
		x.forget(d.Now(), d.containRule(), d.from(pointsVersion))
		again = again || old == nil || len(x.echoes) != len(old.echoes)
		if len(x.echoes) > 0 || len(x.fed) > 0 {
			put(d, &d.echoes, a, x)
		} else {
			remove(d, &d.echoes, a)
		}
	}
	if again {
		d.review()
	}
}

// add counts a echo, once.
func (x *echoBook) add(m keptEcho) {
	if !x.lacks(m) {
		return
	}
	if m.kind == EchoLogin && x.logins.IsZero() {
		x.logins = m.at
	}
	m.weight = x.weight(m.kind)
	i, _ := slices.BinarySearchFunc(x.echoes, m, compareEchoes)
	x.echoes = slices.Insert(x.echoes, i, m)
	if n := x.count(m.kind); n <= maxEchoes {
		return
	}
	if m.kind == EchoLogin {
		x.dropOldest(m.kind)
		return
	}
	x.thin(m.kind)
}

func (x *echoBook) count(kind EchoKind) (n int) {
	for _, m := range x.echoes {
		if m.kind == kind {
			n++
		}
	}
	return n
}

// thin keeps about half of a kind, each of which then stands for twice as many.
func (x *echoBook) thin(kind EchoKind) {
	for x.count(kind) > maxEchoes {
		w := x.weight(kind) + 1
		x.echoes = slices.DeleteFunc(x.echoes, func(m keptEcho) bool { return m.kind == kind && bits.TrailingZeros64(m.ref) < int(w) })
		for i := range x.echoes {
			if x.echoes[i].kind == kind {
				x.echoes[i].weight = w
			}
		}
	}
}

// dropOldest makes room for one.
func (x *echoBook) dropOldest(kind EchoKind) {
	oldest := -1
	for i, m := range x.echoes {
		if m.kind == kind && (oldest < 0 || m.at.Before(x.echoes[oldest].at)) {
			oldest = i
		}
	}
	x.echoes = slices.Delete(x.echoes, oldest, oldest+1)
}

func (x *echoBook) feed(slot, n uint64) {
	i, found := slices.BinarySearchFunc(x.fed, slot, func(s fedSpan, slot uint64) int { return cmp.Compare(s.slot, slot) })
	if !found {
		x.fed = slices.Insert(x.fed, i, fedSpan{slot: slot})
	}
	x.fed[i].delivered = plus(x.fed[i].delivered, n)
}

// forget drops what is too old to count. Networks stay for as long as it takes
// to know what is usual, and what was delivered for a day longer than complaints
// about it, which come late, since pointsVersion.
func (x *echoBook) forget(now time.Time, r ContainRule, longer bool) {
	x.echoes = slices.DeleteFunc(x.echoes, func(m keptEcho) bool {
		keep := r.Window
		if m.kind == EchoLogin {
			keep = r.History
		}
		return !m.at.Add(keep).After(now)
	})
	slot, window := slotOf(now, r.Slot), uint64(r.Window/r.Slot)+1
	if longer {
		window += daySlots(r)
	}
	x.fed = slices.DeleteFunc(x.fed, func(s fedSpan) bool { return s.slot+window < slot })
}

// told counts what was heard of a kind in the window that ends at a time.
func (x *echoBook) told(kind EchoKind, at time.Time, r ContainRule) (n uint64) {
	if x == nil {
		return 0
	}
	for _, m := range x.echoes {
		if m.kind == kind && m.at.Add(r.Window).After(at) {
			n = plus(n, 1<<m.weight)
		}
	}
	return n
}

// delivered sums what got to providers that tell of complaints.
func (x *echoBook) delivered(at time.Time, r ContainRule) (n uint64) {
	if x == nil {
		return 0
	}
	now, window := slotOf(at, r.Slot), uint64(r.Window/r.Slot)
	for _, s := range x.fed {
		if s.slot+window >= now && s.slot <= now {
			n = plus(n, s.delivered)
		}
	}
	return n
}

func (s *State) checkEchoes() error {
	for i, x := range s.echoes.vals {
		if x.account != s.echoes.keys[i] || !s.accounts.has(x.account) || s.Contain() == nil || x.logins.After(s.Now()) || len(x.echoes)+len(x.fed) == 0 {
			return fmt.Errorf("what was heard of account %d", x.account)
		}
		kinds := make(map[EchoKind]int)
		for k, m := range x.echoes {
			kinds[m.kind]++
			if k > 0 && compareEchoes(x.echoes[k-1], m) >= 0 || m.kind < EchoComplaint || m.kind > EchoList || m.at.IsZero() || m.at.After(s.Now()) ||
				m.weight > 63 || bits.TrailingZeros64(m.ref) < int(m.weight) || kinds[m.kind] > maxEchoes {
				return fmt.Errorf("what was heard of account %d: echo %d", x.account, k)
			}
		}
		for k, f := range x.fed {
			if k > 0 && x.fed[k-1].slot >= f.slot || f.delivered == 0 {
				return fmt.Errorf("what was heard of account %d: span %d", x.account, k)
			}
		}
	}
	return nil
}
