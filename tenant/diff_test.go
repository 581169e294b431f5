package tenant

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// declare is "diff" and "declare" of transcripts: what a declaration, as JSON in
// the directive's input, would change; and changing it.
func (x *transcript) declare() string {
	var want Declared
	x.must(json.Unmarshal([]byte(x.td.Input), &want))
	before := x.s.Encode()
	diff := func() ([]Change, []string, []NotPossible) {
		if x.has("import") {
			return DiffImport(x.s, want, x.str("import"), nil)
		}
		all, bad := Diff(x.s, want, x.has("prune"), nil)
		return all, nil, bad
	}
	changes, stays, bad := diff()
	if !slices.Equal(before, x.s.Encode()) {
		x.td.Fatalf(x.t, "the diff changed the state")
	}
	text := changesText(changes, stays, bad)
	if len(changes)+len(bad) == 0 {
		return text
	}
	b := &strings.Builder{}
	b.WriteString(text)
	if x.td.Cmd != "declare" || len(bad) > 0 {
		return b.String()
	}
	b.WriteString(x.apply(batchOf(x.s, changes)))
	if again, _, bad := diff(); len(again)+len(bad) > 0 {
		fmt.Fprintf(b, "and again: %v %v\n", again, bad)
	}
	return b.String()
}

// changesText is what is to be done, what is left alone and what cannot be.
func changesText(changes []Change, stays []string, bad []NotPossible) string {
	var b strings.Builder
	for _, c := range changes {
		b.WriteString(changeText(c) + "\n")
	}
	for _, s := range stays {
		b.WriteString("stays: " + s + "\n")
	}
	for _, n := range bad {
		fmt.Fprintf(&b, "not possible: %s: %s\n", n.At, n.Reason)
	}
	if len(changes)+len(bad) == 0 {
		b.WriteString("nothing to do\n")
	}
	return b.String()
}

func batchOf(s *State, changes []Change) Batch {
	b := Batch{After: s.Index(), Name: "a file"}
	for _, c := range changes {
		b.Ops = append(b.Ops, c.Op)
	}
	return b
}

func changeText(c Change) string {
	text := c.Sign + " " + strings.TrimSuffix(c.Kind+" "+c.Name, " ")
	if c.Tenant != "" {
		text += " of " + c.Tenant
	}
	for i, f := range c.Fields {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		text += fmt.Sprintf("%s%s %q", sep, f.Name, f.To)
		if f.From != "" {
			text += fmt.Sprintf(" (was %q)", f.From)
		}
	}
	if c.NeedsSecret {
		text += ", needs a password"
	}
	return text
}

// Whatever a state is, it is as it declares itself.
func TestDeclareItself(t *testing.T) {
	for seed := range 100 {
		s := randomState(t, uint64(seed))
		if all, bad := Diff(s, s.Declaration(), true, override); len(all)+len(bad) > 0 {
			t.Fatalf("seed %d: a state differs from what it declares: %v %v", seed, all, bad)
		}
	}
}

// From whatever was declared to whatever else is: one diff, carried out in parts,
// gives a cluster that is as a new one with the same nodes would be.
func TestDeclareAnything(t *testing.T) {
	same, done := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawDeclared(t, "a"), drawDeclared(t, "b")
		was, fresh := newPlain(t), newPlain(t)
		if !was.become(t, a) || !fresh.become(t, b) || !was.become(t, b) {
			same++ // not possible: a source that is in use cannot change, say
			return
		}
		done++
		if x, y := settingsOf(was.s), settingsOf(fresh.s); !reflect.DeepEqual(x, y) {
			t.Fatalf("declared over another:\n%+v\nand at once:\n%+v", x, y)
		}
		// The other way about: what a cluster declares makes an equal one.
		want, third := was.s.Declaration(), newPlain(t)
		keep(was.s, &want)
		if !third.become(t, want) {
			t.Fatal("what a cluster declares is not possible elsewhere")
		}
		if x, y := settingsOf(was.s), settingsOf(third.s); !reflect.DeepEqual(x, y) {
			t.Fatalf("a cluster:\n%+v\nand its copy:\n%+v", x, y)
		}
	})
	if done < same {
		t.Fatalf("only %d of %d were possible", done, done+same)
	}
}

