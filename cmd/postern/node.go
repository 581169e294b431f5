package main

import (
	"context"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) nodeCommand() *cobra.Command {
	return family("node", "Machines of the cluster, their condition, and static routes",
		a.nodeAdd(), a.nodeList(), a.nodeShow(), a.nodeStatus(), a.nodeToken(), a.nodeTokens(), a.nodeMaintenance(), a.nodeReload(), a.nodeLogLevel(), a.nodeDrain(), a.nodeUndrain(), a.nodeRemove(), a.nodeReplace(),
		family("route", "Recipient domains that go to a fixed host instead of their MX", a.routeSet(), a.routeList(), a.routeRemove()))
}

func (a *app) nodeAdd() *cobra.Command {
	return a.verb("add NODE", "Register a node", "  postern node add n2",
		func(ctx context.Context, c *admin.Client, args []string) error {
			n, err := c.AddNode(ctx, admin.NewNode{Name: args[0]})
			if err != nil {
				return err
			}
			return a.show(n, func() {
				a.say("node %s added", n.Name)
				a.say("next: postern source add ADDRESS --node %s --ehlo NAME", n.Name)
			})
		})
}

func (a *app) nodeList() *cobra.Command {
	var l listing
	return l.flags(a.verb("list", "List the nodes", "  postern node list",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			p, err := pages(ctx, &l, c.Nodes)
			if err != nil {
				return err
			}
			return a.show(p, func() {
				t := newTable("NODE~", "ROLE", "LEASE", "STATE", "LAG>", "RTT>", "TENANTS>", "SOURCES>", "")
				for _, n := range p.Items {
					mark := ""
					if n.Self {
						mark = "asked"
					}
					t.row(append(nodeRow(n), mark)...)
				}
				a.say("%s", strings.TrimSuffix(t.String(), "\n"))
				a.more(p.Next)
				for _, n := range p.Items {
					if text := nodeTrouble(n); text != "" {
						a.note("", text, nodeMend(n))
					}
				}
			})
		}))
}

// nodeTrouble is what a node's state means; "" when it is fine.
func nodeTrouble(n admin.Node) string {
	switch n.State {
	case "down":
		return n.Name + " is down since " + at(*n.Down)
	case "silent":
		return n.Name + " gives no sign of life"
	case "draining":
		return n.Name + " is being drained: " + some(n.Tenants, "tenant") + " left"
	case "maintenance":
		return n.Name + " is in maintenance until " + at(*n.Away) + ": its tenants stay"
	case "to join":
		return n.Name + " has to join again"
	}
	return ""
}

func nodeMend(n admin.Node) string {
	switch n.State {
	case "down", "silent":
		return "start it; if it is lost: postern node replace " + n.Name
	case "draining":
		return "when none is left: postern node remove " + n.Name
	case "maintenance":
		return "postern node maintenance " + n.Name + " --end"
	case "to join":
		return "on it: postern join --again"
	}
	return ""
}

func (a *app) nodeShow() *cobra.Command {
	return a.verb("show NODE", "Show one node", "  postern node show n2",
		func(ctx context.Context, c *admin.Client, args []string) error {
			n, err := c.Node(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(n, func() { a.node(n) })
		})
}

func (a *app) node(n admin.Node) {
	row := nodeRow(n)
	a.fields("node", n.Name, "state", n.State, "", nodeTrouble(n), "to mend", nodeMend(n), "role", row[1], "lease", n.Lease, "peer port", n.Peer,
		"behind", lagText(n), "round trip", strings.TrimSuffix(row[5], "-"), "tenants", row[6]+" of 20", "sources", row[7], "commands", "version "+count(uint64(n.Version)))
}

func lagText(n admin.Node) string {
	if n.Lag == nil {
		return ""
	}
	return some(int(*n.Lag), "log entry")
}

func (a *app) nodeStatus() *cobra.Command {
	return a.verb("status", "Say whether the node is fine, and if not, what to do", "  postern node status || echo not ready",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			s, err := c.Status(ctx)
			if err != nil {
				return err
			}
			if err := a.show(s, func() { a.status(s) }); err != nil {
				return err
			}
			if !s.Ready {
				return errSilent
			}
			return nil
		})
}

func (a *app) status(s admin.Status) {
	state := "ready: it accepts and sends mail"
	if !s.Ready {
		state = "NOT READY: it accepts no mail"
	}
	queue := some(s.Queued, "recipient") + " waiting"
	if s.InDoubt > 0 {
		queue += ", " + count(s.InDoubt) + " in doubt since a crash"
	}
	a.fields("node", s.Node+", version "+s.Version, "state", state, "tenants", count(s.Tenants), "queue", queue)
	for _, r := range s.Reasons {
		a.note("  ", r.Text, r.Mend)
	}
	if len(s.Reasons) == 0 {
		a.say("Nothing needs care.")
	}
}

func (a *app) routeSet() *cobra.Command {
	return a.verb("set DOMAIN HOST:PORT", "Send a recipient domain's mail to a fixed host", `  postern node route set partner.example 192.0.2.77:25
  postern node route set '*' smarthost.example:587`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			host, port, err := splitRoute(args[1])
			if err != nil {
				return err
			}
			r, err := c.SetRoute(ctx, args[0], admin.SetRoute{Host: host, Port: port})
			if err != nil {
				return err
			}
			return a.show(r, func() { a.say("mail for %s goes to %s", clean(r.Domain), routeTarget(r)) })
		})
}

// splitRoute reads HOST, HOST:PORT or [IPv6]:PORT.
func splitRoute(s string) (string, uint16, error) {
	if !strings.Contains(s, ":") || (strings.Count(s, ":") > 1 && !strings.HasPrefix(s, "[")) {
		return s, 25, nil
	}
	host, text, err := net.SplitHostPort(s)
	port, perr := strconv.ParseUint(text, 10, 16)
	if err != nil || perr != nil || host == "" || port == 0 {
		return "", 0, usagef("%q is not HOST:PORT", clean(s))
	}
	return host, uint16(port), nil
}

func routeTarget(r admin.Route) string {
	return clean(net.JoinHostPort(r.Host, strconv.Itoa(int(r.Port))))
}

func (a *app) routeList() *cobra.Command {
	var l listing
	return l.flags(a.verb("list", "List the static routes", "  postern node route list",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			p, err := pages(ctx, &l, c.Routes)
			if err != nil {
				return err
			}
			return a.show(p, func() {
				if len(p.Items) == 0 {
					a.say("No routes: all mail goes to its domain's MX.")
					return
				}
				t := newTable("DOMAIN~", "GOES TO~")
				for _, r := range p.Items {
					t.row(r.Domain, routeTarget(r))
				}
				a.say("%s", strings.TrimSuffix(t.String(), "\n"))
				a.more(p.Next)
			})
		}))
}

func (a *app) routeRemove() *cobra.Command {
	return a.verb("remove DOMAIN", "Go back to the domain's MX", "  postern node route remove partner.example",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if err := c.RemoveRoute(ctx, args[0]); err != nil {
				return err
			}
			return a.done("route", args[0], "removed")
		})
}
