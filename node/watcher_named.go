package node

import (
	"slices"
	"time"

	"postern/node/bounce"
	"postern/node/delivery"
	"postern/node/dnsbl"
	"postern/tenant"
)

// attend asks lists at once that refusals named, whichever node they came to:
// the next round may be hours away. Anybody's mail host can name a list, so
// that alone makes one asked no oftener than a third of the time for which a
// refusal counts; what it says is then confirmed without waiting for its rounds.
func (w *watcher) attend(st *tenant.State, now time.Time) {
	for _, src := range w.watched {
		all := wordsOf(st, src)
		if x := st.Denial(src.ID); x != nil {
			all = append(all, x.Named...)
		}
		for _, n := range all {
			if now.Sub(n.At) > w.rule.Fresh || !w.due(src, n, now) {
				continue
			}
			w.hurried[n.Zone] = now
			w.observer.Hurry(n.Zone)
			w.log.Info("a refusal or its operator names a DNS list: it is asked at once", "zone", n.Zone, "source", src.Addr.String())
		}
	}
}

// wordsOf are those of the cluster's lists whose operators wrote about a source.
func wordsOf(st *tenant.State, src *tenant.Source) []tenant.Naming {
	l, words := st.Lists(), st.ListWords(src.ID)
	if l == nil || len(words) == 0 {
		return nil
	}
	var zones []delivery.ZoneEvidence
	for _, w := range words {
		zones = append(zones, delivery.ZoneEvidence{Zone: bounce.CanonicalZone(w.Zone), Last: w.Last})
	}
	return named(l, src, zones)
}

// due says whether a list that was named should be asked now: it was not since,
// or it does say listed and a round is missing.
func (w *watcher) due(src *tenant.Source, n tenant.Naming, now time.Time) bool {
	var k dnsbl.Known // of nothing, before its first answer
	known := w.observer.Known(dnsbl.AddrSubject(src.Addr))
	if i := slices.IndexFunc(known, func(k dnsbl.Known) bool { return k.Zone == n.Zone }); i >= 0 {
		k = known[i]
	}
	ago := now.Sub(w.hurried[n.Zone])
	if k.At.Before(n.At) {
		return ago >= max(w.rule.Fresh/3, w.rule.Apart)
	}
	missing := k.Latest.Kind == tenant.AnswerListed && k.Sighting.Rounds < max(w.rule.Rounds, w.rule.Alone)
	return missing && ago >= w.rule.Apart && now.Sub(k.Sighting.Counted) >= w.rule.Apart
}
