package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/tenant"
)

// Incident writes the answer to whoever reported the listing of a case, and what
// the operator should do next. The answer names no tenant and no account; a
// drill has none.
func Incident(st *tenant.State, c *tenant.Case) (answer string, next []string) {
	if !c.Drill {
		answer = reply(st, c)
	}
	return answer, steps(st, c)
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// zonesOf names the zones that count in a case.
func zonesOf(c *tenant.Case) (names []string) {
	for _, in := range c.Inputs {
		if in.Counts > 0 && in.Zone != tenant.InputRefusals {
			names = append(names, in.Zone)
		}
	}
	return names
}

// held is the account that a case holds, and since when.
func held(st *tenant.State, c *tenant.Case) (since time.Time, ok bool) {
	for e := range st.Journal() {
		if e.Case == c.ID && e.Act == "hold" {
			return e.At, true
		}
	}
	ok = slices.ContainsFunc(c.Suspects, func(x tenant.Suspect) bool { return x.Held })
	return c.Raised, ok
}

// reply is the answer to an abuse desk or the operator of a list.
func reply(st *tenant.State, c *tenant.Case) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("Thank you for your report about %s.", c.Addr)
	say("")
	if zones := zonesOf(c); len(zones) > 0 {
		say("Our monitoring found the address listed by %s at %s.", strings.Join(zones, ", "), clock(c.Raised))
	} else {
		say("We have looked into it since %s.", clock(c.Raised))
	}
	if c.Mode == tenant.AutomationOn {
		var last time.Time
		for _, f := range c.Fates {
			if f.LastDot.After(last) {
				last = f.LastDot
			}
		}
		switch {
		case !last.IsZero():
			say("We stopped sending from it; the last message left at %s.", clock(last))
		default:
			say("We stopped sending from it at once.")
		}
	}
	if since, ok := held(st, c); ok {
		say("The sender that caused it was found and has been blocked since %s.", clock(since))
		say("It stays blocked until a person has settled the matter with it.")
	} else if c.Dismissed {
		say("We examined the matter and found no abuse: %s.", c.Why)
	} else {
		say("We are examining which sender caused it; those that may have are stopped.")
		say("The full headers, or the time, of one message would let us name it within minutes.")
	}
	if !c.Ended.IsZero() && !c.Dismissed {
		say("The listing was over at %s.", clock(c.Ended))
	} else if c.Ended.IsZero() {
		say("We ask you to remove the address from your list, since the cause has ended or is being ended.")
	}
	return b.String()
}

// steps is what the operator should do next.
func steps(st *tenant.State, c *tenant.Case) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if c.Mode == tenant.AutomationShadow && c.Ended.IsZero() {
		say("nothing was done, for automation only shadows: postern listing automation on")
	}
	for _, x := range c.Suspects {
		if a := st.Account(x.Account); x.Held && a != nil && a.Held != "" {
			say("%s is held: hear its owner; then postern account release %s, or close it", a.Username, a.Username)
		}
	}
	if c.Ended.IsZero() && c.Culprit == 0 && !c.Drill {
		say("nobody is surely the cause: what a report names, tell with postern account evidence USERNAME --note TEXT")
	}
	for _, f := range c.Fates {
		t := st.Tenant(f.Tenant)
		switch {
		case t == nil || !c.Ended.IsZero():
		case f.Kind == tenant.FateWait && !f.Until.IsZero():
			say("%s waits until %s at the latest: %s", t.Name, clock(f.Until), f.Why)
		case f.Kind == tenant.FateWait:
			say("%s waits: %s; postern tenant place gives it another backup", t.Name, f.Why)
		case f.Kind == tenant.FateHold:
			say("%s is held: %s; postern tenant release %s when it is settled", t.Name, f.Why, t.Name)
		}
	}
	switch {
	case c.Drill && c.Ended.IsZero():
		say("end the drill: postern listing dismiss %s --reason TEXT", c.Addr)
	case c.Drill:
	case c.Ended.IsZero():
		for _, zone := range zonesOf(c) {
			if z := zoneOf(st, zone); z != nil && z.Delist != "" {
				say("when nothing leaves by it any more, ask %s: %s", zone, strings.ReplaceAll(z.Delist, "{}", c.Addr.String()))
			}
		}
		say("if the list is wrong: postern listing dismiss %s --reason TEXT", c.Addr)
	case c.Ended.Add(72 * time.Hour).After(st.Now()):
		say("the source is used again; a second listing within three days is taken more seriously")
	}
	return all
}

func zoneOf(st *tenant.State, name string) *tenant.Zone {
	if l := st.Lists(); l != nil {
		return l.Zone(name)
	}
	return nil
}
