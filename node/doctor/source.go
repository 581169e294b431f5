package doctor

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"postern/tenant"
)

// reverse wants one PTR: the EHLO name, which the forward check confirms.
func (c *Checker) reverse(ctx context.Context, src *tenant.Source) Finding {
	_, publish := tenant.PublishSource(src)
	names, err := c.r.PTR(ctx, publish.Name)
	switch {
	case err != nil:
		return unknown("the reverse DNS of "+src.Addr.String(), err)
	case len(names) == 0:
		return wrong(fmt.Sprintf("%s has no reverse DNS (PTR): many receivers refuse its mail", src.Addr), publish)
	case !slices.Contains(names, src.EHLO):
		return wrong(fmt.Sprintf("the reverse DNS (PTR) of %s says %s, and it greets as %s", src.Addr, strings.Join(names, ", "), src.EHLO), publish)
	case len(names) > 1:
		return wrong(fmt.Sprintf("%s has %d names in reverse DNS (%s), and receivers pick any: leave one", src.Addr, len(names), strings.Join(names, ", ")), publish)
	}
	if why := generic(src.EHLO, src.Addr); why != "" {
		return wrong(fmt.Sprintf("the name %s of %s looks like an access line's (%s), and receivers refuse those: choose another EHLO name and PTR", src.EHLO, src.Addr, why))
	}
	return ok(src.Addr.String() + " is " + src.EHLO)
}

// forward wants the EHLO name to have the address (RFC 5321 section 4.1.4).
func (c *Checker) forward(ctx context.Context, src *tenant.Source) Finding {
	publish, _ := tenant.PublishSource(src)
	addrs, err := c.r.Addrs(ctx, src.EHLO)
	switch {
	case slices.Contains(addrs, src.Addr):
		return ok(src.EHLO + " has " + src.Addr.String())
	case err != nil:
		return unknown("the addresses of "+src.EHLO, err)
	case len(addrs) == 0:
		return wrong(fmt.Sprintf("%s, the name that %s greets with, has no address", src.EHLO, src.Addr), publish)
	}
	return wrong(fmt.Sprintf("%s, the name that %s greets with, does not have that address", src.EHLO, src.Addr), publish)
}

// lineWords are labels and parts of labels in names of access lines.
var lineWords = []string{"adsl", "broadband", "cable", "catv", "cust", "customer", "dhcp", "dial", "dialin", "dialup", "dsl", "dyn", "dynamic", "dynip",
	"ftth", "in-addr", "ip6", "modem", "ppp", "pppoe", "static", "unassigned", "unused", "vdsl", "xdsl"}

// generic says why a name looks as if a program had made it for each address of
// a network; "" when it does not.
func generic(name string, a netip.Addr) string {
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '.' || r == '-' || r == '_' })
	host := parts[:max(len(parts)-2, 0)] // not the registered domain
	if a.Is6() {
		b := a.As16()
		digits := hex.EncodeToString(b[:])
		if squeezed := strings.NewReplacer("-", "", ".", "", "_", "").Replace(name); strings.Contains(squeezed, digits) {
			return "it holds the address"
		}
	} else if holdsOctets(parts, a.As4()) {
		return "it holds the address"
	}
	for _, w := range host {
		if slices.Contains(lineWords, w) {
			return "it says " + w
		}
	}
	return ""
}

// holdsOctets finds an IPv4 address in a name's parts: in order or reversed, in
// decimal with or without zeros in front, run together, or in hexadecimal.
func holdsOctets(parts []string, a [4]byte) bool {
	for i := range parts {
		if i+4 > len(parts) {
			break
		}
		forth, back := true, true
		for j := range 4 {
			n, err := strconv.ParseUint(strings.TrimLeft(parts[i+j], "ip"), 10, 8)
			forth = forth && err == nil && byte(n) == a[j]
			back = back && err == nil && byte(n) == a[3-j]
		}
		if forth || back {
			return true
		}
	}
	whole := fmt.Sprintf("%03d%03d%03d%03d", a[0], a[1], a[2], a[3])
	for _, p := range parts {
		if strings.Contains(p, whole) || strings.Contains(p, hex.EncodeToString(a[:])) {
			return true
		}
	}
	return false
}
