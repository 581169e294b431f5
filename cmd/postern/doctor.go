package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"postern/node/admin"
)

// doctorAtOnce is how many subjects are asked about at a time: as many as one
// node looks at.
const doctorAtOnce = 8

// diagnosis is what doctor found.
type diagnosis struct {
	Well    bool            `json:"well"`
	Wrong   int             `json:"wrong"`
	Unknown int             `json:"unknown"`
	Nodes   []string        `json:"nodes"` // that asked, each through its own resolvers
	Checked []admin.Checked `json:"checked"`
	Cluster []admin.Finding `json:"cluster,omitempty"` // of the nodes, and of the copies
	Enrol   []enrolling     `json:"enrol,omitempty"`   // sources with something to do at receivers
}

func (a *app) doctorCommand() *cobra.Command {
	var name, include string
	var all bool
	var machine examining
	c := a.verb("doctor", "Look whether machine, cluster and DNS are as they should be",
		`  postern doctor
  postern doctor --machine --config /etc/postern/postern.yaml \
      --source 192.0.2.10
  postern doctor --tenant acme
  postern doctor --json | jq '.checked[].findings[] | select(.state != "ok")'`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			what, err := c.Subjects(ctx, name)
			if err != nil {
				return err
			}
			d, err := a.diagnose(ctx, c, what, include)
			if err != nil {
				return err
			}
			if name == "" {
				if err := d.wholeCluster(ctx, c); err != nil {
					return err
				}
				d.Well = d.Wrong == 0 && d.Unknown == 0
			}
			if err := a.show(d, func() { a.diagnosis(d, all) }); err != nil || d.Well {
				return err
			}
			return errSilent
		})
	inner := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !machine.on {
			return inner(cmd, args)
		}
		return a.examine(cmd.Context(), machine, all)
	}
	machine.flags(c.Flags())
	c.Long = `With --machine, before or after a node is on it: the configuration, its ports,
certificates and their chain, the addresses, whether mail can leave by port
25, resolvers (of your own, neither public nor forwarding), the test points of
the DNS lists and their keys, the clock, the disk and how fast it syncs, the
limit of open files. What is doubtful does not count for the exit status.

Else check the DNS, through the nodes' resolvers: each source is on its node,
has one name forth and back, and that name is no access line's; each tenant's
domain takes mail, its SPF passes for every source of the tenant's home and
backup, its DKIM record is the key that signs, it has a DMARC record, and its
bounce subdomain, if it has one, is ready. Without --tenant the cluster is
looked at, too: nodes that are away, different programs, one copy of a tenant's
mail; and what is still to do at receivers for each source is named, which does
not count for the exit status (postern source enrol).

A source is checked by its own node, a domain by the node that is asked. What
could not be asked is "not known", never wrong. What postern tenant dns and
postern source dns print, makes all well.

Exit status: 0 all is well, 1 something is wrong or not known, 2 usage.`
	c.Flags().StringVar(&name, "tenant", "", "only this tenant's domains and the sources it may leave from")
	c.Flags().StringVar(&include, "include", "", "name of the provider's SPF record that tenants include")
	c.Flags().BoolVar(&all, "all", false, "also say what is well")
	return c
}

