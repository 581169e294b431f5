package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/dnsbl"
	"postern/tenant"
)

func (a *app) zonesCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "zones", Short: "Print the built-in zones file, check one, or apply one",
		Long: `Print the built-in zones file: the DNS lists that Postern asks, and what their
answers mean. With --check, read a file of your own, and the keys it names, and
tell every fault at once.`,
		Example: "  postern zones > zones.yaml\n  postern zones --check zones.yaml",
		Args:    cobra.NoArgs,
	}
	c.RunE = func(*cobra.Command, []string) error {
		switch {
		case file != "":
			return a.checkZones(file)
		case a.json:
			b, err := dnsbl.DefaultBook()
			if err != nil {
				return err
			}
			return a.show(zoneViews(b), nil)
		}
		_, err := io.WriteString(a.out, dnsbl.DefaultText())
		return err
	}
	c.Flags().StringVar(&file, "check", "", "zones file to check")
	c.AddCommand(a.zonesApply())
	return c
}

type zoneView struct {
	Name   string         `json:"name"`
	Asks   []tenant.Space `json:"asks"`
	Heavy  bool           `json:"heavy"`
	Every  string         `json:"every"`
	Rate   int            `json:"rate"`
	Group  string         `json:"group,omitempty"`
	Delist string         `json:"delist,omitempty"`
	Keyed  bool           `json:"keyed"`
	Codes  []codeView     `json:"codes"`
}

type codeView struct {
	First  netip.Addr    `json:"first"`
	Last   netip.Addr    `json:"last"`
	Means  string        `json:"means"`
	Weight uint16        `json:"weight"`
	Policy tenant.Policy `json:"policy"`
}

func zoneViews(b *dnsbl.Book) (all []zoneView) {
	for _, z := range b.Zones {
		v := zoneView{z.Name, z.Spaces, z.Heavy, z.Every.String(), z.Rate, z.Group, z.Delist, z.Keyed(), nil}
		for _, c := range z.Codes {
			v.Codes = append(v.Codes, codeView(c))
		}
		all = append(all, v)
	}
	return all
}

func (a *app) checkZones(name string) error {
	b, err := dnsbl.ReadZones(name, a.env("CREDENTIALS_DIRECTORY"))
	faults := []dnsbl.Fault{}
	var bad *dnsbl.ZonesError
	if errors.As(err, &bad) {
		faults = bad.Faults
	} else if err != nil {
		return err
	}
	if err := a.show(struct {
		File   string        `json:"file"`
		OK     bool          `json:"ok"`
		Faults []dnsbl.Fault `json:"faults"`
	}{name, len(faults) == 0, faults}, func() {
		for _, f := range faults {
			place := name
			if f.Line > 0 {
				place = fmt.Sprintf("%s:%d", name, f.Line)
			}
			a.paragraph("", strings.TrimSuffix(place+": "+f.Key, ": "))
			a.paragraph("  ", f.Text)
			if f.Mend != "" {
				a.paragraph("  -> ", f.Mend)
			}
		}
		if len(faults) > 0 {
			a.say("%s to mend.", some(len(faults), "fault"))
			return
		}
		heavy := 0
		for i := range b.Zones {
			if b.Zones[i].Heavy {
				heavy++
			}
		}
		a.say("Fine: %s, %d of them heavy.", some(len(b.Zones), "zone"), heavy)
	}); err != nil {
		return err
	}
	if len(faults) > 0 {
		return errSilent
	}
	return nil
}
