package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) tenantCommand() *cobra.Command {
	c := family("tenant", "Customers: who they are, where they leave from, whether they may",
		a.tenantAdd(), a.tenantList(), a.tenantShow(), a.tenantRemove(),
		a.tenantStop("hold", "Hold a tenant: its mail waits, its submissions get 550", "postern tenant hold acme --reason 'spam report 4711'", (*admin.Client).HoldTenant),
		a.tenantGo("release", "Let a held tenant send again", (*admin.Client).HoldTenant),
		a.tenantStop("pause", "Pause a tenant: it goes on accepting, but nothing is sent", "postern tenant pause acme --reason 'moving its source'", (*admin.Client).PauseTenant),
		a.tenantSuspend(), a.tenantResume(),
		a.tenantPlace(), a.tenantConduct(), a.tenantMove(), a.tenantToken(), a.tenantDNS(), a.domainCommand(), a.tenantCustomer(), a.tenantPurge(), a.tenantClose(), a.tenantBan(), a.tenantErase(), a.tenantData())
	return c
}

// places are the flags that name home and backup.
type places struct{ home, backup string }

func (p *places) flags(c *cobra.Command, without string) {
	c.Flags().StringVar(&p.home, "home", "", "NODE for its pool, or NODE/ADDRESS for a dedicated source ("+without+")")
	c.Flags().StringVar(&p.backup, "backup", "", "the same for the backup; none when only --home is given")
}

func (p *places) read() (home admin.Place, backup *admin.Place) {
	if p.backup != "" {
		b := readPlace(p.backup)
		backup = &b
	}
	return readPlace(p.home), backup
}

func readPlace(s string) admin.Place {
	node, source, _ := strings.Cut(s, "/")
	return admin.Place{Node: node, Source: source}
}

func placeText(p admin.Place) string {
	if p.Source == "" {
		return p.Node + " pool"
	}
	return p.Node + "/" + p.Source
}

func (a *app) tenantAdd() *cobra.Command {
	var p places
	var host, customer string
	var over bool
	c := a.verb("add TENANT", "Register a tenant", `  postern tenant add acme --hostname acme.relay.example --home n1/192.0.2.10
  postern tenant add blue --hostname blue.relay.example --home n1 --backup n2
  postern tenant add cyan --hostname cyan.relay.example`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			overriding(c, over)
			n := admin.NewTenant{Name: args[0], Hostname: host, Customer: customer}
			switch {
			case p.home != "":
				n.Home, n.Backup = p.read()
			case p.backup != "":
				return usagef("--backup goes with --home; without both, places are chosen")
			}
			t, err := c.AddTenant(ctx, n)
			if err != nil {
				return err
			}
			return a.show(t, func() {
				backup := ""
				if t.Backup != nil {
					backup = ", backup " + placeText(*t.Backup)
				}
				a.say("tenant %s added; it leaves by %s%s", t.Name, placeText(t.Home), backup)
				a.say("next: postern tenant domain add %s DOMAIN", t.Name)
				a.say("      postern account add ADDRESS --tenant %s", t.Name)
			})
		})
	p.flags(c, "absent: both are chosen where there is most room")
	c.Flags().StringVar(&host, "hostname", "", "the tenant's own name for the relay, shown in its trace headers (required)")
	_ = c.MarkFlagRequired("hostname") // the flag exists
	c.Flags().StringVar(&customer, "customer", "", "your own number of the customer; a ban knows it again")
	return overrideFlag(c, &over)
}

func (a *app) tenantList() *cobra.Command {
	var l listing
	return l.flags(a.verb("list", "List the tenants", "  postern tenant list\n  postern tenant list --json | jq '.items[].name'",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			p, err := pages(ctx, &l, c.Tenants)
			if err != nil {
				return err
			}
			return a.show(p, func() { a.tenants(p) })
		}))
}

