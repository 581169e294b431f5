package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"postern/node/delivery"
	"postern/node/dnsbl"
	"postern/tenant"
)

// States of what is found on a machine.
const (
	MachineOK      = "ok"
	MachineDoubt   = "doubt" // the node works all the same
	MachineWrong   = "wrong"
	MachineUnknown = "unknown" // it could not be asked
)

// MachineFinding is one thing seen on a machine that runs a node, or shall.
type MachineFinding struct {
	Check string `json:"check"` // config, port-25, address, resolver, lists, clock, disk, files, certificate or host
	State string `json:"state" enum:"ok,doubt,wrong,unknown"`
	Text  string `json:"text"`
	Mend  string `json:"mend,omitempty"`
}

// Examination says what is looked at besides the configuration.
type Examination struct {
	Sources []netip.Addr // outbound addresses that shall be on the machine
	Reach   []string     // HOST:PORT of mail servers of others, one of which must answer; none: not tried
	Zones   *dnsbl.Book  // DNS lists whose test points are asked; nil: none
	Done    func()       // told of each part that ends; may be nil
}

// examineTime bounds one part of an examination.
const examineTime = 20 * time.Second

// Examine looks at a machine before or after a node is on it: whether the file
// fits, and what no file says. It needs no cluster, and what it writes it removes.
// The error is set only when the file cannot be read at all.
func Examine(ctx context.Context, file string, x Examination) ([]MachineFinding, error) {
	found, err := CheckConfig(ctx, file)
	if err != nil {
		return nil, err
	}
	c, _, _, err := readConfig(file)
	if err != nil {
		return nil, err
	}
	parts := []func(context.Context) []MachineFinding{
		func(context.Context) []MachineFinding { return c.configFindings(found) },
		func(context.Context) []MachineFinding { return c.certificateChain() },
		func(context.Context) []MachineFinding { return plumbedAll(x.Sources) },
		c.ownName,
		func(ctx context.Context) []MachineFinding { return c.reaches(ctx, x) },
		c.resolverFindings,
		func(ctx context.Context) []MachineFinding { return c.listFindings(ctx, x.Zones) },
		func(context.Context) []MachineFinding { return []MachineFinding{clockFinding()} },
		func(ctx context.Context) []MachineFinding { return c.diskFindings(ctx) },
		func(context.Context) []MachineFinding { return []MachineFinding{filesFinding()} },
	}
	all := make([][]MachineFinding, len(parts))
	var g errgroup.Group
	for i, part := range parts {
		g.Go(func() error {
			within, cancel := context.WithTimeout(ctx, examineTime)
			defer cancel()
			all[i] = part(within)
			if x.Done != nil {
				x.Done()
			}
			return nil
		})
	}
	_ = g.Wait() // what fails is a finding
	return slices.Concat(all...), nil
}

// ExaminationParts is how often Examination.Done is called.
const ExaminationParts = 10

func machine(check, state, mend, format string, args ...any) MachineFinding {
	return MachineFinding{Check: check, State: state, Text: fmt.Sprintf(format, args...), Mend: mend}
}

// configFindings are the check's. Where the node itself runs, its ports are taken,
// as they should be.
func (c *Config) configFindings(found []Finding) (all []MachineFinding) {
	runs := errors.Is(c.stopped(), errRunning)
	for _, f := range found {
		if runs && strings.HasSuffix(f.Text, " is in use") {
			continue
		}
		state, mend := MachineWrong, f.Mend
		switch {
		case strings.HasPrefix(f.Text, "no state yet"):
			state = MachineOK // that is the next step
		case f.Warning:
			state = MachineDoubt
		}
		f.Mend = ""
		all = append(all, MachineFinding{Check: "config", State: state, Text: f.String(), Mend: mend})
	}
	if len(all) > 0 {
		return all
	}
	text := "the configuration is sound, and its ports are free"
	if runs {
		text = "the configuration is sound, and the node runs"
	}
	return []MachineFinding{{Check: "config", State: MachineOK, Text: text}}
}

