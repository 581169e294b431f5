package tenant

import (
	"cmp"
	"fmt"
	"slices"
)

// sold is what bills need of an account's past months: the plan it had, which
// changes, and the use of an account that is removed. Its names are those it had
// then; it stays two years, as all use does.
type sold struct {
	account  AccountID
	tenant   ID
	name     string // the tenant's
	username string
	removed  bool
	months   []soldMonth // ascending
}

type soldMonth struct {
	start    int64
	customer string // the provider's number of the tenant then
	known    bool   // the plan was noted: not of months before notes were taken
	plan     Plan
	used     Amount // of a removed account; that of others is in its books
}

func (x *sold) month(w Window) *soldMonth {
	for i := range x.months {
		if x.months[i].start == w.Start {
			return &x.months[i]
		}
	}
	return nil
}

// soldOf begins, or goes on with, an account's record.
func (d *draft) soldOf(a *Account) *sold {
	x := &sold{account: a.ID, tenant: a.Tenant, name: d.tenants.get(a.Tenant).Name, username: a.Username}
	if old := d.sold.get(a.ID); old != nil {
		x.months = slices.Clone(old.months)
	}
	return x
}

// sell notes with what plans accounts ended a month, and forgets months that are
// out of keeping.
func (d *draft) sell(ended Window) {
	for _, a := range slices.Clone(d.accounts.vals) {
		x := d.soldOf(a)
		if x.month(ended) == nil {
			x.months = append(x.months, soldMonth{start: ended.Start, customer: d.Customer(a.Tenant), known: true, plan: a.Plan})
		}
		put(d, &d.sold, a.ID, x)
	}
	for _, old := range slices.Clone(d.sold.vals) {
		x := *old
		x.months = without(old.months, func(m soldMonth) bool { return !Window{Month, m.start}.kept().After(d.Now()) })
		switch {
		case len(x.months) == 0:
			remove(d, &d.sold, x.account)
		case len(x.months) < len(old.months):
			put(d, &d.sold, x.account, &x)
		}
	}
}

// sellRemoved notes what an account used that is about to be removed.
func (d *draft) sellRemoved(a *Account) {
	if !d.from(customerVersion) {
		return
	}
	x := d.soldOf(a)
	x.removed = true
	now := WindowAt(Month, d.Now())
	x.months = append(x.months, soldMonth{start: now.Start, customer: d.Customer(a.Tenant), known: true, plan: a.Plan})
	for _, u := range d.UsagesOf(a.ID) {
		if u.Window.Kind == Month && x.month(u.Window) == nil {
			x.months = append(x.months, soldMonth{start: u.Window.Start})
		}
	}
	slices.SortFunc(x.months, func(a, b soldMonth) int { return cmp.Compare(a.start, b.start) })
	for i := range x.months {
		x.months[i].used = d.SpentOf(a.ID, Window{Month, x.months[i].start})
	}
	put(d, &d.sold, a.ID, x)
}

func (s *State) checkSold() error {
	for i, x := range s.sold.vals {
		a := s.accounts.get(x.account)
		if s.sold.keys[i] != x.account || x.account > s.lastAccount || x.tenant > s.lastTenant || x.removed != (a == nil) || len(x.months) == 0 {
			return fmt.Errorf("past months of account %d", x.account)
		}
		for k, m := range x.months {
			if !(Window{Month, m.start}).Valid() || !m.plan.valid() || !m.known && m.plan != (Plan{}) || k > 0 && x.months[k-1].start >= m.start || !x.removed && !m.used.IsZero() {
				return fmt.Errorf("past months of account %d: month %d", x.account, k)
			}
		}
	}
	return nil
}

func (*sold) kind() recordKind { return kindSold }

func (x *sold) code(c *coder) {
	number(c, &x.account)
	number(c, &x.tenant)
	c.str(&x.name, maxName)
	c.str(&x.username, maxAddress)
	c.bool(&x.removed)
	list(c, &x.months, maxWindows, func(c *coder, m *soldMonth) {
		size(c, &m.start)
		c.str(&m.customer, maxCustomer)
		c.bool(&m.known)
		codePlan(c, &m.plan)
		codeAmount(c, &m.used)
	})
}
