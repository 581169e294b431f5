package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/node/admin"
	"postern/node/dnsbl"
)

func (a *app) listingCommand() *cobra.Command {
	return family("listing", "What DNS lists say of the outbound IPs, and what follows", a.listingList(), a.listingShow(), a.listingDomains(), a.listingDismiss(), a.listingAutomation(), a.listingDelist())
}

func (a *app) listingList() *cobra.Command {
	var l listing
	return l.flags(a.verb("list", "Say how each outbound IP stands with the DNS lists", "  postern listing list",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			p, err := pages(ctx, &l, c.Listings)
			if err != nil {
				return err
			}
			return a.show(p, func() {
				if len(p.Items) == 0 {
					a.say("No sources.")
					return
				}
				t := newTable("SOURCE", "NODE~", "STANDS", "SUM>", "HEAVY ZONES", "SINCE")
				for _, x := range p.Items {
					t.row(x.Addr, x.Node, standing(x), count(x.Score), fmt.Sprintf("%d of %d usable", x.Usable, x.Heavy), instantText(x.Since))
				}
				a.say("%s", strings.TrimSuffix(t.String(), "\n"))
				a.more(p.Next)
			})
		}))
}

func standing(x admin.Listing) string {
	switch {
	case x.Listed != nil && x.Level != "move":
		return "LISTED, now " + x.Level
	case x.Level == "move":
		return "LISTED"
	case x.Level == "unheard":
		return "not asked"
	}
	return x.Level
}

func instantText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

func (a *app) listingShow() *cobra.Command {
	return a.verb("show ADDRESS", "Show how an outbound IP, or a domain, stands, with every answer", "  postern listing show 192.0.2.10\n  postern listing show relay.example",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if _, err := netip.ParseAddr(args[0]); err != nil && strings.Contains(args[0], ".") {
				x, err := c.DomainListingOf(ctx, args[0])
				if err != nil {
					return err
				}
				return a.show(x, func() { a.domainText(x) })
			}
			x, err := c.ListingOf(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(x, func() { a.listingText(x) })
		})
}

func (a *app) listingText(x admin.ListingDetail) {
	a.paragraph("", fmt.Sprintf("%s on %s: %s, sum %d of 100", x.Addr, x.Node, standing(x.Listing), x.Score))
	a.fields("since", instantText(x.Since), "listed since", instantOr(x.Listed), "calm since", instantOr(x.Calm),
		"heavy zones", fmt.Sprintf("%d of %d usable", x.Usable, x.Heavy))
	for _, n := range x.Needs {
		a.paragraph("  ", "tenants do not move: "+n)
	}
	for _, z := range x.Zones {
		a.paragraph("  ", fmt.Sprintf("%s: %s; %d listed, %d clean, %d not known; counts %d", z.Zone, z.State, z.Listed, z.Clean, z.Blind, z.Counts))
		for _, s := range z.Answers {
			a.paragraph("    ", fmt.Sprintf("%s (%s since %s)", answerText(s), some(s.Rounds, "round"), instantText(s.Since)))
		}
		if z.Delist != "" {
			a.say("    -> %s", clean(z.Delist))
		}
		a.delistText(z.Delisting)
	}
	for _, w := range x.Written {
		a.paragraph("  ", fmt.Sprintf("its operator wrote about it, signed: %s, %s, last %s", w.Zone, some(int(w.Count), "notice"), instantText(&w.Last)))
	}
	if x.Refusals != nil {
		a.paragraph("  ", refusalsText(x.Refusals))
	}
	if x.Case != nil {
		a.say("")
		a.caseText(x.Case)
	}
	if x.Incident != nil {
		a.incidentText(x.Incident)
	}
}

// answerText is what one node was told.
func answerText(s admin.ListingAnswer) string {
	text := s.Node + ": " + s.Says
	if len(s.Codes) > 0 {
		text += " " + strings.Join(s.Codes, " ")
	}
	for _, m := range append(s.Means, s.Why) {
		if m != "" {
			text += ", " + m
		}
	}
	return text
}

// refusalsText is the line of what was refused while delivering.
func refusalsText(r *admin.Refusals) string {
	s := fmt.Sprintf("refused while delivering: %d of %d attempts, %s", r.Refused, r.Attempts, some(int(r.Messages), "message"))
	var by []string
	for _, p := range r.Providers {
		by = append(by, p.Provider)
	}
	if len(by) > 0 {
		s += ", by " + strings.Join(by, ", ")
	}
	if len(r.Named) > 0 {
		s += "; named " + strings.Join(r.Named, ", ")
	}
	return s + fmt.Sprintf("; counts %d", r.Counts)
}

func instantOr(t *time.Time) string {
	if t == nil {
		return ""
	}
	return instantText(t)
}

// zonesApply gives the cluster a zones file.
func (a *app) zonesApply() *cobra.Command {
	var round string
	c := &cobra.Command{
		Use: "apply [FILE]", Short: "Make the cluster believe the DNS lists of a zones file",
		Long: `Make the cluster believe the DNS lists of a zones file, instead of those it
believes now; without FILE, the built-in ones. Every node then asks them about
every source of the cluster, each through its own resolver. Keys are not sent:
each node reads those of keyed zones from its own files, relative to its
state directory, or from its systemd credentials.`,
		Example: "  postern zones apply\n  postern zones apply zones.yaml",
		Args:    cobra.MaximumNArgs(1),
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		text := dnsbl.DefaultText()
		if len(args) > 0 {
			b, err := readZonesText(args[0])
			if err != nil {
				return err
			}
			text = b
		}
		cl, err := a.client()
		if err != nil {
			return err
		}
		defer cl.Close()
		l, err := cl.SetLists(cmd.Context(), admin.SetLists{Zones: text, Round: round})
		if err != nil {
			return err
		}
		return a.show(l, func() {
			heavy := 0
			for _, z := range l.Zones {
				if z.Heavy {
					heavy++
				}
			}
			a.say("The cluster asks %s, %d of them heavy.", some(len(l.Zones), "zone"), heavy)
		})
	}
	c.Flags().StringVar(&round, "round", "", "for trials: a round takes this long, such as 2s, instead of 2 minutes, and every other time changes with it")
	return c
}

// maxZonesText is a little more than the server takes.
const maxZonesText = 257 << 10

func readZonesText(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("read zones: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxZonesText))
	if err != nil {
		return "", fmt.Errorf("read zones: %w", err)
	}
	return string(b), nil
}
