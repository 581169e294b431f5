package tenant

import (
	"fmt"
	"time"
)

// SuspensionKind says why somebody was suspended. What is owed says nothing
// about the mail, so no kind is evidence.
type SuspensionKind uint8

// The kinds of suspensions.
const (
	SuspendBilling  SuspensionKind = iota + 1 // something is not paid
	SuspendAbuse                              // an operator's judgement of the mail
	SuspendCustomer                           // the customer asked for it
)

var suspensionNames = [...]string{"", "billing", "abuse", "customer"}

// String is the kind's name; "" of none.
func (k SuspensionKind) String() string {
	if int(k) < len(suspensionNames) {
		return suspensionNames[k]
	}
	return ""
}

// SuspensionKindOf finds a kind by its name.
func SuspensionKindOf(name string) (SuspensionKind, bool) {
	for k := SuspendBilling; k <= SuspendCustomer; k++ {
		if k.String() == name {
			return k, true
		}
	}
	return 0, false
}

// Suspension is a hold with a reason that the customer reads, and a kind.
type Suspension struct {
	Tenant  ID
	Account AccountID // 0: the tenant with all its accounts
	At      time.Time
	Kind    SuspensionKind
	Reason  string
}

// Suspend holds an account, or a tenant when Account is 0, and says to the
// customer why. Hold without a reason ends it, as it ends every hold.
type Suspend struct {
	Tenant  ID
	Account AccountID
	Kind    SuspensionKind
	Reason  string
}

func (Suspend) op()           {}
func (Suspend) since() uint32 { return customerVersion }

// MaxSuspension is the longest reason of a suspension: an SMTP reply is one line.
const MaxSuspension = 200

// SuspendedTenant is why a tenant is suspended as a whole; nil when it is not.
func (s *State) SuspendedTenant(t ID) *Suspension { return s.suspensions.get(closureKey(t, 0)) }

// Suspended is why an account is suspended, itself or with its tenant; nil when
// it is not.
func (s *State) Suspended(a *Account) *Suspension {
	if x := s.suspensions.get(closureKey(0, a.ID)); x != nil {
		return x
	}
	return s.SuspendedTenant(a.Tenant)
}

func (x *Suspension) held() string { return "suspended (" + x.Kind.String() + "): " + x.Reason }

func (d *draft) suspend(c Suspend) error {
	a, t := d.accounts.get(c.Account), d.tenants.get(c.Tenant)
	if a != nil && c.Tenant == 0 {
		c.Tenant, t = a.Tenant, d.tenants.get(a.Tenant)
	}
	x := &Suspension{Tenant: c.Tenant, Account: c.Account, At: d.Now(), Kind: c.Kind, Reason: c.Reason}
	held := ""
	switch {
	case c.Kind.String() == "":
		return refuse("a suspension is for billing, abuse, or the customer's wish")
	case c.Reason == "" || !validText(c.Reason, MaxSuspension):
		return refuse("a suspension needs a reason without control characters, of %d octets at most", MaxSuspension)
	case c.Account != 0 && a == nil:
		return refuse("account %d is not known", c.Account)
	case t == nil:
		return refuse("tenant %d is not known", c.Tenant)
	case c.Account != 0:
		held = a.Held
	default:
		held = t.Held
	}
	old := d.suspensions.get(closureKey(c.Tenant, c.Account))
	if held != "" && old == nil && d.stillOpen(c.Tenant, c.Account) == nil {
		// What somebody else holds must not go on when a bill is paid.
		return refuse("it is held already: %s", held)
	}
	if err := d.hold(Hold{Tenant: c.Tenant, Account: c.Account, Reason: x.held()}); err != nil {
		return err
	}
	put(d, &d.suspensions, closureKey(x.Tenant, x.Account), x)
	return nil
}

// unsuspend forgets why somebody was suspended: something else holds it now, or
// nothing.
func (d *draft) unsuspend(t ID, a AccountID) { remove(d, &d.suspensions, closureKey(t, a)) }

func (s *State) checkSuspensions() error {
	for i, x := range s.suspensions.vals {
		t, a := s.tenants.get(x.Tenant), s.accounts.get(x.Account)
		switch {
		case s.suspensions.keys[i] != closureKey(x.Tenant, x.Account) || x.Kind.String() == "" || x.At.After(s.Now()) || t == nil,
			x.Reason == "" || !validText(x.Reason, MaxSuspension),
			x.Account != 0 && (a == nil || a.Tenant != x.Tenant || a.Held != x.held()),
			x.Account == 0 && t.Held != x.held():
			return fmt.Errorf("suspension of tenant %d, account %d", x.Tenant, x.Account)
		}
	}
	return nil
}

func (*Suspension) kind() recordKind { return kindSuspension }

func (x *Suspension) code(c *coder) {
	number(c, &x.Tenant)
	number(c, &x.Account)
	c.time(&x.At)
	number(c, &x.Kind)
	c.str(&x.Reason, MaxSuspension)
}

func (c *coder) suspend(o *Suspend) {
	number(c, &o.Tenant)
	number(c, &o.Account)
	number(c, &o.Kind)
	c.str(&o.Reason, MaxSuspension)
}
