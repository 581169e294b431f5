package tenant

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Change is one step from what is to what is declared.
type Change struct {
	Op     Op
	Sign   string // "+" new, "~" changed, "-" gone
	Kind   string // "tenant", "account": what it is about
	Name   string
	Tenant string // whose it is; "" of what is nobody's
	Fields []FieldChange
	At     string // where the declaration says so; "" for what it does not name
	// NeedsSecret says that a new account has none yet: it cannot be made so.
	NeedsSecret bool
}

// FieldChange is one field of a Change; From is "" of what is new.
type FieldChange struct{ Name, From, To string }

// NotPossible is what cannot become as it is declared, and why.
type NotPossible struct{ At, Reason string }

// Diff says what makes the state as it is declared, in an order in which it can
// be done, and what of it is not possible. Nothing is carried out: s stays. vet
// gives an operation the marks that bans ask for; nil gives none. What a part of
// want does not name goes only when prune is set.
func Diff(s *State, want Declared, prune bool, vet func(Op) Op) ([]Change, []NotPossible) {
	if vet == nil {
		vet = func(op Op) Op { return op }
	}
	d := &differ{draft: s.draft(), was: s, vet: vet}
	d.cluster(want)
	if prune {
		d.pruneTenants(want)
	}
	if want.Sources != nil {
		for _, x := range *want.Sources {
			d.source(x)
		}
	}
	if want.Tenants != nil {
		for _, t := range *want.Tenants {
			d.tenant(t)
		}
	}
	if want.Routes != nil {
		d.setRoutes(*want.Routes, prune)
	}
	if prune && want.Sources != nil {
		d.pruneSources(*want.Sources)
	}
	if len(d.bad) == 0 {
		d.draft.reviewNow() // as the commands will
		if err := d.draft.check(s); err != nil {
			d.bad = append(d.bad, NotPossible{Reason: err.Error()})
		}
	}
	return d.all, d.bad
}

// differ carries out each change on a draft as it finds it, so that the next one
// is judged by what is there then, and ids of what is new are the true ones.
type differ struct {
	draft *draft
	was   *State
	vet   func(Op) Op
	all   []Change
	bad   []NotPossible
	// Of an import: what it is called, whose it is, what was noted last, and what
	// is left alone.
	from, of string
	last     *Import
	stays    []string
}

func (d *differ) refuse(at, format string, args ...any) {
	d.bad = append(d.bad, NotPossible{at, fmt.Sprintf(format, args...)})
}

// do rehearses a change and keeps it.
func (d *differ) do(c Change) bool {
	c.Op = d.vet(c.Op)
	if err := d.draft.step(c.Op, ActorAutomation); err != nil {
		why, name := err.Error(), c.Kind+" "+c.Name
		if !strings.HasPrefix(why, name) {
			why = name + ": " + why
		}
		d.refuse(c.At, "%s", why)
		return false
	}
	d.all = append(d.all, c)
	if d.from != "" && len(d.all)%MaxBatch == MaxBatch-1 {
		d.noteImport()
	}
	return true
}

// cluster are the settings that there is one of.
func (d *differ) cluster(want Declared) {
	s := &d.draft.State
	if l := want.Lists; l != nil {
		old := s.Lists()
		if old == nil || !same(&Lists{Zones: old.Zones, Groups: old.Groups, Rule: old.Rule}, &Lists{Zones: l.Zones, Groups: l.Groups, Rule: l.Rule}) {
			from := ""
			if old != nil {
				from = zonesText(old.Zones)
			}
			d.do(Change{Op: *l, Sign: signOf(old == nil), Kind: "zones", At: "zones", Fields: []FieldChange{{"zones", from, zonesText(l.Zones)}}})
		}
	}
	if c := want.Automation; c != nil {
		if old := s.Contain(); old == nil || *old != *c {
			f := fieldsOf(old == nil)
			was := Contain{}
			if old != nil {
				was = *old
			}
			f.add("mode", was.Mode.String(), c.Mode.String())
			if old != nil && old.Rule != c.Rule {
				f.add("round", was.Rule.Slot.String(), c.Rule.Slot.String())
			}
			d.do(Change{Op: SetContain{*c}, Sign: signOf(old == nil), Kind: "automation", At: "automation", Fields: f.list})
		}
	}
	if want.OnListing != nil {
		if old := s.Conduct(0); old.OnListing != *want.OnListing {
			d.do(Change{Op: SetConduct{Conduct{OnListing: *want.OnListing}}, Sign: "~", Kind: "on_listing", At: "on_listing",
				Fields: []FieldChange{{"on_listing", old.OnListing.String(), want.OnListing.String()}}})
		}
	}
	d.notices(want.Notices)
	d.retention(want.Retention)
}

func (d *differ) retention(r *Retention) {
	if r == nil {
		return
	}
	old, f := d.draft.Retention(), fieldsOf(false)
	for _, c := range RetentionClasses() {
		f.add(c.Name, DaysText(*old.Class(c.Name)), DaysText(*r.Class(c.Name)))
	}
	if len(f.list) > 0 {
		d.do(Change{Op: SetRetention{*r}, Sign: "~", Kind: "retention", At: "retention", Fields: f.list})
	}
}