func plumbedAll(sources []netip.Addr) (all []MachineFinding) {
	for _, a := range sources {
		if onMachine(a) {
			all = append(all, machine("address", MachineOK, "", "%s is on this machine", a))
			continue
		}
		all = append(all, machine("address", MachineWrong, "ip address add "+netip.PrefixFrom(a, a.BitLen()).String()+" dev DEV, for good in your network's configuration",
			"%s is not on this machine: no mail could leave by it", a))
	}
	return all
}

// ownName looks whether clients find the node under its name.
func (c *Config) ownName(ctx context.Context) []MachineFinding {
	servers, err := c.resolvers()
	if err != nil || len(servers) == 0 || c.Hostname == "" {
		return nil // the configuration's finding
	}
	addrs, err := delivery.NewLookup(servers).Addrs(ctx, c.Hostname)
	switch {
	case err != nil:
		return []MachineFinding{machine("host", MachineUnknown, "", "cannot look up %s: %s", c.Hostname, err)}
	case len(addrs) == 0:
		return []MachineFinding{machine("host", MachineWrong, "publish the address of this machine's submission port for it", "%s has no address", c.Hostname)}
	}
	if slices.ContainsFunc(addrs, onMachine) {
		return []MachineFinding{machine("host", MachineOK, "", "%s leads to this machine", c.Hostname)}
	}
	return []MachineFinding{machine("host", MachineDoubt, "fine if a balancer or a shared address stands before it", "%s leads to %s, not to this machine", c.Hostname, addrs[0])}
}

// reaches tries whether mail can leave at all: many providers close port 25 until
// they are asked.
func (c *Config) reaches(ctx context.Context, x Examination) []MachineFinding {
	if len(x.Reach) == 0 {
		return []MachineFinding{machine("port-25", MachineUnknown, "", "not tried whether mail can leave")}
	}
	froms := slices.DeleteFunc(slices.Clone(x.Sources), func(a netip.Addr) bool { return !onMachine(a) }) // said already
	if len(froms) == 0 {
		froms = []netip.Addr{{}}
	}
	var all []MachineFinding
	for _, from := range froms {
		who := "mail can leave"
		if from.IsValid() {
			who += " from " + from.String()
		}
		host, err := reach(ctx, from, x.Reach)
		if err == nil {
			all = append(all, machine("port-25", MachineOK, "", "%s: %s answers", who, host))
			continue
		}
		all = append(all, machine("port-25", MachineWrong, "ask your provider to open port 25 outward, and look at the firewall and the routes",
			"it is not so that %s: none of %s answers: %s", who, strings.Join(x.Reach, ", "), err))
	}
	return all
}

// reach dials all at once; the first that greets counts.
func reach(ctx context.Context, from netip.Addr, hosts []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, examineTime/2)
	defer cancel()
	type outcome struct {
		host string
		err  error
	}
	got := make(chan outcome, len(hosts))
	for _, h := range hosts {
		go func() { got <- outcome{h, greets(ctx, from, h)} }()
	}
	var errs []error
	for range hosts {
		o := <-got
		if o.err == nil {
			return o.host, nil
		}
		errs = append(errs, o.err)
	}
	return "", errs[len(errs)-1]
}

// greets waits for a server's banner: a connection alone may be a middlebox's.
func greets(ctx context.Context, from netip.Addr, host string) error {
	d := net.Dialer{}
	if from.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
	}
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return bare(err)
	}
	defer conn.Close()
	until, _ := ctx.Deadline()
	_ = conn.SetDeadline(until)
	var b [3]byte
	if _, err := conn.Read(b[:]); err != nil {
		return bare(err)
	}
	if b[0] < '2' || b[0] > '5' {
		return fmt.Errorf("%s speaks no SMTP", host)
	}
	_, _ = conn.Write([]byte("QUIT\r\n")) // out of politeness
	return nil
}

