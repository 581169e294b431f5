package tenant

import (
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
	if c.Account == 0 {
		if !d.tenants.has(c.Tenant) {
			return refuse("tenant %d is not known", c.Tenant)
		}
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
	return ""
}

// StoodStill is how long the account or its tenant stood still since t; message
// expiry is later by that much.
func (s *State) StoodStill(id AccountID, since time.Time) time.Duration {
	a := s.accounts.get(id)
	if a == nil {
		return 0
	}
	x, y := a.Stopped, s.tenants.get(a.Tenant).Stopped
	now, at := s.Now(), since
	var total time.Duration
	for len(x) > 0 || len(y) > 0 {
		var sp Span
		if len(y) == 0 || len(x) > 0 && x[0].From.Before(y[0].From) {
			sp, x = x[0], x[1:]
		} else {
			sp, y = y[0], y[1:]
		}
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