func (d *differ) notices(n *Notices) {
	if n == nil {
		return
	}
	old := Notices{}
	if x := d.draft.Notices(); x != nil {
		old = *x
	}
	if same(&old, n) {
		return
	}
	f := fieldsOf(false)
	f.add("operators", strings.Join(old.Operators, " "), strings.Join(n.Operators, " "))
	f.add("from", old.From, n.From)
	f.add("smarthost", old.Smarthost, n.Smarthost)
	f.add("user", old.User, n.User)
	f.add("plain", yes(old.Plain), yes(n.Plain))
	f.add("webhook", old.Webhook, n.Webhook)
	f.add("tenants", yes(old.Tenants), yes(n.Tenants))
	if string(old.SealedPassword) != string(n.SealedPassword) {
		f.add("password", "", "another")
	}
	if string(old.SealedSecret) != string(n.SealedSecret) {
		f.add("secret", "", "another")
	}
	d.do(Change{Op: SetNotices{*n}, Sign: "~", Kind: "notices", At: "notices", Fields: f.list})
}

// same says whether two records are stored as the same octets.
func same(a, b record) bool {
	c := &coder{}
	return hashRecord(c, a) == hashRecord(c, b)
}

// pruneTenants takes away what is not named, before others take its names.
func (d *differ) pruneTenants(want Declared) {
	if want.Tenants == nil {
		return
	}
	named := map[string]*DeclaredTenant{}
	for i := range *want.Tenants {
		named[(*want.Tenants)[i].Name] = &(*want.Tenants)[i]
	}
	for t := range d.was.Tenants() {
		w := named[t.Name]
		if w == nil {
			d.do(Change{Op: RemoveTenant{t.ID}, Sign: "-", Kind: "tenant", Name: t.Name})
			continue
		}
		if w.Accounts != nil {
			for a := range d.was.AccountsOf(t.ID) {
				if !slices.ContainsFunc(*w.Accounts, func(x DeclaredAccount) bool { return lower(x.Username) == a.Username }) {
					d.do(Change{Op: RemoveAccount{a.ID}, Sign: "-", Kind: "account", Name: a.Username, Tenant: t.Name})
				}
			}
		}
		if w.Domains != nil {
			for x := range d.was.DomainsOf(t.ID) {
				if !slices.ContainsFunc(*w.Domains, func(y DeclaredDomain) bool { return y.Name == x.Name }) {
					d.do(Change{Op: RemoveDomain{x.Name}, Sign: "-", Kind: "domain", Name: x.Name, Tenant: t.Name})
				}
			}
		}
	}
}

func (d *differ) pruneSources(want []DeclaredSource) {
	for x := range d.was.Sources() {
		if d.draft.Source(x.ID) != nil && !slices.ContainsFunc(want, func(y DeclaredSource) bool { return y.Addr.Unmap() == x.Addr }) {
			d.do(Change{Op: RemoveSource{x.ID}, Sign: "-", Kind: "source", Name: x.Addr.String()})
		}
	}
}

func (d *differ) source(w DeclaredSource) {
	name := w.Addr.Unmap().String()
	n := d.draft.NodeByName(w.Node)
	if n == nil {
		d.refuse(w.At+".node", "source %s: no node %q", name, clip(w.Node))
		return
	}
	old := d.draft.SourceByAddr(w.Addr)
	f := fieldsOf(old == nil)
	was := Source{}
	if old != nil {
		was = *old
		f.add("node", d.draft.nodeText(old.Node), w.Node)
	} else {
		f.add("node", "", w.Node)
	}
	f.add("ehlo", was.EHLO, w.EHLO)
	f.add("shared", yes(was.Shared), yes(w.Shared))
	if len(f.list) > 0 && old != nil {
		// What a source is called and where it is cannot be changed under the
		// mail that leaves by it: it goes, and comes as another.
		if !d.do(Change{Op: RemoveSource{old.ID}, Sign: "-", Kind: "source", Name: name, At: w.At}) {
			return
		}
		f = fieldsOf(true)
		f.add("node", "", w.Node)
		f.add("ehlo", "", w.EHLO)
		f.add("shared", "no", yes(w.Shared))
		old = nil
	}
	if old == nil && !d.do(Change{Op: AddSource{Node: n.ID, Addr: w.Addr.Unmap(), EHLO: w.EHLO, Shared: w.Shared}, Sign: "+", Kind: "source", Name: name, At: w.At, Fields: f.list}) {
		return
	}
	now := d.draft.SourceByAddr(w.Addr)
	if class := d.draft.PoolClass(now.ID); class != w.Class {
		d.do(Change{Op: SetPool{Source: now.ID, Class: w.Class}, Sign: "~", Kind: "source", Name: name, At: w.At, Fields: []FieldChange{{"class", class.String(), w.Class.String()}}})
	}
	if warm := d.draft.WarmSince(now.ID); !warm.Equal(w.Warm) {
		d.do(Change{Op: SetWarm{Source: now.ID, Since: w.Warm}, Sign: "~", Kind: "source", Name: name, At: w.At, Fields: []FieldChange{{"warm_since", dayText(warm), dayText(w.Warm)}}})
	}
	if w.Enrolments != nil {
		d.enrolments(now.ID, w)
	}
}

