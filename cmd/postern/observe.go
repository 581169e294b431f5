package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"postern/node/dnsbl"
	"postern/tenant"
)

const (
	resolvConf = "/etc/resolv.conf"
	// lookupTime is for one question to one server; a list's servers may be far.
	lookupTime = 3 * time.Second
	// judgeEvery is how often --watch looks whether rounds have changed a verdict.
	judgeEvery = 5 * time.Second
)

// observing are the flags of observe.
type observing struct {
	ips, zones, metrics string
	resolvers           []string
	watch               bool
}

func (a *app) observeCommand() *cobra.Command {
	var f observing
	c := &cobra.Command{
		Use: "observe", Short: "Judge any addresses by DNS lists",
		Long: `Judge addresses, of any mail server, by the DNS lists of a zones file: what each
list answers and what that means, the sum of weights by which Postern would move
tenants, and where to ask for removal. No node is asked and no mail is touched.

Each list is tested first. What cannot be believed is "not known", never listed
and never clean. Each --resolver stands for a node of its own, and two of them
must agree; without any, the system's name servers stand for one. Public
resolvers are refused by most lists: use recursive ones of your own.

Exit status: 0 every address is clean and every heavy zone could be asked, 1 not
so, 2 usage.`,
		Example: `  postern observe --ips addresses.txt
  echo 192.0.2.10 | postern observe --ips - --json
  postern observe --ips addresses.txt --zones zones.yaml \
      --resolver 127.0.0.1:53 --resolver 192.0.2.53:53 --watch`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.observe(cmd.Context(), f) },
	}
	s := c.Flags()
	s.StringVar(&f.ips, "ips", "", "file with an address or a domain a line; - is standard input")
	s.StringVar(&f.zones, "zones", "", "zones file (default: the one that postern zones prints)")
	s.StringArrayVar(&f.resolvers, "resolver", nil, "HOST:PORT of a resolver, a node each; may be repeated")
	s.BoolVar(&f.watch, "watch", false, "go on, and tell what changes")
	s.StringVar(&f.metrics, "metrics", "", "with --watch: HOST:PORT to serve Prometheus metrics on")
	return c
}

func (a *app) observe(ctx context.Context, f observing) error {
	subjects, err := a.subjects(f.ips)
	if err != nil {
		return err
	}
	if f.metrics != "" && !f.watch {
		return usagef("--metrics needs --watch")
	}
	book, err := a.book(f.zones)
	if err != nil {
		return err
	}
	nodes, err := resolversOf(f.resolvers)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	reg := prometheus.NewRegistry()
	changes := make(chan tenant.Observation, 1024)
	var watching atomic.Bool // what the first round finds is in the report
	tell := func(ob tenant.Observation) {
		if !watching.Load() {
			return
		}
		select {
		case changes <- ob:
		case <-ctx.Done():
		}
	}
	var observers []*dnsbl.Observer
	for _, n := range nodes {
		o, err := n.observer(book, subjects, reg, tell)
		if err != nil {
			return err
		}
		observers = append(observers, o)
	}
	if err := firstRound(ctx, observers); err != nil {
		return err
	}
	r := dnsbl.Judge(a.now(), observers, subjects)
	if f.watch {
		watching.Store(true)
		return a.watch(ctx, f, reg, observers, subjects, changes, r)
	}
	if err := a.show(r, func() { a.observed(&r) }); err != nil {
		return err
	}
	return verdictOf(&r)
}

func verdictOf(r *dnsbl.Report) error {
	if !r.Clean() {
		return errSilent
	}
	return nil
}

// firstRound asks everything once.
func firstRound(ctx context.Context, observers []*dnsbl.Observer) error {
	g, within := errgroup.WithContext(ctx)
	for _, o := range observers {
		g.Go(func() error { return o.Round(within) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	return nil
}

func (a *app) subjects(name string) ([]dnsbl.Subject, error) {
	if name == "" {
		return nil, usagef("--ips is missing")
	}
	var in io.Reader = a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, usagef("read addresses: %v", err)
		}
		defer f.Close()
		in = f
	}
	all, err := dnsbl.ReadSubjects(in)
	if err != nil {
		return nil, usagef("read addresses: %s: %v", name, err)
	}
	return all, nil
}

// book reads a zones file; one that cannot be used is the command line's fault.
func (a *app) book(name string) (*dnsbl.Book, error) {
	if name == "" {
		return dnsbl.DefaultBook()
	}
	b, err := dnsbl.ReadZones(name, a.env("CREDENTIALS_DIRECTORY"))
	var bad *dnsbl.ZonesError
	if errors.As(err, &bad) {
		more := ""
		if len(bad.Faults) > 1 {
			more = fmt.Sprintf(" (and %d more; postern zones --check %s)", len(bad.Faults)-1, name)
		}
		return nil, usagef("read zones: %s: %s%s", name, bad.Faults[0], more)
	}
	if err != nil {
		return nil, usagef("%v", err)
	}
	return b, nil
}

type resolverNode struct {
	name    string
	servers []netip.AddrPort
}

// observer makes the node's observer; its metrics carry its name.
func (n resolverNode) observer(book *dnsbl.Book, subjects []dnsbl.Subject, reg prometheus.Registerer, tell func(tenant.Observation)) (*dnsbl.Observer, error) {
	r, err := dnsbl.NewResolver(n.servers, lookupTime)
	if err != nil {
		return nil, err
	}
	o, err := dnsbl.New(dnsbl.Config{Node: n.name, Book: book, Resolver: r, Changed: tell,
		Metrics: prometheus.WrapRegistererWith(prometheus.Labels{"resolver": n.name}, reg)})
	if err != nil {
		return nil, err
	}
	return o, o.Watch(subjects)
}

func resolversOf(texts []string) (all []resolverNode, err error) {
	if len(texts) == 0 {
		servers, err := dnsbl.SystemServers(resolvConf)
		if err != nil {
			return nil, usagef("%v; name one with --resolver", err)
		}
		return []resolverNode{{"system", servers}}, nil
	}
	seen := make(map[netip.AddrPort]bool)
	for _, text := range texts {
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return nil, usagef("--resolver %q is no address, with :PORT when it is not 53", clean(text))
			}
			at = netip.AddrPortFrom(addr, 53)
		}
		if at.Port() == 0 || seen[at] {
			return nil, usagef("--resolver %s: no port, or named twice: the same resolver is no second witness", at)
		}
		seen[at] = true
		all = append(all, resolverNode{at.String(), []netip.AddrPort{at}})
	}
	return all, nil
}

// encode writes one line of JSON.
func (a *app) encode(v any) {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // nobody reads any more; the signal or the pipe ends us
}
