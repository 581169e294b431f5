package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// demoOptions are the flags of postern demo.
type demoOptions struct {
	dir       string
	nodes     int
	tenants   int
	routes    []string
	relayFrom []string
	restart   time.Duration
	traffic   float64
	dnsbl     []string
	round     time.Duration
	json      bool // say demo.json once and nothing else
}

// demoCommand is postern demo.
func demoCommand() *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "Start three nodes and a pretend Internet on this machine, ready for a first message",
		Long: `Start a cluster of three nodes and a pretend Internet on this machine's loopback
addresses, with tenants and passwords, and print how to send a first message,
and how to kill a node. Nothing leaves this machine. Ctrl-C ends it; the
directory stays and can be used again. With --json it prints demo.json once all
is ready, and nothing else.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			o.json, _ = cmd.Flags().GetBool("json") // of the root
			return runDemo(ctx, o, cmd.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVar(&o.dir, "dir", "", "directory of the demo's state; used again, it resumes the same cluster, tenants and passwords (default a new temporary one)")
	f.IntVar(&o.nodes, "nodes", 0, "number of nodes, 1 to 7 (default 3, or what the directory has)")
	f.IntVar(&o.tenants, "tenants", 6, "number of tenants: 20 at most with one node, and 20 more with each node beyond the second")
	f.StringArrayVar(&o.routes, "route", nil, "DOMAIN=HOST:PORT: deliver that domain to that SMTP server (repeatable)")
	f.StringArrayVar(&o.relayFrom, "relay-from", nil, "CIDR: the first account may send without AUTH from there (repeatable)")
	f.StringArrayVar(&o.dnsbl, "dnsbl", nil, "ZONE@HOST:PORT: judge by that DNS list, with weight 100, asked there, instead of the lab's (repeatable; a zone given several times is asked by one node at each)")
	f.DurationVar(&o.round, "round", 2*time.Second, "how long a round of asking DNS lists is, instead of two minutes; every other length of time in judging changes with it")
	f.DurationVar(&o.restart, "restart", 0, "start a dead node again after that long, such as 500ms (default: it stays dead)")
	f.Float64Var(&o.traffic, "traffic", 6, "messages a second of background traffic; 0 for none")
	return c
}

// check refuses what this version cannot do, before anything is started.
func (o demoOptions) check() (routes []demoRoute, nets []netip.Prefix, lists []demoList, err error) {
	if routes, nets, err = o.checkMail(); err != nil {
		return nil, nil, nil, err
	}
	if o.round < 100*time.Millisecond || o.round > time.Hour {
		return nil, nil, nil, usagef("--round must be 100ms to 1h")
	}
	for _, s := range o.dnsbl {
		l, err := parseDemoList(s)
		if err != nil {
			return nil, nil, nil, err
		}
		lists = append(lists, l)
	}
	return routes, nets, lists, nil
}

func (o demoOptions) checkMail() ([]demoRoute, []netip.Prefix, error) {
	switch {
	case o.nodes < 0 || o.nodes > maxDemoNodes:
		return nil, nil, usagef("--nodes %d: 1 to %d", o.nodes, maxDemoNodes)
	case o.tenants < 1:
		return nil, nil, usagef("--tenants %d: at least 1", o.tenants)
	case o.restart < 0:
		return nil, nil, usagef("--restart must not be negative")
	case o.traffic < 0 || o.traffic > 1000:
		return nil, nil, usagef("--traffic must be 0 to 1000 messages a second")
	}
	var routes []demoRoute
	for _, s := range o.routes {
		r, err := parseDemoRoute(s)
		if err != nil {
			return nil, nil, err
		}
		routes = append(routes, r)
	}
	var nets []netip.Prefix
	for _, s := range o.relayFrom {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, nil, usagef("--relay-from %q: write it like 127.0.0.0/8", s)
		}
		nets = append(nets, p.Masked())
	}
	return routes, nets, nil
}

// demoRoute is one --route.
type demoRoute struct {
	Domain, Host string
	Port         uint16
}

func parseDemoRoute(s string) (demoRoute, error) {
	domain, to, ok := strings.Cut(s, "=")
	host, port, err := net.SplitHostPort(to)
	n, perr := strconv.ParseUint(port, 10, 16)
	if !ok || domain == "" || err != nil || host == "" || perr != nil || n == 0 {
		return demoRoute{}, usagef("--route %q: write it like example.org=127.0.0.1:1025", s)
	}
	return demoRoute{Domain: strings.ToLower(domain), Host: host, Port: uint16(n)}, nil
}

// runDemo starts everything, waits for ctx, and ends everything. The error
// says what kept the demo from running; being told to end is none.
func runDemo(ctx context.Context, o demoOptions, out io.Writer) error {
	routes, nets, lists, err := o.check()
	if err != nil {
		return err
	}
	dir, err := openDemoDir(o.dir, o.nodes)
	if err != nil {
		return err
	}
	defer dir.close()
	// One node's loss must leave every tenant a place.
	if most := 20 * max(len(dir.state.Nodes)-1, 1); o.tenants > most {
		return usagef("--tenants %d: %s 1 to %d", o.tenants, some(len(dir.state.Nodes), "node")+" carry", most)
	}
	d := &demo{opt: o, dir: dir, routes: routes, nets: nets, lists: lists}
	if o.json {
		d.screen, d.facts = newScreen(io.Discard), out
	} else {
		d.screen = newScreen(out)
	}
	return d.run(ctx)
}
