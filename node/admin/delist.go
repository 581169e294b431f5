package admin

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"postern/tenant"
)

// Delist is how a list takes an address off, and what was asked of it.
type Delist struct {
	Link    string     `json:"link,omitempty"`
	How     string     `json:"how,omitempty" doc:"What to do there"`
	Ask     bool       `json:"ask" doc:"There is somebody to ask; else the entry ends by itself"`
	Asked   *time.Time `json:"asked,omitempty" doc:"The last time"`
	By      string     `json:"by,omitempty"`
	Times   uint64     `json:"times,omitempty"`
	Next    *time.Time `json:"next,omitempty" doc:"The list takes no other request before"`
	Cleared *time.Time `json:"cleared,omitempty" doc:"The list said clean again"`
}

// AskDelisting notes that a list was asked.
type AskDelisting struct {
	Zone  string `json:"zone" minLength:"1" maxLength:"253"`
	Again bool   `json:"again,omitempty" doc:"Also before the list takes the next request"`
}

func (s *Server) delistRoutes() {
	type asked struct {
		ToSource
		Body AskDelisting
	}
	register(s, in{verb: http.MethodPost, path: "/v1/listings/{addr}/delist", id: "ask-delisting", tag: "listing",
		does: "Note that a list was asked to take a source off, by whom and when"},
		func(ctx context.Context, _ caller, i *asked) (*out[Delist], error) {
			st := s.cfg.State()
			x := sourceByText(st, i.Addr)
			if x == nil {
				return nil, absent("source", i.Addr)
			}
			op := tenant.AskedDelisting{Source: x.ID, Zone: strings.ToLower(i.Body.Zone), Again: i.Body.Again}
			_, again, _ := s.howToDelist(st, x, op.Zone)
			op.Next = time.Now().Add(again).UTC()
			_, st, err := s.propose(ctx, i.Keyed, op)
			if err != nil {
				return nil, err
			}
			v := s.viewDelist(st, x, op.Zone)
			return reply(*v), nil
		})
}

// howToDelist asks for the texts with what the nodes were told of a source.
func (s *Server) howToDelist(st *tenant.State, x *tenant.Source, zone string) (how string, again time.Duration, ask bool) {
	if s.cfg.Delist == nil {
		return "", 24 * time.Hour, true
	}
	var codes []netip.Addr
	for _, g := range st.Sightings(x.ID) {
		if g.Zone == zone {
			codes = append(codes, g.Answer.Values...)
		}
	}
	return s.cfg.Delist(zone, codes)
}

// viewDelist is how a zone takes a source off, and what it was asked.
func (s *Server) viewDelist(st *tenant.State, x *tenant.Source, zone string) *Delist {
	v := &Delist{}
	v.How, _, v.Ask = s.howToDelist(st, x, zone)
	if l := st.Lists(); l != nil && l.Zone(zone) != nil {
		v.Link = strings.ReplaceAll(l.Zone(zone).Delist, "{}", x.Addr.String())
	}
	if d := st.Delisting(x.ID, zone); d != nil {
		v.Asked, v.By, v.Times, v.Next, v.Cleared = instant(d.Asked), d.By, d.Times, instant(d.Next), instant(d.Cleared)
	}
	return v
}
