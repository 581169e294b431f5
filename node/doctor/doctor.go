// Package doctor looks whether the DNS says of sources and sender domains what
// receivers want to find there: names forth and back, SPF for every source a
// tenant may leave from, DKIM keys, DMARC, a way back for bounces.
//
// It hides how each record is asked, read and judged, and the SPF library. It
// must never take a question without an answer for a fault of the DNS, and
// never say that something is wrong without saying what mends it.
package doctor

import (
	"context"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"postern/tenant"
)

// Resolver asks the DNS. No record of that kind is an empty list; an error
// means that it is not known. An error beside addresses means that those of one
// family are not known.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, error)
	MX(ctx context.Context, name string) ([]*net.MX, error)
	Addrs(ctx context.Context, name string) ([]netip.Addr, error)
	PTR(ctx context.Context, reverse string) ([]string, error)
}

// State is what is known of one check.
type State string

// The states of a check.
const (
	OK      State = "ok"
	Wrong   State = "wrong"   // Finding.Text says what; Publish or the text says what to do
	Unknown State = "unknown" // it could not be asked
)

// Names of the checks.
const (
	CheckPlumbed = "address" // the address is on its node
	CheckReverse = "reverse" // PTR: there, one, the EHLO name, not generic
	CheckForward = "forward" // the EHLO name has the address
	CheckMail    = "mail"    // the domain takes mail: MX or A, no null MX
	CheckSPF     = "spf"
	CheckDKIM    = "dkim"
	CheckDMARC   = "dmarc"
	CheckBounce  = "bounce" // the bounce subdomain: its MX is ours, its SPF passes
)

// Finding is the outcome of one check.
type Finding struct {
	Check string
	State State
	Text  string
	// Publish are whole records; they replace what is there of their kind.
	Publish []tenant.DNSRecord
	// Of SPF alone: the sources it passes for and those it does not; the rest
	// could not be judged. Why names a fault of the record beside what it lacks.
	Passes, Lacks []tenant.SourceID
	Why           string
	// MX says of a bounce subdomain alone where its bounces go.
	MX State
}

// Domain is a sender domain to be checked.
type Domain struct {
	Name  string
	Exits []tenant.Exit
	// Where names each exit's node, by source.
	Where map[tenant.SourceID]string
	// KeyName and Key are the DKIM key's record; an empty KeyName: not signed.
	// KeyFault says why Key is not known here.
	KeyName, Key, KeyFault string
	// Include is the provider's SPF record that tenants name, and Provider what
	// it must say; both empty without one.
	Include  string
	Provider []tenant.DNSRecord
	// Bounce is the subdomain that bounces are to come back to, "" without one,
	// and Intake the names of the hosts that take them.
	Bounce string
	Intake []string
}

const (
	// maxChecks is how many subjects are looked at at a time; the rest waits.
	maxChecks = 8
	// checkTime bounds one subject. RFC 7208 section 4.6.4 wants 20 s at least
	// for SPF from receivers; a record that needs longer than this is in danger.
	checkTime = 12 * time.Second
)

// Checker checks sources and domains. Safe for concurrent use.
type Checker struct {
	r     Resolver
	slots chan struct{}
	time  time.Duration
}

// New makes a Checker that asks r.
func New(r Resolver) *Checker {
	return &Checker{r: r, slots: make(chan struct{}, maxChecks), time: checkTime}
}

// Source checks a source's name, forth and back.
func (c *Checker) Source(ctx context.Context, src *tenant.Source) []Finding {
	return c.all(ctx, []check{
		{CheckReverse, func(ctx context.Context) Finding { return c.reverse(ctx, src) }},
		{CheckForward, func(ctx context.Context) Finding { return c.forward(ctx, src) }},
	})
}

// Domain checks a sender domain.
func (c *Checker) Domain(ctx context.Context, d Domain) []Finding {
	checks := []check{
		{CheckMail, func(ctx context.Context) Finding { return c.mail(ctx, d.Name) }},
		{CheckSPF, func(ctx context.Context) Finding { return c.spf(ctx, &d) }},
		{CheckDKIM, func(ctx context.Context) Finding { return c.dkim(ctx, &d) }},
		{CheckDMARC, func(ctx context.Context) Finding { return c.dmarc(ctx, d.Name) }},
	}
	if d.Bounce != "" {
		checks = append(checks, check{CheckBounce, func(ctx context.Context) Finding { return c.bounce(ctx, &d) }})
	}
	return d.used(c.all(ctx, checks))
}

type check struct {
	name string
	do   func(context.Context) Finding
}

// all carries out checks at once, in a slot and within the bound of time.
func (c *Checker) all(ctx context.Context, checks []check) []Finding {
	ctx, cancel := context.WithTimeout(ctx, c.time)
	defer cancel()
	found := make([]Finding, len(checks))
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		for i, k := range checks {
			found[i] = Finding{Check: k.name, State: Unknown, Text: "not asked: this node is busy with other checks"}
		}
		return found
	}
	var g errgroup.Group
	for i, k := range checks {
		g.Go(func() error {
			found[i] = k.do(ctx)
			found[i].Check = k.name
			return nil
		})
	}
	_ = g.Wait() // the checks' faults are findings
	return found
}

func ok(text string) Finding { return Finding{State: OK, Text: text} }

func wrong(text string, publish ...tenant.DNSRecord) Finding {
	return Finding{State: Wrong, Text: text, Publish: publish}
}

// unknown tells what could not be asked; err is the resolver's.
func unknown(what string, err error) Finding {
	return Finding{State: Unknown, Text: "cannot look up " + what + ": " + err.Error()}
}
