package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) listingDismiss() *cobra.Command {
	var reason string
	c := a.verb("dismiss ADDRESS", "Say that a listing was none: who moved goes home",
		"  postern listing dismiss 192.0.2.10 --reason \"the list took it back\"",
		func(ctx context.Context, c *admin.Client, args []string) error {
			x, err := c.Dismiss(ctx, args[0], reason)
			if err != nil {
				return err
			}
			return a.show(x, func() { a.say("%s is used again; who moved goes home.", x.Source) })
		})
	c.Flags().StringVar(&reason, "reason", "", "why (required)")
	_ = c.MarkFlagRequired("reason") // the flag exists
	return c
}

func (a *app) listingAutomation() *cobra.Command {
	var set admin.Automation
	c := a.verb("automation [on|shadow|off]", "Say what may follow from a listing by itself, or show it", `  postern listing automation shadow
  postern listing automation --on-listing wait`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			if len(args) > 0 {
				set.Mode = args[0]
			}
			ask := c.Automation
			if set != (admin.Automation{}) {
				ask = func(ctx context.Context) (admin.Automation, error) { return c.SetAutomation(ctx, set) }
			}
			x, err := ask(ctx)
			if err != nil {
				return err
			}
			return a.show(x, func() {
				a.say("%s: %s", x.Mode, map[string]string{"on": "tenants leave a listed IP, and who caused it is held",
					"shadow": "what would follow is decided and shown, nothing is done", "off": "nothing follows from a listing"}[x.Mode])
				a.say("on listing %s: %s", x.OnListing, onListingText[x.OnListing])
			})
		})
	c.Flags().StringVar(&set.OnListing, "on-listing", "", "what becomes of tenants that have no setting of their own: move, wait or stay")
	c.Args = cobra.MaximumNArgs(1)
	return c
}

// onListingText says what becomes of a tenant whose pool has too few clean sources.
var onListingText = map[string]string{"move": "a tenant goes to its backup", "wait": "a tenant waits two hours, then goes on by what is clean at its place",
	"stay": "a tenant goes on by what is clean at its place"}

// tenantConduct says what differs for one tenant.
func (a *app) tenantConduct() *cobra.Command {
	var set admin.Conduct
	var c *cobra.Command
	c = a.verb("listing TENANT", "Say what differs for a tenant when something is listed", `  postern tenant listing bank --on-listing wait
  postern tenant listing bank --automation shadow
  postern tenant listing fresh --probation
  postern tenant listing bank --automation usual --on-listing usual`, func(ctx context.Context, cl *admin.Client, args []string) error {
		t, err := cl.Tenant(ctx, args[0])
		if err != nil {
			return err
		}
		var next admin.Conduct
		if t.Conduct != nil {
			next = *t.Conduct
		}
		for flag, to := range map[string]struct{ from, at *string }{"automation": {&set.Automation, &next.Automation}, "on-listing": {&set.OnListing, &next.OnListing}} {
			if c.Flags().Changed(flag) {
				if *to.at = *to.from; *to.from == "usual" {
					*to.at = ""
				}
			}
		}
		if c.Flags().Changed("probation") {
			next.Probation = set.Probation
		}
		if t, err = cl.SetConduct(ctx, args[0], next); err != nil {
			return err
		}
		return a.show(t, func() { a.tenant(t) })
	})
	c.Long = `Say what differs for a tenant when something is listed. Automation is on, shadow
(what would follow is shown, its mail goes on leaving) or off; the stricter of
the cluster's and the tenant's counts. On listing it moves to its backup, waits
two hours, or stays. On probation it leaves only by the sources of its pool that
are for that (postern source pool), where there are some. "usual" takes a
setting back.`
	f := c.Flags()
	f.StringVar(&set.Automation, "automation", "", "on, shadow, off, or usual")
	f.StringVar(&set.OnListing, "on-listing", "", "move, wait, stay, or usual")
	f.BoolVar(&set.Probation, "probation", false, "it has yet to be vetted; =false takes it back")
	return c
}