func (a *app) tenants(p admin.Page[admin.Tenant]) {
	if len(p.Items) == 0 {
		a.say("No tenants. postern tenant add makes one.")
		return
	}
	t := newTable("TENANT~", "STATE", "OWNER~", "HOME~", "BACKUP~", "ACCOUNTS>", "QUEUED>")
	var stopped, unprepared []admin.Tenant
	for _, x := range p.Items {
		backup, queued := "-", "-"
		if x.Backup != nil {
			backup = placeText(*x.Backup)
		}
		if x.Queued != nil {
			queued = count(*x.Queued)
		}
		state := x.State
		if x.Suspended != nil {
			state = "suspended"
		}
		t.row(x.Name, state, x.Owner, placeText(x.Home), backup, count(x.Accounts), queued)
		if x.State != "sending" {
			stopped = append(stopped, x)
		}
		if x.Unprepared != "" && x.Waits == "" { // why it waits says it
			unprepared = append(unprepared, x)
		}
	}
	a.say("%s", strings.TrimSuffix(t.String(), "\n"))
	a.more(p.Next)
	if len(stopped) == 0 {
		a.say("%s, all sending.", some(len(p.Items), "tenant"))
	} else {
		a.say("%s, %d not sending:", some(len(p.Items), "tenant"), len(stopped))
	}
	for _, x := range stopped {
		a.note("  ", x.Name+" is "+stateText(x.State, first(x.Held, x.Paused, x.Waits)), x.Mend)
	}
	if len(unprepared) > 0 {
		a.say("%s not armed: a listing would make their mail wait:", count(len(unprepared)))
	}
	for _, x := range unprepared {
		a.note("  ", x.Name+": "+x.Unprepared, "postern doctor --tenant "+x.Name)
	}
}

func (a *app) tenantShow() *cobra.Command {
	return a.verb("show TENANT", "Show one tenant", "  postern tenant show acme",
		func(ctx context.Context, c *admin.Client, args []string) error {
			t, err := c.Tenant(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(t, func() { a.tenant(t) })
		})
}

func (a *app) tenant(t admin.Tenant) {
	backup, queued, token := "none", "its owner gives no answer", "none"
	if t.Backup != nil {
		backup = placeText(*t.Backup)
	}
	if t.Queued != nil {
		queued = some(*t.Queued, "recipient") + " waiting"
	}
	if t.InDoubt != nil && *t.InDoubt > 0 {
		queued += ", " + count(*t.InDoubt) + " in doubt since a crash"
	}
	if t.HasToken {
		token = "set"
	}
	moving := ""
	if t.To != "" {
		moving = "to " + t.To + "; back: postern tenant move " + t.Name + " --cancel"
	}
	a.fields("tenant", t.Name, "state", stateText(t.State, first(t.Held, t.Paused, t.Waits)), "to mend", t.Mend, "customer", t.Customer, "hostname", t.Hostname,
		"home", placeText(t.Home), "backup", backup, "owner", t.Owner+", epoch "+count(t.Epoch), "moving", moving, "armed", armedText(t), "when listed", conductText(t.Conduct), "DNS", dnsText(t), "second copy", mirrorText(t.Mirror), "queue", queued,
		"accounts", count(t.Accounts), "domains", count(t.Domains), "API token", token)
	switch {
	case t.Domains == 0:
		a.say("It cannot send yet: postern tenant domain add %s DOMAIN", t.Name)
	case t.Accounts == 0:
		a.say("It cannot send yet: postern account add ADDRESS --tenant %s", t.Name)
	}
}

// armedText says whether the backup would work now.
func armedText(t admin.Tenant) string {
	if len(t.NotArmed) == 0 {
		return "yes"
	}
	return "NO: " + strings.Join(t.NotArmed, "; ")
}

// dnsText says what the node last saw wrong in the DNS; empty when nothing was.
func dnsText(t admin.Tenant) string {
	if len(t.DNS) == 0 {
		return ""
	}
	return "WRONG: " + strings.Join(t.DNS, "; ") + "; to mend it: postern doctor --tenant " + t.Name
}

// mirrorText says where the second copy is, and how it stands.
func mirrorText(m *admin.Mirror) string {
	switch {
	case m == nil:
		return ""
	case m.Node == "":
		return "none: one copy"
	case !m.Known:
		return m.Node
	case m.BrokenMS > 0:
		return m.Node + ", out of reach for " + span(millis(m.BrokenMS))
	case !m.Synced:
		return m.Node + ", " + count(m.Left) + " older messages to copy"
	}
	return m.Node + ", complete"
}

func stateText(state, reason string) string {
	if reason != "" {
		state += ": " + reason
	}
	return state
}

func (a *app) tenantRemove() *cobra.Command {
	return a.verb("remove TENANT", "Take away a tenant with its accounts and domains", "  postern tenant remove acme",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if err := c.RemoveTenant(ctx, args[0]); err != nil {
				return err
			}
			return a.done("tenant", args[0], "removed")
		})
}

