package tenant

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"time"
)

// MarkKind is what a mark is made of.
type MarkKind uint8

// What a customer can be known again by.
const (
	MarkName     MarkKind = iota + 1 // of a tenant
	MarkHost                         // a tenant's host name
	MarkDomain                       // a sender domain
	MarkAddress                      // a username or a reference address
	MarkCustomer                     // the provider's number of the customer
)

var markNames = map[MarkKind]string{MarkName: "name", MarkHost: "host name", MarkDomain: "domain", MarkAddress: "address", MarkCustomer: "customer id"}

func (k MarkKind) String() string { return markNames[k] }

// Mark is a keyed hash of something a customer is known by. The state has no
// names of banned customers, and not the key: who has only the state cannot try
// names against it.
type Mark struct {
	Kind MarkKind
	Hash [32]byte // HMAC-SHA256 of kind and text
}

func compareMarks(a, b Mark) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), slices.Compare(a.Hash[:], b.Hash[:]))
}

// Ban keeps a customer from coming back under another name.
type Ban struct {
	ID     uint64
	Tenant ID // that it was made of; 0: of what the operator told
	At     time.Time
	Reason string
	Marks  []Mark // ascending
}

// Bounds of bans. A tenant with more domains and accounts is known by some of them.
const (
	MaxMarks      = 512
	maxBans       = 2000
	maxTotalMarks = 65536
	maxCustomer   = 100
)

type (
	// AddBan bans who is known by Marks; a tenant it names is closed for ever.
	AddBan struct {
		Tenant ID
		Reason string
		Marks  []Mark
	}
	// LiftBan takes a ban away. A closed tenant stays closed.
	LiftBan struct{ Ban uint64 }
	// SetCustomer notes the provider's own number of a tenant; "" forgets it.
	SetCustomer struct {
		Tenant   ID
		Customer string
	}
	// Vetted is an operation that names somebody, with the marks of all it names:
	// it is refused when one is banned, unless Override says that the operator
	// knows. While there are bans such operations are refused without it.
	Vetted struct {
		Marks    []Mark
		Override bool
		Op       Op // not a By, nor a Vetted
	}
)

func (AddBan) op()      {}
func (LiftBan) op()     {}
func (SetCustomer) op() {}
func (Vetted) op()      {}

func (AddBan) since() uint32      { return banVersion }
func (LiftBan) since() uint32     { return banVersion }
func (SetCustomer) since() uint32 { return banVersion }
func (v Vetted) since() uint32    { return max(banVersion, sinceOf(v.Op)) }

// Bans lists the bans, the oldest first.
func (s *State) Bans() iter.Seq[*Ban] { return s.bans.all() }

// Banned reports whether there is any ban: what names somebody must be vetted.
func (s *State) Banned() bool { return s.bans.len() > 0 }

// Customer is the provider's own number of a tenant, or "".
func (s *State) Customer(t ID) string {
	if x := s.customers.get(t); x != nil {
		return x.number
	}
	return ""
}

// customer is the provider's own number of a tenant.
type customer struct {
	tenant ID
	number string
}

// namesSomebody says whether a ban may stand against an operation.
func namesSomebody(op Op) bool {
	switch op := op.(type) {
	case AddTenant, AddAccount, AddHashed, SetDomain:
		return true
	case SetAccount:
		return op.Reference != nil && *op.Reference != ""
	case SetCustomer:
		return op.Customer != ""
	}
	return false
}

// vet judges an operation by the bans.
func (d *draft) vet(v Vetted) error {
	if len(v.Marks) > MaxMarks {
		return refuse("more than %d marks in one command", MaxMarks)
	}
	x, m := d.bannedBy(v.Marks)
	if x != nil && !v.Override {
		return refuse("banned: its %s is that of a customer who was banned on %s (ban %d: %s)", m.Kind, x.At.Format(time.DateOnly), x.ID, x.Reason)
	}
	if x != nil {
		d.note(Entry{Actor: d.actor, Act: "override", Subject: fmt.Sprintf("ban %d", x.ID), Why: "its " + m.Kind.String() + " is banned: " + x.Reason})
	}
	return d.run(v.Op)
}

// unvetted refuses an operation that names somebody and was not compared with
// the bans.
func (d *draft) unvetted(op Op) error {
	if d.Banned() && namesSomebody(op) {
		return refuse("what it names was not compared with the bans: a node's program or its secret key is not that of the others")
	}
	return nil
}

// bannedBy is the first ban that has one of the marks, and the mark.
func (s *State) bannedBy(marks []Mark) (*Ban, Mark) {
	for b := range s.bans.all() {
		for _, m := range marks {
			if _, found := slices.BinarySearchFunc(b.Marks, m, compareMarks); found {
				return b, m
			}
		}
	}
	return nil, Mark{}
}

