package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"postern/tenant"
)

// maxZonesBody is a zones file as JSON.
const maxZonesBody = 1 << 20

func (s *Server) listingRoutes() {
	type set struct {
		Keyed
		Body SetLists
	}
	register(s, in{verb: http.MethodPut, path: "/v1/lists", id: "set-lists", tag: "listing", body: maxZonesBody,
		does: "Replace the DNS lists that the cluster believes"},
		func(ctx context.Context, _ caller, i *set) (*out[Lists], error) {
			op, err := s.readLists(i.Body)
			if err != nil {
				return nil, err
			}
			_, st, err := s.propose(ctx, i.Keyed, op)
			if err != nil {
				return nil, err
			}
			if err := s.setContain(ctx, st, i.Body.Round); err != nil {
				return nil, err
			}
			return reply(viewLists(st)), nil
		})
	register(s, in{verb: http.MethodGet, path: "/v1/lists", id: "get-lists", tag: "listing", does: "Show the DNS lists that the cluster believes"},
		func(_ context.Context, _ caller, _ *struct{}) (*out[Lists], error) {
			return reply(viewLists(s.cfg.State())), nil
		})
	type list struct{ Paged }
	register(s, in{verb: http.MethodGet, path: "/v1/listings", id: "list-listings", tag: "listing", does: "Say how each source stands with the DNS lists"},
		func(_ context.Context, _ caller, i *list) (*out[Page[Listing]], error) {
			st := s.cfg.State()
			var all []Listing
			for x := range st.Sources() {
				all = append(all, viewListing(st, x, st.Verdict(x.ID)))
			}
			return reply(cut(all, i.Paged, func(x Listing) string { return x.Addr }, byAddr)), nil
		})
	type one struct {
		Addr string `path:"addr" maxLength:"45"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/listings/{addr}", id: "get-listing", tag: "listing", does: "Show how a source stands, with every answer and the sum"},
		func(_ context.Context, _ caller, i *one) (*out[ListingDetail], error) {
			st := s.cfg.State()
			x := sourceByText(st, i.Addr)
			if x == nil {
				return nil, absent("source", i.Addr)
			}
			return reply(s.viewListingDetail(st, x)), nil
		})
}

func (s *Server) readLists(b SetLists) (tenant.SetLists, error) {
	if s.cfg.ReadZones == nil {
		return tenant.SetLists{}, problem(http.StatusNotFound, "", "this node reads no zones files")
	}
	op, faults := s.cfg.ReadZones(b.Zones)
	if len(faults) > 0 {
		p := badField("body.zones", "postern zones --check FILE says it with line numbers", "%s", faults[0])
		for _, f := range faults[1:min(len(faults), 20)] {
			p.Errors = append(p.Errors, Fault{Message: f, Location: "body.zones"})
		}
		return op, p
	}
	if b.Round == "" {
		return op, nil
	}
	round, err := time.ParseDuration(b.Round)
	if err != nil || round < 100*time.Millisecond || round > time.Hour {
		return op, badField("body.round", "write 100ms to 1h", "is no length of a round")
	}
	return op.Scaled(round), nil
}

func viewLists(st *tenant.State) Lists {
	v := Lists{Zones: []ListZone{}}
	l := st.Lists()
	if l == nil {
		return v
	}
	v.Apart, v.Calm = l.Rule.Apart.String(), l.Rule.Calm.String()
	for i := range l.Zones {
		z := &l.Zones[i]
		v.Zones = append(v.Zones, ListZone{Name: z.Name, Heavy: z.Heavy, Every: z.Every.String(), Keyed: z.Keyed(), Aside: l.IsAside(z.Name)})
	}
	return v
}

func viewListing(st *tenant.State, x *tenant.Source, j tenant.ListingVerdict) Listing {
	v := Listing{Addr: x.Addr.String(), Node: nodeName(st, x.Node), Level: "unheard", Heavy: j.Heavy, Usable: j.Usable}
	l := st.Listing(x.ID)
	if l == nil {
		return v
	}
	v.Level, v.Since, v.Score, v.Listed, v.Calm = j.Level.String(), instant(l.Since), j.Score, instant(l.Raised), instant(l.Calm)
	return v
}

// instant is nil for no time at all.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (s *Server) viewListingDetail(st *tenant.State, x *tenant.Source) ListingDetail {
	j := st.Verdict(x.ID)
	v := ListingDetail{Listing: viewListing(st, x, j), Soon: j.Soon, Needs: append([]string{}, j.Needs...), Zones: []ListingZone{}}
	answers := map[string][]ListingAnswer{}
	for _, g := range st.Sightings(x.ID) {
		answers[g.Zone] = append(answers[g.Zone], viewAnswer(g))
	}
	for _, w := range st.ListWords(x.ID) {
		v.Written = append(v.Written, ListWord(w))
	}
	v.Refusals = viewRefusals(st.Denial(x.ID), j.Evidence)
	if c := lastCase(st, x.ID); c != nil {
		one := viewCase(st, c)
		v.Case = &one
		v.Incident = s.incident(st, c)
	}
	l := st.Lists()
	for _, t := range j.Terms {
		z := ListingZone{Zone: t.Zone, Heavy: l.Zone(t.Zone).Heavy, State: t.State.String(), Listed: t.Listed, Clean: t.Clean, Blind: t.Blind,
			Weight: t.Weight, Counts: t.Counts, Answers: answers[t.Zone]}
		if z.Answers == nil {
			z.Answers = []ListingAnswer{}
		}
		if t.Listed > 0 {
			z.Delist = strings.ReplaceAll(l.Zone(t.Zone).Delist, "{}", v.Addr)
		}
		if t.Listed > 0 || st.Delisting(x.ID, t.Zone) != nil {
			z.Delisting = s.viewDelist(st, x, t.Zone)
		}
		v.Zones = append(v.Zones, z)
	}
	return v
}

func viewRefusals(x *tenant.Denial, counts int) *Refusals {
	if x == nil {
		return nil
	}
	v := &Refusals{At: x.At, Attempts: x.Attempts, Refused: x.Refused, Messages: x.Messages, Providers: []RefusalProvider{}, Named: []string{}, Counts: counts}
	for _, p := range x.Providers {
		v.Providers = append(v.Providers, RefusalProvider{p.Provider, p.Refused})
	}
	for _, n := range x.Named {
		v.Named = append(v.Named, n.Zone)
	}
	return v
}

func viewAnswer(s tenant.Sighting) ListingAnswer {
	a := s.Answer
	v := ListingAnswer{Node: s.Node, Since: instant(s.Since), Last: instant(s.Last), Rounds: s.Rounds}
	if !s.DoubtSince.IsZero() {
		a, v.Since = s.Doubt, instant(s.DoubtSince)
	}
	v.Says, v.Why, v.Text, v.Codes, v.Means = a.Kind.String(), a.Why.Text(), a.Text, []string{}, []string{}
	for _, c := range a.Values {
		v.Codes = append(v.Codes, c.String())
	}
	for _, h := range a.Hits {
		v.Means = append(v.Means, h.Means)
	}
	return v
}
