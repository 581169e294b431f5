package admin

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"postern/tenant"
)

func (s *Server) sourceRoutes() {
	s.enrolRoutes()
	type list struct {
		Paged
		Node string `query:"node" maxLength:"63"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/sources", id: "list-sources", tag: "source", does: "List the outbound IPs"},
		func(_ context.Context, _ caller, i *list) (*out[Page[Source]], error) {
			st := s.cfg.State()
			var all []Source
			for x := range st.Sources() {
				if i.Node == "" || nodeName(st, x.Node) == i.Node {
					all = append(all, viewSource(st, x))
				}
			}
			return reply(cut(all, i.Paged, func(x Source) string { return x.Addr }, byAddr)), nil
		})
	type add struct {
		Keyed
		Body NewSource
	}
	register(s, in{verb: http.MethodPost, path: "/v1/sources", id: "add-source", tag: "source", status: http.StatusCreated,
		does: "Register an outbound IP on a node"},
		func(ctx context.Context, _ caller, i *add) (*out[Source], error) {
			st := s.cfg.State()
			n := st.NodeByName(i.Body.Node)
			if n == nil {
				return nil, absent("node", i.Body.Node)
			}
			addr, err := netip.ParseAddr(i.Body.Addr)
			if err != nil || addr.Zone() != "" {
				return nil, badField("body.addr", "give one IPv4 or IPv6 address", "is no address")
			}
			warm, err := readWarm(st, i.Body.WarmSince)
			if err != nil {
				return nil, s.fail(ctx, "read day", err)
			}
			events, st, err := s.propose(ctx, i.Keyed, tenant.AddSource{Node: n.ID, Addr: addr.Unmap(), EHLO: i.Body.EHLO, Shared: i.Body.Shared})
			if err != nil {
				return nil, err
			}
			if e, ok := created[tenant.SourceAdded](events); ok {
				if x := st.Source(e.Source); x != nil {
					if !warm.IsZero() {
						if _, st, err = s.propose(ctx, i.Keyed.apart("warm"), tenant.SetWarm{Source: x.ID, Since: warm}); err != nil {
							return nil, err
						}
					}
					return reply(viewSource(st, x)), nil
				}
			}
			return nil, absent("source", i.Body.Addr)
		})
	type remove struct {
		Keyed
		Addr string `path:"addr" maxLength:"45"`
	}
	register(s, in{verb: http.MethodDelete, path: "/v1/sources/{addr}", id: "remove-source", tag: "source",
		status: http.StatusNoContent, does: "Take away an outbound IP that no place names"},
		func(ctx context.Context, _ caller, i *remove) (*none, error) {
			x := sourceByText(s.cfg.State(), i.Addr)
			if x == nil {
				return nil, absent("source", i.Addr)
			}
			_, _, err := s.propose(ctx, i.Keyed, tenant.RemoveSource{Source: x.ID})
			return nil, err
		})
}

// readWarm reads the day since which a source is warm; "" is none. What a node
// does not know yet is refused before the source is made.
func readWarm(st *tenant.State, text string) (day time.Time, err error) {
	if text == "" {
		return day, nil
	}
	if day, err = tenant.ParseDay(text); err == nil && !st.Knows(tenant.SetWarm{}) {
		err = problem(http.StatusConflict, "upgrade every node first", "a node's program does not know warm sources")
	}
	return day, err
}

func viewSource(st *tenant.State, x *tenant.Source) Source {
	v := Source{ID: uint64(x.ID), Addr: x.Addr.String(), Node: nodeName(st, x.Node), EHLO: x.EHLO, Shared: x.Shared, Tenants: []string{}, Enrolments: viewEnrolments(st, x.ID)}
	if day := st.WarmSince(x.ID); !day.IsZero() {
		v.WarmSince = day.Format(time.DateOnly)
	}
	if x.Shared {
		v.Pool = st.PoolClass(x.ID).String()
	}
	for t := range st.Tenants() {
		if slices.Contains(st.SourcesAt(t.Home), x) || (t.Backup != tenant.Place{} && slices.Contains(st.SourcesAt(t.Backup), x)) {
			v.Tenants = append(v.Tenants, t.Name)
		}
	}
	slices.Sort(v.Tenants)
	return v
}

func sourceByText(st *tenant.State, text string) *tenant.Source {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return nil
	}
	return st.SourceByAddr(addr.Unmap())
}

func byAddr(a, b string) int {
	x, _ := netip.ParseAddr(a)
	y, _ := netip.ParseAddr(b)
	return x.Compare(y)
}

// place turns a view's place into the state's; the error names the field.
func place(st *tenant.State, field string, p Place) (tenant.Place, error) {
	n := st.NodeByName(p.Node)
	if n == nil {
		return tenant.Place{}, badField(field+".node", "postern node list shows the nodes", "no node %q", clip(p.Node))
	}
	if p.Source == "" {
		return tenant.Place{Node: n.ID}, nil
	}
	x := sourceByText(st, p.Source)
	if x == nil {
		return tenant.Place{}, badField(field+".source", "postern source list shows the sources", "no source %q", clip(p.Source))
	}
	return tenant.Place{Node: n.ID, Source: x.ID}, nil
}

func viewPlace(st *tenant.State, p tenant.Place) Place {
	v := Place{Node: nodeName(st, p.Node)}
	if x := st.Source(p.Source); x != nil {
		v.Source = x.Addr.String()
	}
	return v
}
