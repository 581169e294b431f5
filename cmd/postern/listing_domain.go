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
	return l.flags(a.verb("domains", "List the domains that a DNS list has, ours and those of senders", "  postern listing domains\n  postern listing show relay.example",
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
				t := newTable("DOMAIN", "WHOSE~", "STANDS", "BY~", "SINCE")
				for _, x := range p.Items {
					t.row(x.Domain, domainWhose(x), domainStanding(x), domainZones(x), instantText(x.Listed))
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
	whose := domainWhose(x)
	if whose != "" {
		whose = " (" + whose + ")"
	}
	a.paragraph("", fmt.Sprintf("%s%s: %s, %s against who sends as it", x.Domain, whose, domainStanding(x), some(x.Points, "point")))
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
