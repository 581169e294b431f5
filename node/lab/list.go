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

// Listing is what a DNS list (RFC 5782) of the lab says about an address.
type Listing struct {
	// Zone of the list; empty means the world's first.
	Zone string `json:"zone,omitempty"`
	// Code is the A value of the answer: DefaultCode when empty. "clean" takes
	// the address off the list.
	Code string `json:"code,omitempty"`
	// Views are those who hear something else than Code: a code each, or "clean".
	Views map[string]string `json:"views,omitempty"`
}

const clean = "clean"

// lists are the DNS lists of the lab: an overlay of its zones that may differ
// from view to view.
type lists struct {
	zones []string
	views map[string]map[string]parsedName // by view; "" is what all see
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

// addLists gives each zone its test points: the one it must list (RFC 5782 §5).
func (z *zones) addLists(names []string) error {
	for _, zone := range names {
		if err := z.set(zone, &Name{}); err != nil {
			return err
		}
		for _, point := range []string{"127.0.0.2", "::ffff:127.0.0.2"} {
			if err := z.set(ListName(netip.MustParseAddr(point), zone), listed(zone, point, DefaultCode)); err != nil {
				return err
			}
		}
	}
	z.lists = lists{zones: names, views: map[string]map[string]parsedName{}}
	return nil
}

func listed(zone, what, code string) *Name {
	return &Name{Records: []string{"A " + code, fmt.Sprintf("TXT %q", "Listed by "+zone+", see https://"+zone+"/?"+what)}, TTL: 1}
}

// list changes what the lists say of an address.
func (z *zones) list(ip netip.Addr, l Listing, views []string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	if l.Zone == "" && len(z.lists.zones) > 0 {
		l.Zone = z.lists.zones[0]
	}
	if !slices.Contains(z.lists.zones, l.Zone) {
		return fmt.Errorf("list %s in %q: %w", ip, l.Zone, ErrNoList)
	}
	key := canonical(ListName(ip, l.Zone))
	says := map[string]parsedName{}
	answers := map[string]string{"": l.Code}
	for view, code := range l.Views {
		if !slices.Contains(views, view) {
			return fmt.Errorf("list %s: there is no view %q", ip, view)
		}
		answers[view] = code
	}
	for view, code := range answers {
		p := parsedName{rcode: dns.RcodeNameError}
		if code != clean {
			if code == "" {
				code = DefaultCode
			}
			if a, err := netip.ParseAddr(code); err != nil || !a.Is4() {
				return fmt.Errorf("list %s: code %q is neither an IPv4 address nor %q", ip, code, clean)
			}
			var err error
			if p, err = parseName(key, *listed(l.Zone, ip.String(), code)); err != nil {
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

// SetListing changes what the lab's DNS lists say of an address.
func (l *Lab) SetListing(ip netip.Addr, x Listing) error {
	views := make([]string, 0, len(l.cfg.Views))
	for v := range l.cfg.Views {
		views = append(views, v)
	}
	return l.zones.list(ip.Unmap(), x, views)
}

// putListing takes a code or "clean" as one word, a Listing, or nothing at all
// for a listing with the default code.
func (l *Lab) putListing(w http.ResponseWriter, r *http.Request) {
	b, ok := read(w, r)
	if !ok {
		return
	}
	ip, err := netip.ParseAddr(r.PathValue("ip"))
	if err != nil {
		refuse(w, http.StatusBadRequest, "read address: "+err.Error())
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
	l.answerListing(w, ip, x)
}

func (l *Lab) deleteListing(w http.ResponseWriter, r *http.Request) {
	ip, err := netip.ParseAddr(r.PathValue("ip"))
	if err != nil {
		refuse(w, http.StatusBadRequest, "read address: "+err.Error())
		return
	}
	l.answerListing(w, ip, Listing{Zone: r.URL.Query().Get("zone"), Code: clean})
}

func (l *Lab) answerListing(w http.ResponseWriter, ip netip.Addr, x Listing) {
	if err := l.SetListing(ip, x); err != nil {
		code := http.StatusBadRequest
		if errors.Is(err, ErrNoList) {
			code = http.StatusNotFound
		}
		refuse(w, code, err.Error())
		return
	}
	show(w, x)
}
