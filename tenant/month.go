package tenant

import "time"

// MonthUse is what one account used in one month, as a bill wants it.
type MonthUse struct {
	Tenant     ID
	Account    AccountID
	TenantName string
	Customer   string // the provider's own number of the tenant; "": none
	Username   string
	// Plan is what it had in that month; nil: that was not noted.
	Plan *Plan
	Used Amount
}

// Over is how far the use is beyond a limit of the plan; nothing without one.
func (u MonthUse) Over() Amount {
	var over Amount
	if u.Plan == nil {
		return over
	}
	if n := u.Plan.MailsPerMonth; n > 0 {
		over.Mails = minus(u.Used.Mails, n)
	}
	if n := u.Plan.BytesPerMonth; n > 0 {
		over.Bytes = minus(u.Used.Bytes, n)
	}
	return over
}

// MonthState says how far a month is from never changing again.
type MonthState uint8

// The states of a month.
const (
	MonthToCome MonthState = iota
	MonthRuns
	MonthSettles // it has passed, but logs that are read late may still add to it
	MonthClosed
	MonthGone // out of keeping
)

var monthStates = [...]string{"to come", "running", "settling", "closed", "gone"}

// String is the word that bills and screens use.
func (m MonthState) String() string { return monthStates[m] }

// MonthState says how a month stands by the state's clock.
func (s *State) MonthState(w Window) MonthState {
	now := s.Now()
	switch {
	case time.Unix(w.Start, 0).After(now):
		return MonthToCome
	case w.End().After(now):
		return MonthRuns
	case w.settles().After(now):
		return MonthSettles
	case w.kept().After(now):
		return MonthClosed
	}
	return MonthGone
}

// MonthUses is what accounts used in a month, of one tenant or, with 0, of all.
// Those that were removed since are among them.
func (s *State) MonthUses(w Window, only ID) []MonthUse {
	var all []MonthUse
	runs := s.MonthState(w) == MonthRuns
	for a := range s.accounts.all() {
		q := s.quotaIn(a.ID, w)
		var then *soldMonth
		if x := s.sold.get(a.ID); x != nil {
			then = x.month(w)
		}
		if only != 0 && a.Tenant != only || q == nil && then == nil && !runs {
			continue
		}
		u := MonthUse{Tenant: a.Tenant, Account: a.ID, TenantName: s.tenants.get(a.Tenant).Name, Customer: s.Customer(a.Tenant), Username: a.Username}
		if q != nil {
			u.Used = q.used.Plus(q.live.spent)
		}
		switch {
		case runs:
			u.Plan = &a.Plan
		case then != nil:
			u.Plan, u.Customer = &then.plan, then.customer
		}
		all = append(all, u)
	}
	for x := range s.sold.all() {
		m := x.month(w)
		if !x.removed || m == nil || only != 0 && x.tenant != only {
			continue
		}
		u := MonthUse{Tenant: x.tenant, Account: x.account, TenantName: x.name, Customer: m.customer, Username: x.username, Used: m.used}
		if m.known {
			u.Plan = &m.plan
		}
		all = append(all, u)
	}
	return all
}