// publicResolvers are known to all; lists do not answer them, or lie to them.
var publicResolvers = []string{"8.8.8.0/24", "8.8.4.0/24", "1.1.1.0/24", "1.0.0.0/24", "9.9.9.0/24", "149.112.112.0/24", "208.67.222.0/24", "208.67.220.0/24",
	"94.140.14.0/24", "94.140.15.0/24", "76.76.2.0/24", "76.76.10.0/24", "84.200.69.0/24", "84.200.70.0/24", "185.222.222.0/24", "45.11.45.0/24",
	"2001:4860:4860::/48", "2606:4700:4700::/48", "2620:fe::/48", "2620:119::/32", "2a10:50c0::/32"}

// resolverFindings judges the resolvers by what they are.
func (c *Config) resolverFindings(ctx context.Context) (all []MachineFinding) {
	servers, err := c.listResolvers()
	if err != nil {
		return nil
	}
	own, _ := c.resolvers()
	for _, s := range slices.Compact(slices.SortedFunc(slices.Values(append(servers, own...)), netip.AddrPort.Compare)) {
		a := s.Addr().Unmap()
		mend := "run your own recursive resolver on this machine (unbound, without forward-zone) and name 127.0.0.1"
		switch {
		case slices.ContainsFunc(publicResolvers, func(p string) bool { return netip.MustParsePrefix(p).Contains(a) }):
			all = append(all, machine("resolver", MachineWrong, mend, "%s is a public resolver: DNS lists refuse it or lie to it", a))
		case a == netip.AddrFrom4([4]byte{127, 0, 0, 53}) || a == netip.AddrFrom4([4]byte{127, 0, 0, 54}):
			all = append(all, machine("resolver", MachineWrong, mend, "%s is systemd-resolved, which forwards to somebody else's resolver", a))
		default:
			if err := askResolver(ctx, s); err != nil {
				all = append(all, machine("resolver", MachineUnknown, "start it", "%s gives no answer: %s", s, err))
			} else {
				all = append(all, machine("resolver", MachineOK, "", "%s answers", s))
			}
		}
	}
	return all
}

// listFindings asks the test points of DNS lists (RFC 5782 §5). What refuses us is
// also how a resolver is found out that forwards to a public one.
func (c *Config) listFindings(ctx context.Context, book *dnsbl.Book) []MachineFinding {
	servers, err := c.listResolvers()
	if book == nil || err != nil || len(servers) == 0 {
		return nil
	}
	r, err := dnsbl.NewResolver(servers, 3*time.Second)
	if err != nil {
		return []MachineFinding{machine("lists", MachineUnknown, "", "%s", err)}
	}
	o, err := dnsbl.New(dnsbl.Config{Node: c.Name, Book: book, Resolver: r, Metrics: prometheus.NewRegistry()})
	if err == nil {
		err = o.Watch([]dnsbl.Subject{dnsbl.AddrSubject(netip.AddrFrom4([4]byte{127, 0, 0, 2}))})
	}
	if err == nil {
		err = o.Round(ctx)
	}
	if err != nil {
		return []MachineFinding{machine("lists", MachineUnknown, "", "DNS lists not asked: %s", err)}
	}
	var all []MachineFinding
	for _, h := range o.Health() {
		all = append(all, listFinding(h))
	}
	return all
}

func listFinding(h dnsbl.Health) MachineFinding {
	bad := MachineDoubt
	if h.Heavy {
		bad = MachineWrong
	}
	switch h.State {
	case dnsbl.Usable:
		return machine("lists", MachineOK, "", "%s answers as it should", h.Zone)
	case dnsbl.Refused:
		return machine("lists", bad, "use a resolver of your own that forwards to nobody, or the list's key (postern zones)",
			"%s refuses us: %s", h.Zone, cmp.Or(string(h.Why), "no reason"))
	case dnsbl.Broken:
		return machine("lists", bad, "look whether the list still exists, and whether the resolver makes answers up", "%s answers wrongly: %s", h.Zone, cmp.Or(string(h.Why), "no reason"))
	}
	return machine("lists", MachineUnknown, "", "%s gives no answer: %s", h.Zone, cmp.Or(h.Why, tenant.WhyNotAsked))
}
