package tenant

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// checkContain judges what follows from listings.
func (s *State) checkContain() error {
	for i, c := range s.contain.vals {
		if s.contain.keys[i] != 0 || c.Mode < AutomationOn || c.Mode > AutomationOff || !c.Rule.valid() {
			return errors.New("contain: its rule")
		}
	}
	for i, x := range s.uses.vals {
		if x.account != s.uses.keys[i] || !s.accounts.has(x.account) || len(x.spans) == 0 || len(x.spans) > maxUses || s.Contain() == nil {
			return fmt.Errorf("uses of account %d", x.account)
		}
		for k, u := range x.spans {
			if k > 0 && compareUse(x.spans[k-1], u) >= 0 || u.source != 0 && !s.sources.has(u.source) || u.counts == (Counts{}) {
				return fmt.Errorf("uses of account %d: span %d", x.account, k)
			}
		}
	}
	for i, e := range s.evidence.vals {
		if e.ID != s.evidence.keys[i] || e.ID == 0 || e.Account == 0 || e.Account > s.lastAccount || e.Note == "" || !validText(e.Note, maxReason) || e.At.After(s.Now()) {
			return fmt.Errorf("evidence %d", e.ID)
		}
	}
	if s.evidence.len() > maxEvidence {
		return errors.New("too much evidence")
	}
	for i, x := range s.dismissed.vals {
		if x.source != s.dismissed.keys[i] || !s.sources.has(x.source) || x.at.After(s.Now()) {
			return fmt.Errorf("dismissal of source %d", x.source)
		}
	}
	return nil
}

// checkCases judges cases and what they mean for tenants: nobody leaves by a
// listed source, for who has no other waits.
func (s *State) checkCases() error {
	open := make(map[SourceID]bool)
	for i, c := range s.cases.vals {
		switch {
		case c.ID != s.cases.keys[i] || c.ID == 0 || c.Source == 0 || c.Source > s.lastSource || !c.Addr.IsValid():
			return fmt.Errorf("case %d: wrong id or source", c.ID)
		case c.Mode != AutomationOn && c.Mode != AutomationShadow || c.Raised.IsZero() || c.Raised.After(s.Now()) || c.Ended.After(s.Now()) || c.Seen.After(c.Raised):
			return fmt.Errorf("case %d: mode or times", c.ID)
		case c.Ended.IsZero() && (open[c.Source] || !s.sources.has(c.Source)):
			return fmt.Errorf("case %d: source %d has another, or is none", c.ID, c.Source)
		case c.Ended.IsZero() != (c.Why == "") || !slices.IsSortedFunc(c.Fates, compareFates):
			return fmt.Errorf("case %d: its end, or its fates", c.ID)
		}
		if c.Ended.IsZero() {
			open[c.Source] = true
		}
		for _, f := range c.Fates {
			if f.Kind < FateMove || f.Kind > FateHold || (f.To != Place{}) != (f.Kind == FateMove) || f.At.IsZero() {
				return fmt.Errorf("case %d: fate of tenant %d", c.ID, f.Tenant)
			}
		}
	}
	past := func(ts ...time.Time) bool {
		return !slices.ContainsFunc(ts, func(t time.Time) bool { return t.After(s.Now()) })
	}
	for i, p := range s.plights.vals {
		if p.Tenant != s.plights.keys[i] || !s.tenants.has(p.Tenant) || !past(p.Since, p.Moved) || p.Why != "" && p.Since.IsZero() {
			return fmt.Errorf("plight of tenant %d", p.Tenant)
		}
		for k, sp := range p.Spans {
			if !sp.Until.After(sp.From) || !past(sp.Until) || k > 0 && sp.From.Before(p.Spans[k-1].Until) {
				return fmt.Errorf("plight of tenant %d: span %d", p.Tenant, k)
			}
		}
	}
	for t := range s.tenants.all() {
		p := s.plights.get(t.ID)
		if t.Place() != (Place{}) && len(s.exits(t.ID, t.Place())) > 0 && !s.sends(t, t.Place()) && (p == nil || p.Since.IsZero()) {
			return fmt.Errorf("tenant %d: its source is listed and its mail does not wait", t.ID)
		}
	}
	return nil
}
