package delivery

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// lookup is one domain, or one static route's host, being resolved for the
// lanes that wait for it.
type lookup struct {
	key    string
	tenant tenant.ID // who asked first and pays with its share
	domain string
	route  *tenant.Route
	lanes  []*lane
}

// locate finds the lane's site: a static route comes before DNS.
func (s *scheduler) locate(l *lane, now time.Time) {
	route := s.cfg.State().RouteFor(l.key.Domain)
	key := "mx:" + l.key.Domain
	if route != nil {
		key = "route:" + net.JoinHostPort(route.Host, strconv.Itoa(int(route.Port)))
		if known := s.routes[key]; known != nil && now.Before(known.Until) {
			s.place(l, known, nil, now)
			return
		}
	}
	k := s.asked[key]
	if k == nil {
		k = &lookup{key: key, tenant: l.key.Tenant, domain: l.key.Domain, route: route}
		s.asked[key] = k
		s.toAsk.push(k.tenant, k)
	}
	l.lookup = k
	k.lanes = append(k.lanes, l)
	s.ask()
}

// ask starts look-ups while there is room. A tenant may have as many under way
// as are still free, so that one with a thousand dead domains leaves room.
func (s *scheduler) ask() {
	may := func(t tenant.ID) bool {
		return s.lookups < lookupMax && s.asking[t] < lookupMax-s.lookups
	}
	for s.toAsk.len() > 0 && !s.closing {
		k, ok := s.toAsk.pop(may)
		if !ok {
			return
		}
		s.lookups++
		s.asking[k.tenant]++
		s.resolving.Go(func() { s.resolve(k) })
	}
}

// resolve carries out one look-up and places the lanes that waited for it.
func (s *scheduler) resolve(k *lookup) {
	ctx, cancel := context.WithTimeout(s.ctx, lookupFor)
	defer cancel()
	found, fault := s.lookUp(ctx, k.domain, k.route)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookups--
	if s.asking[k.tenant]--; s.asking[k.tenant] == 0 {
		delete(s.asking, k.tenant)
	}
	delete(s.asked, k.key)
	if found != nil && k.route != nil {
		s.routes[k.key] = found
	}
	for _, l := range k.lanes {
		if l.lookup == k && !s.closing {
			l.lookup = nil
			s.place(l, found, fault, now)
		}
	}
	s.ask()
}

func (s *scheduler) lookUp(ctx context.Context, domain string, route *tenant.Route) (*site, *routeError) {
	var found *site
	var err error
	if route != nil {
		found, err = s.find.Route(ctx, route.Host, route.Port)
	} else {
		found, err = s.find.Site(ctx, domain)
	}
	switch fault, ok := errors.AsType[*routeError](err); {
	case err == nil && found != nil:
		return found, nil
	case ok:
		return nil, fault
	}
	return nil, &routeError{Reply: queue.Reply{Code: 451, Enhanced: "4.4.3", Text: "look-up of the domain failed"}, Err: err}
}