// conductText says what differs for a tenant; empty when nothing does.
func conductText(c *admin.Conduct) string {
	if c == nil {
		return ""
	}
	var parts []string
	if c.Automation != "" {
		parts = append(parts, "automation "+c.Automation)
	}
	if c.OnListing != "" {
		parts = append(parts, "on listing "+c.OnListing)
	}
	if c.Probation {
		parts = append(parts, "on probation")
	}
	return strings.Join(parts, ", ")
}

func (a *app) accountEvidence() *cobra.Command {
	var e admin.Evidence
	c := a.verb("evidence USERNAME", "Record what speaks against an account by name",
		"  postern account evidence news@shoes.example --note \"spam trap, ticket 4711\"",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if err := c.AddEvidence(ctx, args[0], e); err != nil {
				return err
			}
			return a.done("account", args[0], "has evidence against it")
		})
	c.Flags().StringVar(&e.Note, "note", "", "who said what (required)")
	c.Flags().StringVar(&e.Source, "source", "", "the IP it was said of; of any without it")
	_ = c.MarkFlagRequired("note") // the flag exists
	return c
}

// caseText writes what followed from a listing.
func (a *app) caseText(c *admin.Case) {
	head := fmt.Sprintf("case %d: %s listed", c.ID, c.Source)
	switch {
	case c.Drill:
		head = fmt.Sprintf("case %d: drill, %s listed as if", c.ID, c.Source)
	case c.Mode == "shadow":
		head += ", shadow only: nothing was done"
	}
	a.paragraph("", head)
	verdict := instantText(&c.Raised)
	if d := c.Raised.Sub(c.Seen); d > 0 {
		verdict += ", " + brief(d) + " after it was first seen"
	}
	ended := ""
	if c.Ended != nil {
		ended = instantText(c.Ended) + ": " + c.Why
	}
	a.fields("verdict", verdict, "ended", ended)
	for i, s := range c.Suspects {
		if i == 5 {
			a.paragraph("  ", some(len(c.Suspects)-i, "account")+" less suspicious")
			break
		}
		a.suspect(s, s.Account == c.Culprit)
	}
	for _, t := range c.Tenants {
		a.paragraph("  ", a.fateText(c, t))
	}
}

func (a *app) suspect(s admin.CaseSuspect, culprit bool) {
	text := fmt.Sprintf("%s/%s: %s", s.Tenant, s.Account, s.Sum)
	switch {
	case s.Held:
		text += ", HELD"
	case culprit:
		text += ", would be held"
	case s.Throttled > 0:
		text += fmt.Sprintf(", may send %d an hour now", s.Throttled)
	}
	var blind []string
	for _, t := range s.Terms {
		if t.NoData {
			blind = append(blind, t.Name)
		}
	}
	a.paragraph("  ", text)
	if culprit && len(blind) > 0 {
		a.paragraph("    ", "no data: "+strings.Join(blind, ", "))
	}
}

func (a *app) fateText(c *admin.Case, t admin.CaseTenant) string {
	text := t.Tenant + " " + t.Fate
	if t.To != nil {
		text += " to " + placeText(*t.To)
	}
	text += ": " + t.Why
	after := func(what string, at *time.Time) {
		if at != nil {
			text += fmt.Sprintf("; %s %s", what, brief(at.Sub(c.Raised)))
		}
	}
	after("last dot", t.LastDot)
	after("new owner", t.Owned)
	after("first delivery", t.FirstDelivery)
	return text
}