// enrolments sets those that differ; what is not named is to do.
func (d *differ) enrolments(id SourceID, w DeclaredSource) {
	want := map[Programme]Enrolment{}
	for _, e := range *w.Enrolments {
		want[e.Programme] = e
	}
	for _, old := range d.draft.Enrolments(id) {
		e := want[old.Programme]
		delete(want, old.Programme)
		if old.State == e.State && old.Note == e.Note {
			continue
		}
		f := fieldsOf(false)
		f.add(old.Programme.String(), old.State.String(), e.State.String())
		f.add(old.Programme.String()+" note", old.Note, e.Note)
		d.do(Change{Op: Enrol{Source: id, Programme: old.Programme, State: e.State, Note: e.Note}, Sign: "~", Kind: "source",
			Name: w.Addr.Unmap().String(), At: w.At, Fields: f.list})
	}
	for p := range want {
		d.refuse(w.At, "source %s: programme %d is not known", w.Addr, p)
	}
}

func (d *differ) setRoutes(want []DeclaredRoute, prune bool) {
	named := map[string]bool{}
	for _, w := range want {
		named[w.Domain] = true
		was := Route{}
		old := d.draft.routes.get(w.Domain)
		if old != nil {
			was = *old
		}
		if was == w.Route {
			continue
		}
		d.do(Change{Op: SetRoute{w.Route}, Sign: signOf(old == nil), Kind: "route", Name: w.Domain, At: w.At,
			Fields: []FieldChange{{"to", routeText(was), routeText(w.Route)}}})
	}
	for _, r := range slices.Collect(d.was.Routes()) {
		if prune && !named[r.Domain] {
			d.do(Change{Op: SetRoute{Route{Domain: r.Domain}}, Sign: "-", Kind: "route", Name: r.Domain})
		}
	}
}

func routeText(r Route) string {
	if r.Host == "" {
		return ""
	}
	return fmt.Sprintf("%s port %d", r.Host, r.Port)
}

// place finds a declared place; the zero one for nil.
func (d *differ) place(at string, w *DeclaredPlace) (Place, bool) {
	if w == nil {
		return Place{}, true
	}
	n := d.draft.NodeByName(w.Node)
	if n == nil {
		d.refuse(at, "no node %q", clip(w.Node))
		return Place{}, false
	}
	if !w.Addr.IsValid() {
		return Place{Node: n.ID}, true
	}
	x := d.draft.SourceByAddr(w.Addr)
	if x == nil {
		d.refuse(at, "no source %s", w.Addr)
		return Place{}, false
	}
	return Place{Node: n.ID, Source: x.ID}, true
}

func signOf(isNew bool) string { return either(isNew, "+", "~") }

func yes(b bool) string { return either(b, "yes", "no") }

func zonesText(all []Zone) string { return fmt.Sprintf("%d zones", len(all)) }

// fields gathers what differs; of what is new only what is not the default.
type fields struct {
	isNew bool
	list  []FieldChange
}

func fieldsOf(isNew bool) *fields { return &fields{isNew: isNew} }

func (f *fields) add(name, from, to string) {
	if from == to {
		return
	}
	if f.isNew {
		from = ""
		if to == "" || to == "no" {
			return
		}
	}
	f.list = append(f.list, FieldChange{name, from, to})
}

func sizeText(n uint64) string {
	if n == 0 {
		return ""
	}
	return SizeText(n)
}

// SizeText writes a number of octets exactly, in the largest unit that allows
// it: 500MB, 1GB, 1500B.
func SizeText(n uint64) string {
	units := []string{"B", "KB", "MB", "GB", "TB"}
	i := 0
	for n != 0 && n%1000 == 0 && i+1 < len(units) {
		n, i = n/1000, i+1
	}
	return fmt.Sprintf("%d%s", n, units[i])
}

func countText(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func gapText(g time.Duration) string {
	if g == 0 {
		return ""
	}
	return g.String()
}

func networksText(all []netip.Prefix) string {
	var b []string
	for _, p := range all {
		b = append(b, p.String())
	}
	return strings.Join(b, " ")
}

var kindNames = map[WindowKind]string{Minute: "minute", Hour: "hour", HalfDay: "half-day", Day: "day"}

func cautionText(all []CautionLimit) string {
	var b []string
	for _, l := range all {
		var of []string
		if l.Limit.Mails > 0 {
			of = append(of, countText(l.Limit.Mails))
		}
		if l.Limit.Bytes > 0 {
			of = append(of, SizeText(l.Limit.Bytes))
		}
		b = append(b, kindNames[l.Kind]+"="+strings.Join(of, "/"))
	}
	return strings.Join(b, " ")
}
