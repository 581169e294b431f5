package node

import (
	"slices"
	"time"

	"golang.org/x/net/publicsuffix"

	"postern/node/dnsbl"
	"postern/tenant"
)

// namesEvery is how often it is looked which names lists are asked about.
const namesEvery = 5 * time.Second

// domainsOf are the domains that lists are asked about: of each name the part
// somebody registered, because that is what lists have.
func domainsOf(names []string) (all []dnsbl.Subject) {
	seen := make(map[dnsbl.Subject]bool, len(names))
	for _, name := range names {
		s, err := dnsbl.ParseSubject(registered(name))
		if err == nil && s.Space() == tenant.SpaceDomain && !seen[s] {
			seen[s] = true
			all = append(all, s)
		}
	}
	return all
}

// registered is the part of a name that somebody registered, or the name when
// that is a public suffix itself.
func registered(name string) string {
	if above, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return above
	}
	return name
}

// names looks which domains to ask about now.
func (w *watcher) names(st *tenant.State, now time.Time) []dnsbl.Subject {
	asks := slices.ContainsFunc(w.zones, func(z tenant.Zone) bool { return z.Asks(tenant.SpaceDomain) })
	if !asks || !st.Knows(tenant.SawDomains{}) {
		return nil
	}
	if w.domains != nil && now.Sub(w.named) < namesEvery {
		return w.domains
	}
	w.named = now
	return domainsOf(st.ListNames())
}

// newsOfDomains is what the observer knows of domains and the state does not. It
// adds to asked how far each zone was asked about all of them.
func (w *watcher) newsOfDomains(st *tenant.State, me tenant.NodeID, asked map[string]*asking) tenant.SawDomains {
	op := tenant.SawDomains{Node: me}
	for i := range w.zones {
		if z := &w.zones[i]; z.Asks(tenant.SpaceDomain) {
			asked[z.Name].wanted += len(w.domains)
		}
	}
	for _, s := range w.domains {
		for _, k := range w.observer.Known(s) {
			a := asked[k.Zone]
			doubt := isDoubt(a.zone, k)
			a.addDomain(k, doubt)
			x := tenant.SeenDomain{Domain: s.String(), Zone: k.Zone, At: k.At, Values: k.Latest.Values, Why: whyOf(k.Latest)}
			if (k.Latest.Says() || doubt) && len(op.Seen) < tenant.MaxSawDomains && st.LacksDomain(me, x) {
				op.Seen = append(op.Seen, x)
			}
		}
	}
	return op
}

// isDoubt says whether it is to be told that a domain got no answer: it never had
// one, or has none for more than a round. A lost packet is not told, nor the ill
// health of a zone domain by domain: what is known grows old then.
func isDoubt(z *tenant.Zone, k dnsbl.Known) bool {
	if k.Latest.Says() || k.Ill {
		return false
	}
	return k.Sighting.Rounds == 0 || k.At.Sub(k.Sighting.DoubtSince) >= z.Every/2
}

// addDomain counts an answer about a domain. What a doubt is told of says nothing
// of how far was asked; what is not told counts by its last answer.
func (a *asking) addDomain(k dnsbl.Known, doubt bool) {
	at := k.Sighting.Last
	switch {
	case doubt:
		a.heard++
		return
	case k.Sighting.Rounds == 0:
		return
	case k.Latest.Says():
		at = k.At
	}
	a.heard++
	if a.oldest.IsZero() || at.Before(a.oldest) {
		a.oldest = at
	}
}
