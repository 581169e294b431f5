package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

// dnsFlags are those of the verbs that print records.
type dnsFlags struct{ format, include string }

func (f *dnsFlags) flags(c *cobra.Command, include string) *cobra.Command {
	c.Flags().StringVar(&f.format, "format", "text", "text, bind (a zone file's lines) or json")
	c.Flags().StringVar(&f.include, "include", "", include)
	return c
}

// print writes v as the flags want.
func (a *app) printDNS(f dnsFlags, v any, text, bind func()) error {
	switch f.format {
	case "text":
		return a.show(v, text)
	case "bind":
		return a.show(v, bind)
	case "json":
		a.json = true
		return a.show(v, text)
	}
	return usagef("--format is text, bind or json")
}

func (a *app) tenantDNS() *cobra.Command {
	var f dnsFlags
	c := a.verb("dns TENANT", "What must be in the DNS for a tenant's mail", `  postern tenant dns acme
  postern tenant dns acme --format bind
  postern tenant dns acme --include spf.relay.example`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			v, err := c.TenantDNS(ctx, args[0], f.include)
			if err != nil {
				return err
			}
			return a.printDNS(f, v, func() { a.tenantRecords(v) }, func() { a.tenantZone(v) })
		})
	c.Long = `Print what a tenant must publish for each of its domains, SPF for every source
of its home and its backup, its DKIM key and a DMARC record; and what the
operator must publish for those sources.

With --include tenants name one SPF record of the provider instead of addresses:
a new source then needs no change of theirs. postern source dns prints that
record. postern doctor looks whether all of it is there.`
	return f.flags(c, "name of the provider's SPF record for the tenant to include")
}

func (a *app) sourceDNS() *cobra.Command {
	var f dnsFlags
	c := a.verb("dns", "What must be in the DNS for all outbound IPs", `  postern source dns
  postern source dns --format bind --include spf.relay.example`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			v, err := c.SourcesDNS(ctx, f.include)
			if err != nil {
				return err
			}
			return a.printDNS(f, v, func() {
				a.sourceRecords(v.Sources)
				if len(v.Provider) > 0 {
					a.say("The SPF record for tenants to include:")
					a.records("  ", v.Provider)
				}
			}, func() {
				a.sourceZone(v.Sources)
				if len(v.Provider) > 0 {
					a.say("; the SPF record for tenants to include")
					a.zone(v.Provider...)
				}
			})
		})
	return f.flags(c, "print the provider's SPF record of this name, too")
}

func (a *app) tenantRecords(v admin.TenantDNS) {
	if len(v.Domains) == 0 {
		a.say("No domains: postern tenant domain add %s DOMAIN", v.Tenant)
	}
	for _, d := range v.Domains {
		a.say("%s, published by the tenant:", d.Domain)
		a.paragraph("  ", "SPF; a domain that has an SPF record keeps that one, with these terms before its all: "+strings.Join(d.Terms, " "))
		a.records("    ", []admin.DNSRecord{d.SPF})
		switch {
		case d.DKIM != nil:
			a.say("  DKIM")
			a.records("    ", []admin.DNSRecord{*d.DKIM})
		case d.DKIMFault != "":
			a.paragraph("  ", "DKIM: not known here: "+d.DKIMFault)
		}
		a.say("  DMARC, if it has none")
		a.records("    ", []admin.DNSRecord{d.DMARC})
		a.paragraph("  ", d.Alignment)
		if d.Bounce != nil {
			a.bounceRecords(*d.Bounce)
		}
		a.say("")
	}
	if len(v.Sources) > 0 {
		a.say("The sources it may leave from, published by the operator:")
		a.sourceRecords(v.Sources)
	}
}

// bounceRecords says what a bounce subdomain must have, and why it is not used.
func (a *app) bounceRecords(b admin.BounceDNS) {
	a.say("  Bounces come back to %s: one MX or more, and SPF", b.Name)
	if len(b.MX) == 0 {
		a.say("    no node takes bounces: set intake.listen in the configuration of one")
	}
	a.records("    ", append(b.MX, b.SPF))
	if b.Fault != "" {
		a.paragraph("  ", b.Fault)
	}
}

// records writes each over two lines: where, and what; the second one is there
// to be copied, however long.
func (a *app) records(mark string, all []admin.DNSRecord) {
	for _, r := range all {
		a.say("%s%s at %s:", mark, r.Type, clean(r.Name))
		a.say("%s%s", mark, clean(r.Value))
	}
}

func (a *app) sourceRecords(all []admin.SourceDNS) {
	if len(all) == 0 {
		a.say("No sources. postern source add makes one.")
		return
	}
	for _, s := range all {
		backup := ""
		if s.Backup {
			backup = ", backup"
		}
		a.say("  %s (%s%s)", s.Source, s.Node, backup)
		a.say("    %s %s %s", s.Forward.Name, s.Forward.Type, s.Forward.Value)
		a.say("    %s %s %s", s.Reverse.Name, s.Reverse.Type, s.Reverse.Value)
	}
}

func (a *app) tenantZone(v admin.TenantDNS) {
	for _, d := range v.Domains {
		a.say("; %s: a domain that has an SPF or DMARC record keeps that one;", d.Domain)
		a.say("; its SPF gets these terms before all: %s", strings.Join(d.Terms, " "))
		a.zone(d.SPF)
		if d.DKIM != nil {
			a.zone(*d.DKIM)
		} else if d.DKIMFault != "" {
			a.say("; DKIM: not known here: %s", clean(d.DKIMFault))
		}
		a.zone(d.DMARC)
		if d.Bounce != nil {
			a.zone(append(d.Bounce.MX, d.Bounce.SPF)...)
		}
	}
	if len(v.Sources) > 0 {
		a.say("; sources, published by the operator")
		a.sourceZone(v.Sources)
	}
}

func (a *app) sourceZone(all []admin.SourceDNS) {
	for _, s := range all {
		a.zone(s.Forward, s.Reverse)
	}
}

// zone writes records as a zone file's lines (RFC 1035 section 5).
func (a *app) zone(all ...admin.DNSRecord) {
	for _, r := range all {
		value := r.Value
		switch r.Type {
		case "TXT":
			value = txtStrings(value)
		case "PTR", "MX":
			value += "."
		}
		a.say("%s. IN %s %s", r.Name, r.Type, value)
	}
}

// txtStrings is a text as the strings of a TXT record: 255 octets at most each.
func txtStrings(s string) string {
	var all []string
	for chunk := range slices.Chunk([]byte(s), 255) {
		var b strings.Builder
		for _, c := range chunk {
			switch {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ' || c > '~':
				fmt.Fprintf(&b, "\\%03d", c)
			default:
				b.WriteByte(c)
			}
		}
		all = append(all, `"`+b.String()+`"`)
	}
	return strings.Join(all, " ")
}
