package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) listingDomains() *cobra.Command {
	var l listing
	return l.flags(a.verb("domains", "List the domains that a DNS list has: ours, senders', in links", "  postern listing domains\n  postern listing show relay.example",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			p, err := pages(ctx, &l, c.DomainListings)
			if err != nil {
				return err
			}
			return a.show(p, func() {
				if len(p.Items) == 0 {
					a.say("No domain is listed, as far as nodes were told.")
					return
				}
				t := newTable("DOMAIN", "KIND", "WHOSE~", "STANDS", "BY~", "SINCE")
				for _, x := range p.Items {
					t.row(x.Domain, x.Kind, domainWhose(x), domainStanding(x), domainZones(x), instantText(x.Listed))
				}
				a.say("%s", strings.TrimSuffix(t.String(), "\n"))
				a.more(p.Next)
			})
		}))
}

func domainWhose(x admin.DomainListing) string {
	all := x.Tenants
	if x.Relay {
		all = append([]string{"ours"}, all...)
	}
	if x.Kind == admin.DomainLink {
		all = x.Linkers
	}
	return strings.Join(all, ", ")
}

func domainStanding(x admin.DomainListing) string {
	switch {
	case x.Points > 0:
		return "LISTED"
	case x.Listed != nil:
		return "LISTED, not seen now"
	case !x.Known:
		return "not known"
	}
	for _, z := range x.Zones {
		if z.Listed > 0 {
			return "does not count"
		}
	}
	return "clean"
}

// domainZones are those that any node was told list it.
func domainZones(x admin.DomainListing) string {
	var all []string
	for _, z := range x.Zones {
		if z.Listed > 0 {
			all = append(all, z.Zone)
		}
	}
	return strings.Join(all, ", ")
}

func (a *app) domainText(x admin.DomainListing) {
	whose, against := domainWhose(x), "sends as it"
	if whose != "" {
		whose = " (" + whose + ")"
	}
	if x.Kind == admin.DomainLink {
		against = "links to it"
	}
	a.paragraph("", fmt.Sprintf("%s%s: %s, %s against who %s", x.Domain, whose, domainStanding(x), some(x.Points, "point"), against))
	if len(x.Linkers) > 0 && x.Kind != admin.DomainLink {
		a.paragraph("  ", "also in links of "+strings.Join(x.Linkers, ", "))
	}
	a.fields("listed since", instantOr(x.Listed))
	for _, z := range x.Zones {
		a.paragraph("  ", fmt.Sprintf("%s: %s; %d listed, %d clean, %d not known", z.Zone, z.State, z.Listed, z.Clean, z.Blind))
		for _, s := range z.Answers {
			a.paragraph("    ", fmt.Sprintf("%s (since %s)", answerText(s), instantText(s.Since)))
		}
		if z.Delist != "" {
			a.say("    -> %s", clean(z.Delist))
		}
	}
	if len(x.Zones) == 0 {
		a.paragraph("  ", "no list of domains is asked: postern zones apply")
	}
}
