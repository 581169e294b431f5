package tenant

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// How long a spammer has to get its address listed, and how long is watched then.
const (
	listWithin = 8 * 24 * time.Hour
	watchFor   = 72 * time.Hour
)

// trial is one run: a world up to its listing, and what became of it by the
// decision, by moving everyone, and if somebody had known at once.
type trial struct {
	*town20
	t     testing.TB
	s     *State
	index uint64
	now   time.Time

	hits     [4]hits     // by source, up to the verdict
	pre      []hour      // from start to the verdict
	verdict  time.Time   //
	open     []complaint // under way
	listed   [4]bool
	backlogs map[int]sent // of who waits, by account
	refs     uint64
	heard    Heard // since it was last told
	letters  []letter

	how         string
	held        time.Duration // after the verdict; -1: never
	innocent    string        // the kind of one who was held
	second, his [3]bool       // another listed within the watch, and by his hits: by the decision, moving everyone, knowing
	text        string        // the spammer's score at the verdict, and the worst others'
}

type complaint struct {
	by int
	at time.Time
}

// hour is what all accounts sent in one, in their order.
type hour []sent

// newTrial draws a world and lets it run until its spammer's address is listed;
// nil when that does not happen in time, or others are to blame.
func newTrial(t testing.TB, r ranges, seed uint64) *trial {
	x := &trial{town20: spoilt(r, seed), t: t, held: -1, backlogs: map[int]sent{}}
	x.how = x.spammer.how
	for at := x.start; at.Before(x.start.Add(listWithin)); at = at.Add(time.Hour) {
		x.pre = append(x.pre, x.hourAt(at))
		for i, m := range x.accounts {
			x.hit(&x.hits, x.tenants[m.tenant].home, m.n, x.pre[len(x.pre)-1][i].traps, at)
		}
		x.strangers(&x.hits, at)
		end := at.Add(time.Hour)
		if x.listable(x.hits[2], end) || x.listable(x.hits[3], end) {
			return nil
		}
		if !x.listable(x.hits[1], end) {
			continue
		}
		if recent, his := x.recent(x.hits[1], end); his*2 <= recent {
			return nil // he is not to blame
		}
		// Until the verdict all goes on.
		x.verdict = end.Add(time.Duration(x.list.delay * float64(time.Hour))).Truncate(time.Hour).Add(time.Hour)
		for at := end; at.Before(x.verdict); at = at.Add(time.Hour) {
			x.pre = append(x.pre, x.hourAt(at))
		}
		return x
	}
	return nil
}

// newCalm draws a world without a spammer whose address is listed all the same:
// for what none of its accounts did, or for what is wrong of the list.
func newCalm(t testing.TB, r ranges, seed uint64) *trial {
	w, _ := newTown20(r, seed)
	x := &trial{town20: w, t: t, held: -1, backlogs: map[int]sent{}}
	x.verdict = x.start.Add(time.Duration(24+x.dice(seed, 10).IntN(6*24)) * time.Hour)
	for at := x.start; at.Before(x.verdict); at = at.Add(time.Hour) {
		x.pre = append(x.pre, x.hourAt(at))
	}
	x.spammer = &mailer{} // nobody
	return x
}

func (x *trial) hourAt(at time.Time) hour {
	all := make(hour, len(x.accounts))
	for i, m := range x.accounts {
		all[i] = x.sends(m, at)
	}
	return all
}

// hit notes traps that an address hit.
func (x *trial) hit(all *[4]hits, source, by, traps int, at time.Time) {
	for range traps {
		all[source] = append(all[source], hit{at, by})
	}
}

// strangers are hits that none of our accounts made.
func (x *trial) strangers(all *[4]hits, at time.Time) {
	for src := 1; src <= 3; src++ {
		d := x.dice(x.seed, 4, uint64(src), uint64(at.Unix()))
		x.hit(all, src, 0, d.some(x.list.others/24), at)
	}
}

// without plays the watch with fixed places: who was at the listed address goes
// to its backup at once, and the spammer goes along or is silenced.
func (x *trial) without(silenced bool) (listed, his bool) {
	all := x.hits
	for i := range all {
		all[i] = slices.Clip(all[i])
	}
	for at := x.verdict; at.Before(x.verdict.Add(watchFor)); at = at.Add(time.Hour) {
		now := x.hourAt(at)
		for i, m := range x.accounts {
			src := x.tenants[m.tenant].home
			if src == 1 {
				src = x.tenants[m.tenant].backup
			}
			if m != x.spammer || !silenced {
				x.hit(&all, src, m.n, now[i].traps, at)
			}
		}
		x.strangers(&all, at)
		for src := 2; src <= 3; src++ {
			if x.listable(all[src], at.Add(time.Hour)) {
				return true, x.byHim(all[src], at.Add(time.Hour))
			}
		}
	}
	return false, false
}