// brief is a length of time for people: after the verdict, or before it.
func brief(d time.Duration) string {
	if d < 0 {
		return brief(-d) + " before"
	}
	if d < time.Minute {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func (a *app) drillCommand() *cobra.Command {
	return family("drill", "Pretend an incident, to see that what follows works", a.drillListing())
}

func (a *app) drillListing() *cobra.Command {
	var only string
	var wait time.Duration
	c := a.verb("listing ADDRESS", "Pretend that an outbound IP is listed, then take it back", `  postern drill listing 192.0.2.10
  postern drill listing 192.0.2.10 --tenant bakery`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			if wait < time.Second || wait > 5*time.Minute {
				return usagef("--wait is 1s to 5m")
			}
			return a.drill(ctx, c, args[0], only, wait)
		})
	c.Long = `Pretend that an outbound IP is listed: what leaves by it stops, tenants are
handed over to their other place as in earnest, and send from there. Nobody is
held; who would be is shown. When all have moved, or --wait has passed, the
drill is ended and who moved goes home. If this command is cut off, the drill
ends by itself after ten minutes.`
	c.Flags().StringVar(&only, "tenant", "", "for this tenant alone; all others go on by the IP")
	c.Flags().DurationVar(&wait, "wait", 20*time.Second, "how long tenants may take to move, and to come home")
	return c
}

// drillPoll is how often a drill is looked at.
const drillPoll = 200 * time.Millisecond

// drillSends is how long a drill waits, once all have moved, for a first delivery
// of each: who has no mail just then has none to deliver.
const drillSends = 4 * time.Second

type drillReport struct {
	Case   admin.Case `json:"case"`
	Home   []string   `json:"home"`    // who moved and came home
	HomeMS int64      `json:"home_ms"` // after the drill's end
	Away   []string   `json:"away"`    // who moved and did not come home in time
	OK     bool       `json:"ok"`
}

func (a *app) drill(ctx context.Context, c *admin.Client, addr, only string, wait time.Duration) error {
	x, err := c.Drill(ctx, addr, only)
	if err != nil {
		return err
	}
	poll := func(done func() bool) error {
		tick := time.NewTicker(drillPoll)
		defer tick.Stop()
		for end := time.Now().Add(wait); !done() && time.Now().Before(end); {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	id, moved, since := x.ID, false, time.Time{}
	err = poll(func() bool {
		if l, err := c.ListingOf(ctx, addr); err == nil && l.Case != nil && l.Case.ID == id {
			x = *l.Case
		}
		if !moved && allMoved(&x) {
			moved, since = true, time.Now()
		}
		return moved && (allSent(&x) || time.Since(since) > drillSends)
	})
	// Whatever happened, the drill ends: also when somebody pressed ctrl-C.
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	ended := time.Now()
	y, dismissed := c.Dismiss(late, addr, "the drill is over")
	if err = errors.Join(err, dismissed); err != nil {
		return err
	}
	x.Ended, x.Why = y.Ended, y.Why
	r := drillReport{Case: x, Home: []string{}, Away: []string{}}
	err = poll(func() bool { return a.came(ctx, c, &r) })
	r.HomeMS, r.OK = time.Since(ended).Milliseconds(), moved && len(r.Away) == 0
	if err != nil {
		return err
	}
	if err := a.show(r, func() { a.drillText(&r) }); err != nil || r.OK {
		return err
	}
	return errSilent
}

// allMoved says whether who moves has been taken over, and nobody waits.
func allMoved(c *admin.Case) bool {
	for _, t := range c.Tenants {
		if t.Fate == "moves" && t.Owned == nil || t.Fate == "waits" {
			return false
		}
	}
	return true
}

// allSent says whether who moved has delivered something from there.
func allSent(c *admin.Case) bool {
	for _, t := range c.Tenants {
		if t.Fate == "moves" && t.FirstDelivery == nil {
			return false
		}
	}
	return true
}

// came notes who of those that moved is at home again.
func (a *app) came(ctx context.Context, c *admin.Client, r *drillReport) bool {
	r.Home, r.Away = []string{}, []string{}
	for _, t := range r.Case.Tenants {
		if t.Fate != "moves" {
			continue
		}
		if x, err := c.Tenant(ctx, t.Tenant); err == nil && x.Owner == r.Case.Node {
			r.Home = append(r.Home, t.Tenant)
		} else {
			r.Away = append(r.Away, t.Tenant)
		}
	}
	return len(r.Away) == 0
}

func (a *app) drillText(r *drillReport) {
	a.caseText(&r.Case)
	if len(r.Home) > 0 {
		a.paragraph("", fmt.Sprintf("home again %s after the end: %s", brief(time.Duration(r.HomeMS)*time.Millisecond), strings.Join(r.Home, ", ")))
	}
	if len(r.Away) > 0 {
		a.paragraph("", "NOT home yet: "+strings.Join(r.Away, ", "))
	}
	if r.OK {
		a.say("The drill went well: in earnest all of them would have sent on.")
	} else {
		a.say("NOT WELL: in earnest not all of them would have sent on.")
	}
}