// drawDeclared draws from few names, so that two draws have much in common.
func drawDeclared(t *rapid.T, label string) Declared {
	pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
	sources, tenants, routes := []DeclaredSource{}, []DeclaredTenant{}, []DeclaredRoute{}
	for i := range 3 {
		sources = append(sources, DeclaredSource{Addr: netip.AddrFrom4([4]byte{127, 77, byte(i), 1}), Node: fmt.Sprintf("n%d", i), EHLO: "out.test", Shared: true, Class: PoolClass(pick(4))})
		if pick(2) == 0 {
			sources = append(sources, DeclaredSource{Addr: netip.AddrFrom4([4]byte{127, 77, byte(i), 2}), Node: fmt.Sprintf("n%d", i), EHLO: "own.test"})
		}
		for k := range sources {
			if sources[k].Enrolments == nil {
				sources[k].Enrolments = &[]Enrolment{}
			}
		}
		if x := &sources[len(sources)-1]; pick(3) == 0 {
			x.Warm = time.Date(2023, 1, 1+pick(2), 0, 0, 0, 0, time.UTC)
		}
		if x := &sources[len(sources)-1]; pick(2) == 0 {
			all := []Enrolment{{Programme: Programme(1 + pick(6)), State: EnrolState(1 + pick(3)), Note: []string{"", "ticket 7"}[pick(2)]}}
			x.Enrolments = &all
		}
	}
	users, domains := rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7}).Draw(t, label), rapid.Permutation([]int{0, 1, 2, 3, 4, 5}).Draw(t, label)
	for i := range 5 {
		if pick(3) == 0 {
			continue
		}
		// Mostly where it was: the owner must stay one of a tenant's places.
		home, other := i%3, 1+pick(2)
		if pick(12) == 11 {
			home = pick(3)
		}
		w := DeclaredTenant{Name: fmt.Sprintf("t%d", i), Hostname: fmt.Sprintf("t%d.test", i), Customer: []string{"", "K1", "K2"}[pick(3)],
			Home: &DeclaredPlace{Node: fmt.Sprintf("n%d", home)}, Backup: &DeclaredPlace{Node: fmt.Sprintf("n%d", (home+other)%3)},
			Conduct: Conduct{OnListing: OnListing(pick(4)), Automation: Automation(pick(4)), Probation: pick(4) == 0}}
		var ds []DeclaredDomain
		for range min(pick(3), len(domains)) {
			d := DeclaredDomain{Name: fmt.Sprintf("d%d.test", domains[0])}
			if pick(2) == 0 {
				d.Selector, d.SealedKey = "s1", []byte{byte(1 + pick(2))}
			}
			if pick(3) == 0 {
				d.Bounce = "bounce." + d.Name
			}
			ds, domains = append(ds, d), domains[1:]
		}
		var as []DeclaredAccount
		for range min(pick(4), len(users)) {
			u := users[0]
			x := DeclaredAccount{Username: fmt.Sprintf("u%d@x.test", u), Secret: &[32]byte{byte(pick(2))}, Class: Class(pick(2)),
				Reference: []string{"", "a@b.test", "c@d.test"}[pick(3)], Plan: Plan{BytesPerMonth: uint64(pick(3)) * 1000, MaxSize: int64(pick(2)) * 5}, Gap: time.Duration(pick(2)) * time.Second}
			if pick(3) == 0 {
				x.Secret, x.Hash = nil, "$5$x$"+strings.Repeat("ab"[pick(2):][:1], 43)
			}
			if pick(3) == 0 {
				x.Networks = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(u), byte(pick(2)), 9}), 24)}
			}
			if pick(3) == 0 {
				x.Limits = []CautionLimit{{Kind: Hour, Limit: Amount{Mails: uint64(pick(3))}}, {Kind: Minute, Limit: Amount{Bytes: 7}}}
			}
			as, users = append(as, x), users[1:]
		}
		w.Domains, w.Accounts = &ds, &as
		tenants = append(tenants, w)
	}
	for i := range 2 {
		if pick(2) == 0 {
			routes = append(routes, DeclaredRoute{Route: Route{Domain: fmt.Sprintf("r%d.test", i), Host: "h.test", Port: uint16(1 + pick(2))}})
		}
	}
	on := OnListing(pick(4))
	return Declared{Sources: &sources, Tenants: &tenants, Routes: &routes, OnListing: &on}
}

