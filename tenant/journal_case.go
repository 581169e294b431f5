package tenant

import (
	"fmt"
	"strings"
)

// fateActs are the fates of tenants as words of the journal.
var fateActs = map[FateKind]string{FateMove: "move", FateStay: "stay", FateWait: "wait", FateHold: "hold"}

// verdictSum is a verdict's arithmetic: "100 = zen.test 100 (2 listed, 1 blind)".
func verdictSum(v *ListingVerdict) string {
	var parts []string
	for _, t := range v.Terms {
		if t.Counts > 0 {
			parts = append(parts, inputSum(CaseInput{Zone: t.Zone, Listed: t.Listed, Clean: t.Clean, Blind: t.Blind, Counts: t.Counts}))
		}
	}
	return sumOf(v.Score, parts)
}

func sumOf(score int, parts []string) string {
	if len(parts) == 0 {
		return fmt.Sprint(score)
	}
	return fmt.Sprintf("%d = %s", score, strings.Join(parts, " + "))
}

func inputSum(in CaseInput) string {
	return fmt.Sprintf("%s %d (%d listed, %d clean, %d blind)", in.Zone, in.Counts, in.Listed, in.Clean, in.Blind)
}

// caseSum says why a case was opened, and what it may do.
func caseSum(c *Case) string {
	if c.Drill {
		return "a drill: nobody is held"
	}
	var parts []string
	for _, in := range c.Inputs {
		if in.Counts > 0 {
			parts = append(parts, inputSum(in))
		}
	}
	text := "sum " + sumOf(c.Score, parts)
	if c.Mode == AutomationShadow {
		text += "; shadow: nothing is done"
	}
	return text
}

// fateSum is a fate's reason, and where to.
func (d *draft) fateSum(c *Case, f Fate) string {
	text := f.Why
	if f.Kind == FateMove {
		text = "to " + d.placeText(f.To) + ": " + text
	}
	if c.Mode == AutomationShadow {
		text = "in shadow only: " + text
	}
	return text
}

// givenAway notes that a tenant gets another owner: after a loss, or handed over.
func (d *draft) givenAway(id ID, to NodeID) {
	t := d.tenants.get(id)
	e := Entry{Act: "take over", Subject: d.tenantText(id), Tenant: id, Why: fmt.Sprintf("%s owns it: %s is down", d.nodeText(to), d.nodeText(t.Owner))}
	if d.alive(t.Owner) {
		e.Act, e.Why = "moved", fmt.Sprintf("from %s to %s", d.nodeText(t.Owner), d.nodeText(to))
	}
	for _, c := range d.cases.vals {
		if f := c.fate(id); f != nil && f.Kind == FateMove && f.Owned.IsZero() && f.To.Node == to {
			e.Case = c.ID
		}
	}
	d.decided(e)
}
