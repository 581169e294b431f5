package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// DefaultCode is what a list answers about what it lists, unless told otherwise.
const DefaultCode = "127.0.0.2"

// ErrNoList is the error of a listing in a zone that is no list of the lab.
var ErrNoList = errors.New("no such DNS list")

// Listing is what a DNS list (RFC 5782) of the lab says about an address or a domain.
type Listing struct {
	// Zone of the list; empty means the world's first of its kind.
	Zone string `json:"zone,omitempty"`
	// Code is the A value of the answer; when empty, DefaultCode or for a domain
	// 127.0.1.2. "clean" takes it off the list.
	Code string `json:"code,omitempty"`
	// Views are those who hear something else than Code: a code each, or "clean".
	Views map[string]string `json:"views,omitempty"`
}

const (
	clean      = "clean"
	domainCode = "127.0.1.2" // a list's answer about a domain, unless told otherwise
)

// lists are the DNS lists of the lab: an overlay of its zones that may differ
// from view to view.
type lists struct {
	ofAddresses, ofDomains []string
	views                  map[string]map[string]parsedName // by view; "" is what all see
}

// subject is what a list is asked about: an address, or a domain.
type subject struct {
	text string // as written
	ip   netip.Addr
}

func subjectOf(text string) (subject, error) {
	ip, err := netip.ParseAddr(text)
	if err == nil {
		return subject{text: ip.Unmap().String(), ip: ip.Unmap()}, nil
	}
	last := text[strings.LastIndexByte(text, '.')+1:]
	if _, ok := dns.IsDomainName(text); !ok || strings.ContainsAny(text, ":/ ") || strings.Trim(last, "0123456789") == "" {
		return subject{}, fmt.Errorf("read address or domain: %w", err)
	}
	return subject{text: text}, nil
}

// name is the one under which a list is asked about it.
func (s subject) name(zone string) string {
	if s.ip.IsValid() {
		return ListName(s.ip, zone)
	}
	return canonical(s.text) + canonical(zone)
}

// ListName is the name under which a list is asked about an address
// (RFC 5782 §2.1, §2.4).
func ListName(ip netip.Addr, zone string) string {
	name := ReverseName(ip)
	for _, arpa := range []string{"in-addr.arpa.", "ip6.arpa."} {
		name = strings.TrimSuffix(name, arpa)
	}
	return name + canonical(zone)
}

// addLists gives each zone its test points: what it must list (RFC 5782 §5).
func (z *zones) addLists(ofAddresses, ofDomains []string) error {
	point := func(zone, what, name, code string) error {
		return errors.Join(z.set(zone, &Name{}), z.set(name, listed(zone, what, code)))
	}
	for _, zone := range ofAddresses {
		for _, ip := range []string{"127.0.0.2", "::ffff:127.0.0.2"} {
			if err := point(zone, ip, ListName(netip.MustParseAddr(ip), zone), DefaultCode); err != nil {
				return err
			}
		}
	}
	for _, zone := range ofDomains {
		if err := point(zone, "test", canonical("test")+canonical(zone), domainCode); err != nil {
			return err
		}
	}
	z.lists = lists{ofAddresses: ofAddresses, ofDomains: ofDomains, views: map[string]map[string]parsedName{}}
	return nil
}

func listed(zone, what, code string) *Name {
	return &Name{Records: []string{"A " + code, fmt.Sprintf("TXT %q", "Listed by "+zone+", see https://"+zone+"/?"+what)}, TTL: 1}
}

// list changes what the lists say of an address or a domain.
func (z *zones) list(what subject, l Listing, views []string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	all, usual := z.lists.ofDomains, domainCode
	if what.ip.IsValid() {
		all, usual = z.lists.ofAddresses, DefaultCode
	}
	if l.Zone == "" && len(all) > 0 {
		l.Zone = all[0]
	}
	if !slices.Contains(all, l.Zone) {
		return fmt.Errorf("list %s in %q: %w", what.text, l.Zone, ErrNoList)
	}
	key := canonical(what.name(l.Zone))
	says := map[string]parsedName{}
	answers := map[string]string{"": l.Code}
	for view, code := range l.Views {
		if !slices.Contains(views, view) {
			return fmt.Errorf("list %s: there is no view %q", what.text, view)
		}
		answers[view] = code
	}
	for view, code := range answers {
		p := parsedName{rcode: dns.RcodeNameError}
		if code != clean {
			if code == "" {
				code = usual
			}
			if a, err := netip.ParseAddr(code); err != nil || !a.Is4() {
				return fmt.Errorf("list %s: code %q is neither an IPv4 address nor %q", what.text, code, clean)
			}
			var err error
			if p, err = parseName(key, *listed(l.Zone, what.text, code)); err != nil {
				return err
			}
		}
		says[view] = p
	}
	for _, view := range append([]string{""}, views...) {
		if z.lists.views[view] == nil {
			z.lists.views[view] = map[string]parsedName{}
		}
		delete(z.lists.views[view], key)
		if p, ok := says[view]; ok {
			if len(z.lists.views[view]) >= maxNames {
				return errors.New("list address: too many listings")
			}
			z.lists.views[view][key] = p
		}
	}
	return nil
}

// lookList finds what a view hears of a list's name. The caller holds mu.
func (z *zones) lookList(view, name string) (parsedName, bool) {
	for _, v := range []string{view, ""} {
		if p, ok := z.lists.views[v][name]; ok {
			return p, true
		}
	}
	return parsedName{}, false
}

// SetListing changes what the lab's DNS lists say of an address or a domain.
func (l *Lab) SetListing(what string, x Listing) error {
	s, err := subjectOf(what)
	if err != nil {
		return err
	}
	views := make([]string, 0, len(l.cfg.Views))
	for v := range l.cfg.Views {
		views = append(views, v)
	}
	return l.zones.list(s, x, views)
}

// putListing takes a code or "clean" as one word, a Listing, or nothing at all
// for a listing with the usual code.
func (l *Lab) putListing(w http.ResponseWriter, r *http.Request) {
	b, ok := read(w, r)
	if !ok {
		return
	}
	var x Listing
	if word := strings.TrimSpace(string(b)); strings.HasPrefix(word, "{") {
		if err := json.Unmarshal(b, &x); err != nil {
			refuse(w, http.StatusBadRequest, "read listing: "+err.Error())
			return
		}
	} else {
		x.Code = strings.Trim(word, `"`)
	}
	l.answerListing(w, r.PathValue("what"), x)
}

func (l *Lab) deleteListing(w http.ResponseWriter, r *http.Request) {
	l.answerListing(w, r.PathValue("what"), Listing{Zone: r.URL.Query().Get("zone"), Code: clean})
}

func (l *Lab) answerListing(w http.ResponseWriter, what string, x Listing) {
	if err := l.SetListing(what, x); err != nil {
		code := http.StatusBadRequest
		if errors.Is(err, ErrNoList) {
			code = http.StatusNotFound
		}
		refuse(w, code, err.Error())
		return
	}
	show(w, x)
}