func (d *draft) addBan(c AddBan) error {
	total := len(c.Marks)
	for b := range d.bans.all() {
		total += len(b.Marks)
	}
	switch {
	case c.Reason == "" || !validText(c.Reason, maxReason-50):
		return refuse("a ban needs a reason without control characters, of %d octets at most", maxReason-50)
	case len(c.Marks) == 0 || len(c.Marks) > MaxMarks:
		return refuse("a ban needs 1 to %d things the customer is known by", MaxMarks)
	case slices.ContainsFunc(c.Marks, func(m Mark) bool { return markNames[m.Kind] == "" }):
		return refuse("a mark is of no known kind")
	case c.Tenant != 0 && !d.tenants.has(c.Tenant):
		return refuse("tenant %d is not known", c.Tenant)
	case d.bans.len() >= maxBans || total > maxTotalMarks:
		return refuse("a cluster has at most %d bans with %d marks", maxBans, maxTotalMarks)
	}
	if c.Tenant != 0 && d.ClosedTenant(c.Tenant) == nil {
		if err := d.close(Close{Tenant: c.Tenant, Reason: c.Reason}); err != nil {
			return err
		}
	}
	marks := slices.Clone(c.Marks)
	slices.SortFunc(marks, compareMarks)
	id := d.header.index // never given twice
	put(d, &d.bans, id, &Ban{ID: id, Tenant: c.Tenant, At: d.Now(), Reason: c.Reason, Marks: slices.Compact(marks)})
	return nil
}

func (d *draft) liftBan(c LiftBan) error {
	if !d.bans.has(c.Ban) {
		return refuse("ban %d is not known", c.Ban)
	}
	remove(d, &d.bans, c.Ban)
	return nil
}

func (d *draft) setCustomer(c SetCustomer) error {
	switch {
	case !d.tenants.has(c.Tenant):
		return refuse("tenant %d is not known", c.Tenant)
	case !validText(c.Customer, maxCustomer):
		return refuse("a customer's number is of %d octets at most, without control characters", maxCustomer)
	case c.Customer == "":
		remove(d, &d.customers, c.Tenant)
	default:
		put(d, &d.customers, c.Tenant, &customer{tenant: c.Tenant, number: c.Customer})
	}
	d.emit(TenantChanged{c.Tenant})
	return nil
}

// forgetTenant drops what else is kept of a tenant that is removed. Bans stay.
func (d *draft) forgetTenant(t ID) {
	remove(d, &d.closures, closureKey(t, 0))
	remove(d, &d.customers, t)
	remove(d, &d.imports, t)
	d.unsuspend(t, 0)
}

// checkBans judges closures, bans and customers' numbers.
func (s *State) checkBans() error {
	for i, x := range s.closures.vals {
		if s.closures.keys[i] != closureKey(x.Tenant, x.Account) || x.Reason == "" || x.At.After(s.Now()) || !s.tenants.has(x.Tenant) {
			return fmt.Errorf("closure of tenant %d, account %d", x.Tenant, x.Account)
		}
		if a := s.accounts.get(x.Account); x.Account != 0 && (a == nil || a.Tenant != x.Tenant || a.Held == "") || x.Account == 0 && s.tenants.get(x.Tenant).Held == "" {
			return fmt.Errorf("closure of tenant %d, account %d: it is not held", x.Tenant, x.Account)
		}
	}
	total := 0
	for i, b := range s.bans.vals {
		total += len(b.Marks)
		if s.bans.keys[i] != b.ID || b.ID == 0 || b.Reason == "" || len(b.Marks) == 0 || b.At.After(s.Now()) {
			return fmt.Errorf("ban %d", b.ID)
		}
		for k, m := range b.Marks {
			if markNames[m.Kind] == "" || k > 0 && compareMarks(b.Marks[k-1], m) >= 0 {
				return fmt.Errorf("ban %d: mark %d", b.ID, k)
			}
		}
	}
	if s.bans.len() > maxBans || total > maxTotalMarks {
		return fmt.Errorf("bans: %d marks", total)
	}
	for i, x := range s.customers.vals {
		if s.customers.keys[i] != x.tenant || x.number == "" || !validText(x.number, maxCustomer) || !s.tenants.has(x.tenant) {
			return fmt.Errorf("customer's number of tenant %d", x.tenant)
		}
	}
	return nil
}

func (*Ban) kind() recordKind { return kindBan }

func (b *Ban) code(c *coder) {
	c.uint(&b.ID)
	number(c, &b.Tenant)
	c.time(&b.At)
	c.str(&b.Reason, maxReason)
	codeMarks(c, &b.Marks)
}

func codeMarks(c *coder, marks *[]Mark) {
	list(c, marks, MaxMarks, func(c *coder, m *Mark) { number(c, &m.Kind); c.raw(m.Hash[:]) })
}

func (*customer) kind() recordKind { return kindCustomer }

func (x *customer) code(c *coder) {
	number(c, &x.tenant)
	c.str(&x.number, maxCustomer)
}

func (c *coder) addBan(o *AddBan) {
	number(c, &o.Tenant)
	c.str(&o.Reason, maxReason)
	codeMarks(c, &o.Marks)
}

func (c *coder) setCustomer(o *SetCustomer) {
	number(c, &o.Tenant)
	c.str(&o.Customer, maxCustomer)
}

func (c *coder) vetted(o *Vetted) {
	codeMarks(c, &o.Marks)
	c.bool(&o.Override)
	wraps := func(op Op) bool {
		switch op.(type) {
		case By, Vetted:
			return true
		}
		return false
	}
	if wraps(o.Op) {
		c.fail(errBounds)
		return
	}
	inner := Command{Op: o.Op}
	if c.wrapped == inVetted {
		c.fail(errBounds)
		return
	}
	was := c.wrapped
	c.wrapped = inVetted
	codeOperation(c, &inner)
	c.wrapped = was
	if wraps(inner.Op) {
		c.fail(errBounds)
		return
	}
	o.Op = inner.Op
}