// done is the answer of a verb that has nothing else to show.
func (a *app) done(kind, name, did string) error {
	return a.show(map[string]string{kind: name, "done": did}, func() { a.say("%s %s %s", kind, clean(name), did) })
}

func (a *app) tenantStop(verb, short, example string, do func(*admin.Client, context.Context, string, string) (admin.Tenant, error)) *cobra.Command {
	var reason string
	c := a.verb(verb+" TENANT", short, "  "+example,
		func(ctx context.Context, c *admin.Client, args []string) error {
			if reason == "" {
				return usagef("--reason is empty")
			}
			t, err := do(c, ctx, args[0], reason)
			if err != nil {
				return err
			}
			return a.show(t, func() { a.note("", "tenant "+t.Name+" is "+t.State, "later: "+t.Mend) })
		})
	c.Flags().StringVar(&reason, "reason", "", "why; the tenant's screens show it (required)")
	_ = c.MarkFlagRequired("reason") // the flag exists
	return c
}

func (a *app) tenantGo(verb, short string, do func(*admin.Client, context.Context, string, string) (admin.Tenant, error)) *cobra.Command {
	return a.verb(verb+" TENANT", short, "  postern tenant "+verb+" acme",
		func(ctx context.Context, c *admin.Client, args []string) error {
			t, err := do(c, ctx, args[0], "")
			if err != nil {
				return err
			}
			return a.show(t, func() {
				a.note("", "tenant "+t.Name+" is "+stateText(t.State, first(t.Held, t.Paused)), t.Mend)
			})
		})
}

func (a *app) tenantPlace() *cobra.Command {
	var p places
	c := a.verb("place TENANT", "Change home and backup", "  postern tenant place acme --home n1/192.0.2.11 --backup n2",
		func(ctx context.Context, c *admin.Client, args []string) error {
			home, backup := p.read()
			t, err := c.PlaceTenant(ctx, args[0], admin.SetPlace{Home: home, Backup: backup})
			if err != nil {
				return err
			}
			return a.show(t, func() { a.tenant(t) })
		})
	p.flags(c, "required")
	_ = c.MarkFlagRequired("home") // the flag exists
	return c
}

func (a *app) tenantMove() *cobra.Command {
	var to string
	var back bool
	c := a.verb("move TENANT", "Hand a tenant over to its other place, with its queue", `  postern tenant move acme --to n2
  postern tenant move acme --cancel`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			if (to == "") != back {
				return usagef("give either --to NODE or --cancel")
			}
			t, err := c.MoveTenant(ctx, args[0], to)
			if err != nil {
				return err
			}
			return a.show(t, func() {
				switch {
				case t.To != "":
					a.say("tenant %s is being handed over from %s to %s: nothing is sent twice", t.Name, t.Owner, t.To)
					a.say("postern tenant show %s tells when it is done", t.Name)
				case back:
					a.say("tenant %s stays at %s", t.Name, t.Owner)
				default:
					a.say("tenant %s is at %s", t.Name, t.Owner)
				}
			})
		})
	c.Flags().StringVar(&to, "to", "", "node that takes it")
	c.Flags().BoolVar(&back, "cancel", false, "take back a move that has not happened yet")
	return c
}

func (a *app) tenantToken() *cobra.Command {
	var remove bool
	c := a.verb("token TENANT", "Make the tenant's API token, shown once", `  postern tenant token acme
  postern tenant token acme --remove`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			if remove {
				if err := c.RemoveToken(ctx, args[0]); err != nil {
					return err
				}
				return a.done("tenant", args[0], "has no API token any more")
			}
			t, err := c.MakeToken(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(t, func() {
				a.fields("tenant", t.Tenant, "token", t.Token)
				a.say("Shown once: it is not kept. The token before it ended.")
			})
		})
	c.Flags().BoolVar(&remove, "remove", false, "end the token instead")
	return c
}
