package delivery

import (
	"context"
	"net/netip"
	"time"

	"postern/node/queue"
)

// host is one place to try: an MX host and its addresses, IPv6 first.
type host struct {
	Name  string
	Pref  uint16
	Addrs []netip.Addr
	Port  uint16
}

// site is what a recipient domain resolves to; its key names the site (the
// sorted MX host names), so domains with the same MXs share connections.
type site struct {
	Key   string
	Hosts []host    // in order of trial; equal preferences already shuffled
	Until time.Time // cache end
	Route bool      // a static route: no provider limits
}

// resolver finds sites; safe for concurrent use; answers come from a bounded
// cache that honours TTLs (positive and negative).
type resolver interface {
	// Site resolves domain. The error is a *routeError.
	Site(ctx context.Context, domain string) (*site, error)
}

// routeError is why a domain has no site. Permanent: null MX (5.1.10), no such
// domain (5.1.2), MX is ourselves (5.4.6). Otherwise temporary (4.4.3, 4.4.4).
type routeError struct {
	Reply     queue.Reply
	Permanent bool
	Err       error
}

func (e *routeError) Error() string { return e.Reply.Text }