// diagnose asks about all subjects, some at a time, in their order.
func (a *app) diagnose(ctx context.Context, c *admin.Client, what admin.Subjects, include string) (diagnosis, error) {
	asks := make([]func(context.Context) (admin.Checked, error), 0, len(what.Sources)+len(what.Domains))
	about := make([]admin.Checked, 0, cap(asks))
	for _, addr := range what.Sources {
		about = append(about, admin.Checked{Source: addr})
		asks = append(asks, func(ctx context.Context) (admin.Checked, error) { return c.CheckSource(ctx, addr) })
	}
	for _, s := range what.Domains {
		about = append(about, admin.Checked{Tenant: s.Tenant, Domain: s.Domain})
		asks = append(asks, func(ctx context.Context) (admin.Checked, error) {
			return c.CheckDomain(ctx, s.Tenant, s.Domain, include)
		})
	}
	progress := a.progress(len(asks))
	gone := make([]bool, len(asks))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(doctorAtOnce)
	for i, ask := range asks {
		g.Go(func() error {
			v, err := ask(ctx)
			progress()
			var p *admin.Problem
			switch {
			case err == nil:
				about[i] = v
			case errors.As(err, &p) && p.Status == http.StatusNotFound:
				gone[i] = true // removed since it was listed
			case errors.As(err, &p) && p.Status < http.StatusInternalServerError:
				return err
			default:
				about[i].Findings = []admin.Finding{{State: admin.FindingUnknown, Text: "not checked: " + err.Error()}}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return diagnosis{}, err
	}
	d := diagnosis{Nodes: []string{}, Checked: []admin.Checked{}}
	for i, v := range about {
		if !gone[i] {
			d.add(v)
		}
	}
	slices.Sort(d.Nodes)
	d.Well = d.Wrong == 0 && d.Unknown == 0
	return d, nil
}

func (d *diagnosis) add(v admin.Checked) {
	d.Checked = append(d.Checked, v)
	if v.Node != "" && !slices.Contains(d.Nodes, v.Node) {
		d.Nodes = append(d.Nodes, v.Node)
	}
	for _, f := range v.Findings {
		d.count(f)
	}
}

func (d *diagnosis) count(f admin.Finding) {
	switch f.State {
	case admin.FindingWrong:
		d.Wrong++
	case admin.FindingUnknown:
		d.Unknown++
	}
}

// progress tells a terminal how many of n are done, each time it is called.
func (a *app) progress(n int) func() {
	if a.json || !isTerminal(a.err) {
		return func() {}
	}
	var mu sync.Mutex // guards done, and the line
	done := 0
	return func() {
		mu.Lock()
		defer mu.Unlock()
		if done++; done < n {
			fmt.Fprintf(a.err, "\rchecked %d of %d", done, n)
		} else {
			fmt.Fprint(a.err, "\r\x1b[K")
		}
	}
}

// diagnosis writes what is wrong first, then what is not known.
func (a *app) diagnosis(d diagnosis, all bool) {
	states := []string{admin.FindingWrong, admin.FindingUnknown}
	if all {
		states = append(states, admin.FindingOK)
	}
	heads := map[string]string{admin.FindingWrong: "WRONG", admin.FindingUnknown: "NOT KNOWN", admin.FindingOK: "Well"}
	for _, state := range states {
		head := false
		for _, f := range d.Cluster {
			if f.State != state {
				continue
			}
			if !head {
				a.say("%s", heads[state])
				head = true
			}
			a.paragraph("  ", f.Text)
		}
		for _, v := range d.Checked {
			for _, f := range v.Findings {
				if f.State != state {
					continue
				}
				if !head {
					a.say("%s", heads[state])
					head = true
				}
				text := f.Text
				if who := subject(v); !strings.Contains(text, who) {
					text = who + ": " + text
				}
				a.paragraph("  ", text)
				if len(f.Publish) > 0 {
					a.records("    ", f.Publish)
				}
			}
		}
	}
	a.enrolments(d.Enrol)
	a.paragraph("", d.sum())
}

func subject(v admin.Checked) string {
	if v.Source != "" {
		return v.Source
	}
	return v.Domain + " (" + v.Tenant + ")"
}

// sum is the last line: whether all is well, of what, and who looked.
func (d *diagnosis) sum() string {
	sources := 0
	for _, v := range d.Checked {
		if v.Source != "" {
			sources++
		}
	}
	text := some(sources, "source") + " and " + some(len(d.Checked)-sources, "domain") + " checked"
	if len(d.Nodes) > 0 {
		text += " by " + strings.Join(d.Nodes, ", ")
	}
	switch {
	case len(d.Checked) == 0 && d.Well:
		return "Nothing to check: there are no sources and no domains."
	case d.Well:
		return text + ": all is well."
	}
	return fmt.Sprintf("%s: %d wrong, %d not known.", text, d.Wrong, d.Unknown)
}