// plain is a cluster of three nodes and nothing else.
type plain3 struct {
	s     *State
	at    time.Time
	index uint64
}

func newPlain(t tb) *plain3 {
	w := &plain3{s: New(), at: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
	version := uint32(NewestVersion)
	for i := range 3 {
		w.do(t, AddNode{Name: fmt.Sprintf("n%d", i)})
	}
	for i := range 3 {
		w.do(t, SetNode{Node: NodeID(i + 1), Version: &version})
	}
	w.do(t, OpenJournal{})
	return w
}

// become declares and prunes; false when that is not possible.
func (w *plain3) become(t *rapid.T, want Declared) bool {
	changes, bad := Diff(w.s, want, true, nil)
	if len(bad) > 0 {
		return false
	}
	for part := range slices.Chunk(changes, 7) {
		w.do(t, By{Actor: "operator", Op: batchOf(w.s, part)})
	}
	if all, bad := Diff(w.s, want, true, nil); len(all)+len(bad) > 0 {
		t.Fatalf("declared, and still %v %v", all, bad)
	}
	return true
}

func (w *plain3) do(t tb, op Op) {
	t.Helper()
	w.index++
	b, err := EncodeCommand(Command{At: w.at, Op: op})
	if err != nil {
		t.Fatalf("%+v: %v", op, err)
	}
	cmd, err := DecodeCommand(b)
	if err != nil {
		t.Fatalf("%+v: %v", op, err)
	}
	next, _, err := Apply(w.s, w.index, cmd)
	if err != nil {
		t.Fatalf("%+v: %v", op, err)
	}
	if err := sound(next); err != nil {
		t.Fatal(err)
	}
	w.s = next
}

func override(op Op) Op { return Vetted{Override: true, Op: op} }

// randomState is what random commands made.
func randomState(t *testing.T, seed uint64) *State {
	g := newGenerator(randomBytes(seed, 3000))
	s, index := New(), uint64(0)
	for {
		cmd, ok := g.next(s)
		if !ok {
			return s
		}
		index++
		next, _, err := Apply(s, index, cmd)
		var refused *Refused
		if err != nil && !errors.As(err, &refused) {
			t.Fatal(err)
		}
		s = next
	}
}

// keep adds the secrets that a declaration does not have.
func keep(s *State, d *Declared) {
	for _, t := range *d.Tenants {
		for i := range *t.Accounts {
			a := &(*t.Accounts)[i]
			kept := s.AccountByUsername(a.Username)
			if a.Hash = s.Hash(kept.ID); a.Hash == "" {
				secret := kept.Secret
				a.Secret = &secret
			}
		}
		for i := range *t.Domains {
			(*t.Domains)[i].SealedKey = s.Domain((*t.Domains)[i].Name).SealedKey
		}
	}
}

// settingsOf is what was declared, in an order that does not hang on numbers.
func settingsOf(s *State) Declared {
	d := s.Declaration()
	keep(s, &d)
	for _, t := range *d.Tenants {
		slices.SortFunc(*t.Accounts, func(a, b DeclaredAccount) int { return strings.Compare(a.Username, b.Username) })
	}
	slices.SortFunc(*d.Tenants, func(a, b DeclaredTenant) int { return strings.Compare(a.Name, b.Name) })
	for _, x := range *d.Sources {
		for i := range *x.Enrolments {
			(*x.Enrolments)[i].At = time.Time{}
		}
	}
	slices.SortFunc(*d.Sources, func(a, b DeclaredSource) int { return a.Addr.Compare(b.Addr) })
	return d
}

// fleet is what a full cluster of three nodes declares: 60 tenants do not leave
// the reserve that placing demands, so the nodes are five.
func fleet(nodes, tenants, accounts int) (*plain3, Declared) {
	w := &plain3{s: New(), at: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
	version := uint32(NewestVersion)
	var sources []DeclaredSource
	for i := range nodes {
		name := fmt.Sprintf("n%d", i+1)
		w.s, _, _ = Apply(w.s, w.s.Index()+1, Command{At: w.at, Op: AddNode{Name: name}})
		w.s, _, _ = Apply(w.s, w.s.Index()+1, Command{At: w.at, Op: SetNode{Node: NodeID(i + 1), Version: &version}})
		sources = append(sources, DeclaredSource{Addr: netip.AddrFrom4([4]byte{127, 77, byte(i + 1), 1}), Node: name, EHLO: fmt.Sprintf("out-%d.test", i+1), Shared: true})
	}
	w.s, _, _ = Apply(w.s, w.s.Index()+1, Command{At: w.at, Op: OpenJournal{}})
	var all []DeclaredTenant
	for i := range tenants {
		name := fmt.Sprintf("t%d", i)
		domains := []DeclaredDomain{{Name: name + ".example", Selector: "s1", SealedKey: make([]byte, 1200)}}
		var of []DeclaredAccount
		for k := range accounts {
			of = append(of, DeclaredAccount{Username: fmt.Sprintf("u%d@%s.example", k, name), Secret: &[32]byte{byte(i), byte(k)}, Plan: BandwidthPlan(500_000_000)})
		}
		all = append(all, DeclaredTenant{Name: name, Hostname: name + ".relay.example", Customer: fmt.Sprint(i), Domains: &domains, Accounts: &of})
	}
	return w, Declared{Sources: &sources, Tenants: &all}
}

// BenchmarkDiffFleet is the rehearsal of all that 60 tenants of 10 accounts are.
func BenchmarkDiffFleet(b *testing.B) {
	w, want := fleet(5, 60, 10)
	for b.Loop() {
		if all, bad := Diff(w.s, want, false, nil); len(bad) > 0 || len(all) < 700 {
			b.Fatal(len(all), bad)
		}
	}
}

// BenchmarkBatchFleet is the carrying out, in entries of MaxBatch.
func BenchmarkBatchFleet(b *testing.B) {
	w, want := fleet(5, 60, 10)
	all, bad := Diff(w.s, want, false, nil)
	if len(bad) > 0 {
		b.Fatal(bad)
	}
	for b.Loop() {
		s := w.s
		for part := range slices.Chunk(all, MaxBatch) {
			next, _, err := Apply(s, s.Index()+1, Command{At: w.at, Op: By{Actor: "operator", Op: batchOf(s, part)}})
			if err != nil {
				b.Fatal(err)
			}
			s = next
		}
	}
}

// A new tenant may be declared, and imported, for a place whose only source is
// listed: its mail waits from the beginning.
func TestDeclareWhileListed(t *testing.T) {
	want := Declared{Tenants: &[]DeclaredTenant{{Name: "new", Hostname: "new.test", Home: &DeclaredPlace{Node: "one"}}}}
	for name, diff := range map[string]func(*State) ([]Change, []NotPossible){
		"declared": func(s *State) ([]Change, []NotPossible) { return Diff(s, want, false, nil) },
		"imported": func(s *State) ([]Change, []NotPossible) {
			all, _, bad := DiffImport(s, want, "old", nil)
			return all, bad
		},
	} {
		w := alley(t, 1)
		version := uint32(NewestVersion)
		w.must(t, SetNode{Node: 1, Version: &version}, OpenJournal{}, RemoveSource{Source: 2},
			SetLists{Rule: DefaultListingRule(), Zones: []Zone{{Name: "zen.test", Spaces: []Space{SpaceIPv4}, Every: time.Minute, Codes: []ZoneCode{code("127.0.0.2", 100, PolicyMove)}}}})
		d := w.s.draft()
		put(d, &d.listings, 1, &Listing{Source: 1, Level: LevelMove, Since: d.Now(), Raised: d.Now()})
		d.openCase(d.sources.get(1), nil, Case{Mode: AutomationOn, Seen: d.Now()})
		d.review()
		w.s = d.publish()
		if why, of := w.s.Waits(1); of == nil || of.Source != 1 || !strings.HasPrefix(why, "127.77.1.1 is listed; ") {
			t.Fatalf("who is there waits because %q, %+v", why, of)
		}
		changes, bad := diff(w.s)
		if len(bad) > 0 || len(changes) == 0 {
			t.Fatalf("%s: %v is not possible", name, bad)
		}
		w.must(t, batchOf(w.s, changes))
		x := w.s.TenantByName("new")
		if why, _ := w.s.Waits(x.ID); why == "" || x.Owner != 1 {
			t.Errorf("%s: mail of %+v does not wait", name, x)
		}
	}
}