// do applies a command as the cluster would.
func (x *trial) do(op Op) {
	x.index++
	next, _, err := Apply(x.s, x.index, Command{At: x.now, Op: op})
	x.s = next
	if refused := (*Refused)(nil); err != nil && !errors.As(err, &refused) {
		x.t.Fatalf("%+v: %v", op, err)
	} else if err != nil {
		x.t.Fatalf("%T: %s", op, refused.Reason)
	}
}

// found makes the cluster, its tenants, and four weeks of history.
func (x *trial) found() {
	x.s, x.now = New(), x.start
	version := uint32(NewestVersion)
	for i := 1; i <= 3; i++ {
		x.do(AddNode{Name: fmt.Sprintf("n%d", i)})
		x.do(SetNode{Node: NodeID(i), Version: &version})
	}
	for i := 1; i <= 3; i++ {
		x.do(AddSource{Node: NodeID(i), Addr: netip.AddrFrom4([4]byte{127, 77, byte(i), 1}), EHLO: fmt.Sprintf("out-%d.test", i), Shared: true})
	}
	x.do(SetLists{Rule: DefaultListingRule(), Zones: []Zone{{Name: "zen.test", Heavy: true, Every: 10 * time.Minute, Spaces: []Space{SpaceIPv4},
		Codes: []ZoneCode{code("127.0.0.2", 100, PolicyMove)}},
		{Name: "dbl.test", Heavy: true, Every: time.Hour, Spaces: []Space{SpaceDomain}, Codes: []ZoneCode{code("127.0.1.2", 50, PolicyMove)}}}})
	x.do(SetContain{Contain{Mode: AutomationOn, Rule: DefaultContainRule()}})
	for i, r := range x.tenants {
		x.do(AddTenant{Name: fmt.Sprintf("t%d", i+1), Hostname: fmt.Sprintf("t%d.test", i+1), Home: Place{Node: NodeID(r.home)}, Backup: Place{Node: NodeID(r.backup)}})
	}
	for _, m := range x.accounts {
		x.do(AddAccount{Tenant: ID(m.tenant + 1), Username: fmt.Sprintf("u%d@t%d.test", m.n, m.tenant+1)})
	}
	x.now = x.start.AddDate(0, 0, -28)
	x.befriend(x.now)
	var uses []Use
	for at := x.now; at.Before(x.start); at = at.Add(6 * time.Hour) {
		for _, m := range x.accounts {
			var sum sent
			for h := range 6 {
				sum.add(x.sends(m, at.Add(time.Duration(h)*time.Hour)))
			}
			uses = append(uses, Use{AccountID(m.n), SourceID(x.tenants[m.tenant].home), at.Add(3 * time.Hour), sum.counts})
			x.write(m.n, at.Add(3*time.Hour), int(sum.counts.Tried), sum.first)
		}
		if x.now = at.Add(6 * time.Hour); x.now.Hour() == 0 {
			x.tellWrote()
		}
	}
	x.used(uses)
	x.greet()
}

func (x *trial) used(uses []Use) {
	uses = slices.DeleteFunc(uses, func(u Use) bool { return u.Counts.Tried == 0 })
	for part := range slices.Chunk(uses, MaxUses) {
		x.do(Used{Node: 1, Uses: part})
	}
}

// sourceOf is what an account's tenant leaves by now; 0 while it does not.
func (x *trial) sourceOf(m *mailer) (src SourceID, held bool) {
	t, a := x.s.Tenant(ID(m.tenant+1)), x.s.Account(AccountID(m.n))
	if a.Held != "" || t.Held != "" {
		return 0, true
	}
	if p := x.s.Plight(t.ID); p != nil && !p.Since.IsZero() {
		return 0, false
	}
	if all := x.s.SourcesFor(t.ID, t.Place()); len(all) > 0 {
		return all[0].ID, false
	}
	return 0, false
}

// before tells the cluster of the hours up to the verdict.
func (x *trial) before() {
	var uses []Use
	at := x.start
	for k, all := range x.pre {
		for i, m := range x.accounts {
			src := x.tenants[m.tenant].home
			if all[i].counts.Tried > 0 {
				uses = append(uses, Use{AccountID(m.n), SourceID(src), at, all[i].counts})
			}
			x.note(m, src, all[i], at)
		}
		at = at.Add(time.Hour)
		if x.now = at; k%6 == 5 || k == len(x.pre)-1 {
			x.used(uses)
			x.tell()
			uses = nil
		}
	}
}

