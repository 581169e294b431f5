package tenant

import (
	"cmp"
	"slices"
	"time"
)

func (d *draft) pause(c Pause) error {
	if !d.tenants.has(c.Tenant) {
		return refuse("tenant %d is not known", c.Tenant)
	}
	if !validText(c.Reason, maxReason) {
		return refuse("reason is too long or has control characters")
	}
	d.changeTenant(c.Tenant, func(t *Tenant) {
		t.pause(c.Reason)
		t.Stopped = mark(t.Stopped, t.Paused != "" || t.Held != "", d.Now())
	})
	d.emit(TenantChanged{c.Tenant})
	d.rescue() // what a restore kept in place may move now
	return nil
}

// pause sets or lifts the reason. Under an operator's reason that of a restore
// waits; lifting the latter ends the waiting.
func (t *Tenant) pause(reason string) {
	switch {
	case reason != "":
		t.Paused = reason
	case len(t.Awaited) > 0 && t.Paused != ReasonRestored:
		t.Paused = ReasonRestored
	default:
		t.Paused, t.Awaited = "", nil
	}
}

func (d *draft) hold(c Hold) error {
	if !validText(c.Reason, maxReason) {
		return refuse("reason is too long or has control characters")
	}
	if err := d.stillOpen(c.Tenant, c.Account); err != nil {
		return err
	}
	if c.Account == 0 {
		if !d.tenants.has(c.Tenant) {
			return refuse("tenant %d is not known", c.Tenant)
		}
		d.unsuspend(c.Tenant, 0)
		d.changeTenant(c.Tenant, func(t *Tenant) {
			t.Held = c.Reason
			t.Stopped = mark(t.Stopped, t.Paused != "" || t.Held != "", d.Now())
		})
		d.emit(TenantChanged{c.Tenant})
		return nil
	}
	old := d.accounts.get(c.Account)
	if old == nil {
		return refuse("account %d is not known", c.Account)
	}
	if c.Tenant != 0 && c.Tenant != old.Tenant {
		return refuse("account %d is not of tenant %d", c.Account, c.Tenant)
	}
	d.unsuspend(old.Tenant, old.ID)
	a := *old
	a.Held = c.Reason
	a.Stopped = mark(a.Stopped, a.Held != "", d.Now())
	put(d, &d.accounts, a.ID, &a)
	d.emit(AccountChanged{a.ID})
	return nil
}

// mark opens or closes the last span. Spans that touch become one; beyond the
// bound the two oldest become one, which lets mail expire later, never sooner.
func mark(spans []Span, stopped bool, now time.Time) []Span {
	n := len(spans)
	running := n > 0 && spans[n-1].Until.IsZero()
	if stopped == running {
		return spans
	}
	spans = slices.Clone(spans)
	if running {
		if spans[n-1].From.Equal(now) {
			return slices.Clip(spans[:n-1])
		}
		spans[n-1].Until = now
		return spans
	}
	if n > 0 && spans[n-1].Until.Equal(now) {
		spans[n-1].Until = time.Time{}
		return spans
	}
	spans = append(spans, Span{From: now})
	if len(spans) > maxSpans {
		spans[1].From = spans[0].From
		spans = slices.Delete(spans, 0, 1)
	}
	return spans
}

// Stopped says why a message of the account may not be attempted now, or "". A
// removed account's mail stays where it is until it expires: whoever removes a
// spammer must not set its queue free.
func (s *State) Stopped(id AccountID) string {
	a := s.accounts.get(id)
	if a == nil {
		return "account is removed"
	}
	t := s.tenants.get(a.Tenant)
	switch {
	case a.Held != "":
		return "account is held: " + a.Held
	case t.Held != "":
		return "tenant is held: " + t.Held
	case t.Paused != "":
		return "tenant is paused: " + t.Paused
	}
	if why, _ := s.Waits(t.ID); why != "" {
		return "mail waits: " + why
	}
	return ""
}

// Waits says why a tenant's mail waits because of a listing, and in which case;
// empty when it does not, and no case when what it leaves by is gone otherwise.
func (s *State) Waits(id ID) (why string, of *Case) {
	p := s.plights.get(id)
	if p == nil || p.Since.IsZero() {
		return "", nil
	}
	for _, c := range slices.Backward(s.cases.vals) {
		if f := c.fate(id); f != nil && f.Kind == FateWait && c.Ended.IsZero() && s.mode(c, id) == AutomationOn {
			return c.Addr.String() + " is listed; " + f.Why, c
		}
	}
	return cmp.Or(p.Why, "its source is listed"), nil
}

// StoodStill is how long the account or its tenant stood still since t; message
// expiry is later by that much.
func (s *State) StoodStill(id AccountID, since time.Time) time.Duration {
	a := s.accounts.get(id)
	if a == nil {
		return 0
	}
	all := [...][]Span{a.Stopped, s.tenants.get(a.Tenant).Stopped, s.waited(a)}
	now, at := s.Now(), since
	var total time.Duration
	for {
		first := -1
		for i, x := range all {
			if len(x) > 0 && (first < 0 || x[0].From.Before(all[first][0].From)) {
				first = i
			}
		}
		if first < 0 {
			break
		}
		sp := all[first][0]
		all[first] = all[first][1:]
		until := sp.Until
		if until.IsZero() {
			until = now
		}
		from := sp.From
		if from.Before(at) {
			from = at // counted already, or before the message
		}
		if until.After(from) {
			total += until.Sub(from)
			at = until
		}
	}
	return total
}

// waited lists the times in which an account's mail waited because of listings,
// each no longer than its class may stand still.
func (s *State) waited(a *Account) []Span {
	p := s.plights.get(a.Tenant)
	if p == nil {
		return nil
	}
	r, most := s.containRule(), time.Duration(0)
	if most = r.Transactional; a.Class == Bulk {
		most = r.Bulk
	}
	spans := slices.Clone(p.Spans)
	if !p.Since.IsZero() {
		spans = append(spans, Span{From: p.Since, Until: s.Now()})
	}
	for i := range spans {
		if end := spans[i].From.Add(most); spans[i].Until.After(end) {
			spans[i].Until = end
		}
	}
	return spans
}
