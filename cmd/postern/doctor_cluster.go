package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/node/admin"
)

// lagging is how many log entries a node may be behind before it is worth a word.
const lagging = 10_000

// enrolling is a source with what is still to do at receivers.
type enrolling struct {
	Source string   `json:"source"`
	ToDo   []string `json:"to_do"`
}

// wholeCluster adds what is found of the cluster itself.
func (d *diagnosis) wholeCluster(ctx context.Context, c *admin.Client) error {
	nodes, err := every(ctx, c.Nodes)
	if err != nil {
		return err
	}
	tenants, err := every(ctx, c.Tenants)
	if err != nil {
		return err
	}
	sources, err := every(ctx, func(ctx context.Context, l admin.List) (admin.Page[admin.Source], error) {
		return c.Sources(ctx, "", l)
	})
	if err != nil {
		return err
	}
	domains, err := every(ctx, c.DomainListings)
	if err != nil {
		return err
	}
	kept, err := c.Retention(ctx)
	if err != nil {
		return err
	}
	erasures, err := c.Erasures(ctx)
	if err != nil {
		return err
	}
	d.Cluster = slices.Concat(nodeFindings(nodes), copyFindings(nodes, tenants), domainFindings(domains), keptFindings(kept, erasures.Items, time.Now()))
	for _, f := range d.Cluster {
		d.count(f)
	}
	for _, s := range sources {
		if open := openEnrolments(s.Enrolments); len(open) > 0 {
			d.Enrol = append(d.Enrol, enrolling{s.Addr, open})
		}
	}
	return nil
}

// every reads all pages of a list.
func every[T any](ctx context.Context, page func(context.Context, admin.List) (admin.Page[T], error)) (all []T, err error) {
	for l := (admin.List{}); ; {
		p, err := page(ctx, l)
		if err != nil {
			return nil, err
		}
		all = append(all, p.Items...)
		if p.Next == "" {
			return all, nil
		}
		l.After = p.Next
	}
}

// nodeFindings judges whether the nodes are there, can lose one, and run the same
// program.
func nodeFindings(nodes []admin.Node) (all []admin.Finding) {
	wrong := func(format string, args ...any) {
		all = append(all, admin.Finding{Check: "cluster", State: admin.FindingWrong, Text: fmt.Sprintf(format, args...)})
	}
	voters, leader := 0, false
	programs := map[uint32][]string{}
	for _, n := range nodes {
		switch {
		case n.State == "down" || n.State == "silent":
			wrong("node %s is %s: start it, or postern node replace %s", n.Name, n.State, n.Name)
		case n.Lag != nil && *n.Lag > lagging:
			wrong("node %s is %d log entries behind: look at its disk and its network", n.Name, *n.Lag)
		}
		if n.Role == "voter" || n.Role == "leader" {
			voters++
		}
		leader = leader || n.Role == "leader"
		if n.Version != 0 && n.State != "to join" {
			programs[n.Version] = append(programs[n.Version], n.Name)
		}
	}
	if len(programs) > 1 {
		var which []string
		for v, names := range programs {
			which = append(which, fmt.Sprintf("%d on %s", v, strings.Join(names, ", ")))
		}
		slices.Sort(which)
		wrong("the nodes run different programs (commands %s): finish the upgrade; until then what is new is refused", strings.Join(which, "; "))
	}
	switch {
	case !leader && len(nodes) > 1:
		wrong("nobody leads: fewer than a majority of the nodes hear each other")
	case voters == 2:
		wrong("two nodes decide, so the loss of either stops both: add a third (postern node token --witness, if it shall only vote)")
	}
	if len(all) == 0 {
		all = append(all, admin.Finding{Check: "cluster", State: admin.FindingOK, Text: some(len(nodes), "node") + ": all there, one program"})
	}
	return all
}

// domainFindings are the domains that count as listed; what a tenant's mail links to
// is that tenant's matter.
func domainFindings(domains []admin.DomainListing) (all []admin.Finding) {
	for _, x := range domains {
		if x.Listed != nil && x.Kind != admin.DomainLink {
			all = append(all, admin.Finding{Check: "domain lists", State: admin.FindingWrong,
				Text: fmt.Sprintf("%s is on lists of domains (%s): postern listing show %[1]s", x.Domain, domainWhose(x))})
		}
	}
	return all
}

// keptFindings are personal data that should be gone.
func keptFindings(kept admin.Retention, erasures []admin.Erasure, now time.Time) (all []admin.Finding) {
	wrong := func(format string, args ...any) {
		all = append(all, admin.Finding{Check: "personal data", State: admin.FindingWrong, Text: fmt.Sprintf(format, args...)})
	}
	for _, c := range kept.Classes {
		for _, n := range c.Nodes {
			if n.Late {
				wrong("node %s has %s of %s, and they are kept %s: its log says why", n.Node, c.Class, n.Oldest.UTC().Format(time.DateOnly), keptText(c.Days))
			}
		}
	}
	for _, x := range erasures {
		if x.Done == nil && now.Sub(x.At) > 24*time.Hour {
			wrong("tenant %s is not erased yet from %s: start it, or remove it if it is lost", x.Tenant, strings.Join(x.Left, ", "))
		}
	}
	return all
}

// copyFindings judges whether the loss of a node would lose mail, or leave a tenant
// without a place.
func copyFindings(nodes []admin.Node, tenants []admin.Tenant) (all []admin.Finding) {
	if len(nodes) < 2 {
		return nil // one copy is what its operator chose
	}
	for _, t := range tenants {
		wrong := func(format string, args ...any) {
			all = append(all, admin.Finding{Check: "copies", State: admin.FindingWrong, Text: "tenant " + t.Name + " " + fmt.Sprintf(format, args...)})
		}
		switch m := t.Mirror; {
		case m == nil || m.Node == "":
			wrong("has one copy of its mail: another node must be up to hold the second")
		case m.Known && m.BrokenMS > 0:
			wrong("cannot reach the holder of its second copy, %s: look at the network between the nodes", m.Node)
		case m.Known && !m.Synced:
			wrong("is being copied to %s: wait", m.Node)
		}
		if t.Unprepared != "" {
			wrong("could not move: %s", t.Unprepared)
		}
	}
	if len(all) == 0 {
		all = append(all, admin.Finding{Check: "copies", State: admin.FindingOK, Text: some(len(tenants), "tenant") + ": each has two copies and somewhere to go"})
	}
	return all
}

// openEnrolments names what is still to do or was applied for.
func openEnrolments(all []admin.Enrolment) (open []string) {
	for _, e := range all {
		switch e.State {
		case "to-do":
			open = append(open, e.Programme)
		case "applied":
			open = append(open, e.Programme+" (applied)")
		}
	}
	return open
}

// enrolments writes what is to do at receivers: one line for sources that lack the
// same.
func (a *app) enrolments(all []enrolling) {
	by := map[string][]string{}
	var order []string
	for _, e := range all {
		text := strings.Join(e.ToDo, ", ")
		if by[text] == nil {
			order = append(order, text)
		}
		by[text] = append(by[text], e.Source)
	}
	if len(order) == 0 {
		return
	}
	a.say("To do at receivers (postern source enrol ADDRESS PROGRAMME --state done)")
	for _, text := range order {
		a.paragraph("  ", strings.Join(by[text], ", ")+": "+text)
	}
}
