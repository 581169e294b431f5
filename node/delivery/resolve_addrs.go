package delivery

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

type foundAddrs struct {
	addrs []netip.Addr
	ttl   time.Duration
	err   error
}

// addressesOf looks up all hosts, a few at once. It returns when all are done.
func (r *mxResolver) addressesOf(ctx context.Context, list []host) []foundAddrs {
	found := make([]foundAddrs, len(list))
	one := func(i int) {
		addrs, until, err := r.hostAddrs(ctx, list[i].Name)
		found[i] = foundAddrs{addrs, until.Sub(r.cfg.Now()), err}
	}
	if len(list) == 1 {
		one(0)
		return found
	}
	var g errgroup.Group
	g.SetLimit(maxParallel)
	for i := range list {
		g.Go(func() error { one(i); return nil })
	}
	g.Wait()
	return found
}

// hostAddrs gives a host's addresses, IPv6 first. No addresses and no error:
// the name has none.
func (r *mxResolver) hostAddrs(ctx context.Context, name string) ([]netip.Addr, time.Time, error) {
	return r.addrs.get(ctx, name, func(ctx context.Context) ([]netip.Addr, time.Time, error) {
		addrs, keep, err := r.findAddrs(ctx, name)
		return addrs, r.cfg.Now().Add(keep), err
	})
}

func (r *mxResolver) findAddrs(ctx context.Context, name string) ([]netip.Addr, time.Duration, error) {
	var six records
	var err6 error
	var g errgroup.Group
	g.Go(func() error { six, err6 = r.lookUp(ctx, name, dns.TypeAAAA, 0); return nil })
	four, err4 := r.lookUp(ctx, name, dns.TypeA, 0)
	g.Wait()
	list := append(six.addresses(), four.addresses()...)
	switch {
	case len(list) == 0 && (err4 != nil || err6 != nil):
		return nil, keepFailure, errors.Join(err4, err6)
	case len(list) == 0:
		return nil, clampNegative(min(four.ttl, six.ttl)), nil
	case err4 != nil || err6 != nil:
		return firstOfEach(list), keepFailure, nil
	case len(six.rrs) == 0: // the absence of AAAA is no reason to ask for A again
		return firstOfEach(list), clampTTL(four.ttl), nil
	case len(four.rrs) == 0:
		return firstOfEach(list), clampTTL(six.ttl), nil
	}
	return firstOfEach(list), clampTTL(min(four.ttl, six.ttl)), nil
}

// firstOfEach bounds a host's addresses and keeps room for both families, so
// that many broken IPv6 addresses cannot hide a working IPv4 one.
func firstOfEach(list []netip.Addr) []netip.Addr {
	var kept []netip.Addr
	six, four := 0, 0
	for _, a := range list {
		n := &four
		if a.Is6() {
			n = &six
		}
		if *n++; *n <= maxHostAddr/2 {
			kept = append(kept, a)
		}
	}
	return kept
}

// lookUp asks for name and follows aliases the server did not follow itself.
func (r *mxResolver) lookUp(ctx context.Context, name string, qtype uint16, from int) (records, error) {
	asked := canonical(name)
	ttl := maxTTL
	for range maxAliases {
		m, err := r.dns.ask(ctx, asked, qtype, from)
		if err != nil {
			return records{}, err
		}
		rec := readRecords(m, asked, qtype)
		open := len(rec.rrs) == 0 && !rec.none && !rec.loop && rec.name != asked && len(m.Ns) == 0
		if !open {
			rec.ttl = min(rec.ttl, ttl)
			return rec, nil
		}
		asked = rec.name
	}
	return records{loop: true}, nil
}
