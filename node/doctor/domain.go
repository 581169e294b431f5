package doctor

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"postern/tenant"
)

// mail wants a way back: replies and bounces go to the domain, and receivers
// refuse a sender that says it takes no mail.
func (c *Checker) mail(ctx context.Context, name string) Finding {
	hosts, err := c.r.MX(ctx, name)
	if err != nil {
		return unknown("the mail exchangers of "+name, err)
	}
	for _, mx := range hosts {
		if strings.Trim(mx.Host, ".") != "" {
			return ok("takes mail at " + strings.TrimSuffix(mx.Host, "."))
		}
	}
	if len(hosts) > 0 {
		// RFC 7505 section 4.2.
		return wrong("a null MX says that " + name + " takes no mail, and receivers refuse mail from it: publish the MX of its mailboxes")
	}
	addrs, err := c.r.Addrs(ctx, name)
	switch {
	case len(addrs) > 0:
		return ok("takes mail at its own address")
	case err != nil:
		return unknown("the addresses of "+name, err)
	}
	return wrong("neither MX nor address: bounces and replies cannot reach it, and receivers refuse mail from it; publish the MX of its mailboxes")
}

// dkim wants the published key to be the one that signs.
func (c *Checker) dkim(ctx context.Context, d *Domain) Finding {
	if d.KeyName == "" {
		return ok("not signed here: DMARC rests on SPF alone")
	}
	publish := tenant.DNSRecord{Name: d.KeyName, Type: "TXT", Value: d.Key}
	if d.KeyFault != "" {
		return Finding{State: Unknown, Text: "this node cannot open the DKIM key: " + d.KeyFault}
	}
	texts, err := c.r.TXT(ctx, d.KeyName)
	switch {
	case err != nil:
		return unknown("the DKIM key at "+d.KeyName, err)
	case len(texts) == 0:
		return wrong("no DKIM key is published at "+d.KeyName, publish)
	case len(texts) > 1:
		// RFC 6376 section 3.6.2.2: the result is undefined.
		return wrong(fmt.Sprintf("%d TXT records at %s, and verifiers take any: leave one", len(texts), d.KeyName), publish)
	}
	if why := keyFault(texts[0], d.Key); why != "" {
		return wrong("the DKIM record at "+d.KeyName+" "+why, publish)
	}
	return ok("the published DKIM key is the one that signs")
}

// keyFault says why a published record does not verify what the key of own
// signs; "" when it does (RFC 6376 section 3.6.1).
func keyFault(published, own string) string {
	have, good := readTags(published)
	want, _ := readTags(own)
	switch {
	case !good:
		return "cannot be read"
	case have["v"] != "" && (have["v"] != "DKIM1" || !strings.HasPrefix(strings.TrimLeft(published, " \t"), "v")):
		return "does not begin with v=DKIM1"
	case have["p"] == "":
		return "has an empty key: it is revoked"
	case orElse(have["k"], "rsa") != orElse(want["k"], "rsa"):
		return "is of another kind of key (k=)"
	case have["h"] != "" && !inList(have["h"], "sha256"):
		return "does not allow SHA-256 (h=)"
	case have["s"] != "" && !inList(have["s"], "*") && !inList(have["s"], "email"):
		return "is not for mail (s=)"
	case inList(have["t"], "y"):
		return "says that it is a test (t=y): verifiers ignore its signatures"
	case !sameKey(have["p"], want["p"]):
		return "is another key"
	}
	return ""
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func inList(list, word string) bool {
	return slices.ContainsFunc(strings.Split(list, ":"), func(s string) bool { return strings.TrimSpace(s) == word })
}

// sameKey compares keys in base64; an RSA key may be published with or without
// its algorithm around it.
func sameKey(a, b string) bool {
	x, errX := decodeKey(a)
	y, errY := decodeKey(b)
	if errX != nil || errY != nil {
		return false
	}
	if bytes.Equal(x, y) {
		return true
	}
	k, m := rsaKey(x), rsaKey(y)
	return k != nil && m != nil && k.Equal(m)
}

func decodeKey(s string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, s))
}

func rsaKey(der []byte) *rsa.PublicKey {
	if any, err := x509.ParsePKIXPublicKey(der); err == nil {
		k, _ := any.(*rsa.PublicKey)
		return k
	}
	k, _ := x509.ParsePKCS1PublicKey(der)
	return k
}

// dmarc wants a record for the domain or for the registered one above it (RFC
// 7489 section 6.6.3).
func (c *Checker) dmarc(ctx context.Context, name string) Finding {
	places := []string{name}
	if above, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil && above != name {
		places = append(places, above)
	}
	publish := tenant.DMARCRecord(name)
	for _, place := range places {
		texts, err := c.r.TXT(ctx, "_dmarc."+place)
		if err != nil {
			return unknown("the DMARC record of "+place, err)
		}
		texts = slices.DeleteFunc(texts, func(s string) bool { return !isDMARC(s) })
		switch {
		case len(texts) > 1:
			return wrong(fmt.Sprintf("%d DMARC records at _dmarc.%s, which counts as none: leave one", len(texts), place))
		case len(texts) == 1:
			return policy(texts[0], place)
		}
	}
	return wrong("no DMARC record: large receivers demand one", publish)
}

func isDMARC(text string) bool {
	first, _, _ := strings.Cut(text, ";")
	name, value, _ := strings.Cut(first, "=")
	return strings.TrimSpace(name) == "v" && strings.TrimSpace(value) == "DMARC1"
}

func policy(text, place string) Finding {
	tags, good := readTags(text)
	p := strings.ToLower(tags["p"])
	if !good || !slices.Contains([]string{"none", "quarantine", "reject"}, p) {
		return wrong("the DMARC record at _dmarc."+place+" has no policy that can be read (p=none, quarantine or reject)", tenant.DMARCRecord(place))
	}
	return ok("DMARC of " + place + ": p=" + p)
}

// readTags reads a list of tags (RFC 6376 section 3.2). False for one that is
// not well formed.
func readTags(s string) (tags map[string]string, good bool) {
	tags = map[string]string{}
	rest := strings.TrimSpace(s)
	for rest != "" {
		var one string
		one, rest, _ = strings.Cut(rest, ";")
		if strings.TrimSpace(one) == "" {
			if strings.TrimSpace(rest) == "" {
				break // what is behind the last semicolon
			}
			return tags, false
		}
		name, value, found := strings.Cut(one, "=")
		name = strings.TrimSpace(name)
		if _, twice := tags[name]; !found || name == "" || twice {
			return tags, false
		}
		tags[name] = strings.TrimSpace(value)
	}
	return tags, true
}