// raise makes two nodes say that an address is listed.
func (x *trial) raise(src int) {
	x.listed[src] = true
	for round := range 2 {
		for n := NodeID(1); n <= 2; n++ {
			at := x.now.Add(time.Duration(round) * 2 * time.Minute)
			seen := Seen{Source: SourceID(src), Zone: "zen.test", At: at, Values: []netip.Addr{netip.MustParseAddr("127.0.0.2")}}
			was := x.now
			x.now = at
			x.do(Observe{Node: n, Seen: []Seen{seen}})
			x.now = was
		}
	}
	if x.s.OpenCase(SourceID(src)) == nil {
		x.t.Fatalf("seed %d: no case of source %d", x.seed, src)
	}
}

// move carries out what was decided.
func (x *trial) move() {
	for {
		i := slices.IndexFunc(x.s.tenants.vals, func(t *Tenant) bool { return x.s.Releasable(t) })
		if i < 0 {
			return
		}
		t := x.s.tenants.vals[i]
		x.do(Release{Tenant: t.ID, Expect: t.Epoch, Last: 1})
		t = x.s.Tenant(t.ID)
		x.do(Own{Tenant: t.ID, Node: t.Owner, Expect: t.Epoch, Read: true})
	}
}

// decide plays the watch by the real decision.
func (x *trial) decide() {
	x.found()
	x.before()
	x.advertise()
	x.raise(1)
	x.scores()
	names := x.named()
	for x.now = x.verdict; x.now.Before(x.verdict.Add(watchFor)); {
		x.move()
		x.judgeHolds()
		x.sendHour()
		x.now = x.now.Add(time.Hour)
		x.tell()
		if names != 0 && !x.now.Before(x.verdict.Add(time.Duration(x.list.notice*float64(time.Hour)))) {
			x.do(AddEvidence{Account: AccountID(names), Source: 1, Note: "the list names it"})
			names = 0
		}
		for src := 2; src <= 3; src++ {
			if !x.listed[src] && x.listable(x.hits[src], x.now) {
				x.second[0] = true
				x.his[0] = x.his[0] || x.byHim(x.hits[src], x.now)
				x.raise(src)
			}
		}
		if ReviewDue(x.s, x.now) {
			x.do(Review{})
		}
	}
	x.judgeHolds()
	if err := x.s.Check(); err != nil {
		x.t.Errorf("seed %d: %v", x.seed, err)
	}
}

// sendHour is one hour of the watch: what was queued leaves with it.
func (x *trial) sendHour() {
	var uses []Use
	for i, s := range x.hourAt(x.now) {
		m := x.accounts[i]
		src, held := x.sourceOf(m)
		if held {
			delete(x.backlogs, m.n)
			continue
		}
		if old, ok := x.backlogs[m.n]; ok {
			s.add(old)
			delete(x.backlogs, m.n)
		}
		if src == 0 {
			x.backlogs[m.n] = s
			continue
		}
		if least := x.s.Throttled(AccountID(m.n)); least > 0 && s.counts.Tried > least {
			s = s.part(x.dice(x.seed, 8, uint64(m.n), uint64(x.now.Unix())), float64(least)/float64(s.counts.Tried))
		}
		if s.counts.Tried > 0 {
			uses = append(uses, Use{AccountID(m.n), src, x.now, s.counts})
		}
		x.hit(&x.hits, int(src), m.n, s.traps, x.now)
		x.note(m, int(src), s, x.now)
	}
	x.strangers(&x.hits, x.now)
	x.used(uses)
}

// named is the account that the list names, if it names one: whose hit it tells
// of, for whatever reason.
func (x *trial) named() int {
	d := x.dice(x.seed, 5)
	if len(x.hits[1]) == 0 || !d.chance(x.list.names) {
		return 0
	}
	return x.hits[1][d.IntN(len(x.hits[1]))].by
}

func (x *trial) scores() {
	for i, s := range x.s.OpenCase(1).Suspects {
		kind := x.accounts[s.Account-1].kind
		if s.Account == AccountID(x.spammer.n) {
			kind = "the spammer"
		} else if i > 1 {
			continue
		}
		x.text += kind + " " + s.Sum() + "; "
	}
}

func (x *trial) judgeHolds() {
	for _, m := range x.accounts {
		_, held := x.sourceOf(m)
		switch {
		case !held:
		case m == x.spammer && x.held < 0:
			x.held = x.now.Sub(x.verdict)
		case m != x.spammer:
			x.innocent = m.kind
		}
	}
}
