package doctor

import (
	"context"
	"slices"
	"strings"

	"postern/tenant"
)

// bounce wants bounces of the domain's mail to come back to us and to nobody
// else, and the subdomain's SPF to pass: MAIL FROM is of it. Until all of that
// is so, mail leaves with the sender's own address.
func (c *Checker) bounce(ctx context.Context, d *Domain) Finding {
	mx := c.bounceMX(ctx, d)
	f := c.spf(ctx, &Domain{Name: d.Bounce, Exits: d.Exits, Where: d.Where, Include: d.Include, Provider: d.Provider})
	f.MX = mx.State
	switch {
	case mx.State == OK && f.State == OK:
		f.Text = "bounces come back to " + d.Bounce
	case mx.State != OK && f.State != Wrong:
		f.State, f.Text, f.Publish = mx.State, mx.Text, mx.Publish
	case mx.State != OK:
		f.Text, f.Publish = mx.Text+"; "+f.Text, append(mx.Publish, f.Publish...)
	}
	if f.State == Wrong {
		f.Text = "bounce subdomain " + d.Bounce + " is not used: " + f.Text
	}
	return f
}

// used takes what the domain's own SPF lacks for no fault as long as its mail
// leaves with the bounce subdomain: receivers judge MAIL FROM (RFC 7208 section
// 2.4). What lacks is told all the same.
func (d *Domain) used(found []Finding) []Finding {
	at := func(check string) int {
		return slices.IndexFunc(found, func(f Finding) bool { return f.Check == check })
	}
	b, s := at(CheckBounce), at(CheckSPF)
	if b < 0 || s < 0 || found[b].State != OK || found[s].State != Wrong || len(found[s].Lacks) == 0 {
		return found
	}
	f := &found[s]
	f.State, f.Publish = OK, nil
	f.Text = "its mail leaves with " + d.Bounce + ", whose SPF passes; of its own, which counts if that is not ready: " + f.Text
	return found
}

func (c *Checker) bounceMX(ctx context.Context, d *Domain) Finding {
	if len(d.Intake) == 0 {
		return wrong("no node takes bounces: set intake.listen in the configuration of one")
	}
	var publish []tenant.DNSRecord
	for _, host := range d.Intake {
		publish = append(publish, tenant.DNSRecord{Name: d.Bounce, Type: "MX", Value: "10 " + host})
	}
	all, err := c.r.MX(ctx, d.Bounce)
	if err != nil {
		return unknown("the mail exchangers of "+d.Bounce, err)
	}
	if len(all) == 0 {
		return wrong("it has no MX", publish...)
	}
	var blind error
	for _, mx := range all {
		host := strings.ToLower(strings.TrimSuffix(mx.Host, "."))
		if !slices.Contains(d.Intake, host) {
			return wrong("its MX "+host+" is none of ours, and what comes there is lost", publish...)
		}
		addrs, err := c.r.Addrs(ctx, host)
		switch {
		case err != nil && len(addrs) == 0:
			blind = err
		case len(addrs) == 0:
			return wrong("its MX "+host+" has no address: publish it, or take that MX out", publish...)
		}
	}
	if blind != nil {
		return unknown("the addresses of the mail exchangers of "+d.Bounce, blind)
	}
	return ok("")
}
