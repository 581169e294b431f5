package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"postern/tenant"
)

// TenantData reads what this node's files have of a tenant.
type TenantData interface {
	// Data gives some of it behind a place ("": the beginning), and the place to
	// go on from; "" at the end.
	Data(ctx context.Context, t tenant.ID, after string) (items []DataItem, next string, err error)
}

// DataItem is one thing that is kept of a tenant.
type DataItem struct {
	Kind string          `json:"kind" enum:"tenant,account,known,declaration,usage,case,journal,message,body,suppression"`
	ID   string          `json:"id,omitempty" doc:"Of a message and its body"`
	Data json.RawMessage `json:"data,omitempty"`
	// Body is a piece of a message as it goes out, in order.
	Body []byte `json:"body,omitempty"`
}

func (s *Server) dataRoutes() {
	type get struct {
		Tenant string `path:"tenant" minLength:"1" maxLength:"63"`
		Node   string `query:"node" maxLength:"63" doc:"What this node's files have; absent: what the cluster's state has"`
		After  string `query:"after" maxLength:"400"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/tenants/{tenant}/data", id: "get-tenant-data", tag: "tenant",
		does: "Read all that is kept of one tenant, by pages: of the state, or of a node"},
		func(ctx context.Context, who caller, i *get) (*out[Page[DataItem]], error) {
			st, err := s.read(ctx)
			if err != nil {
				return nil, err
			}
			t, err := findTenant(st, who, i.Tenant)
			if err != nil {
				return nil, err
			}
			if i.After == "" && !who.passedOn {
				if _, err := s.disclose(ctx, st, tenant.Disclosed{What: tenant.DisclosedData, Tenant: t.ID}); err != nil {
					return nil, err
				}
			}
			switch {
			case i.Node == "":
				return answered(s.stateData(st, t))
			case i.Node != s.cfg.Node && st.NodeByName(i.Node) == nil:
				return nil, absent("node", i.Node)
			case i.Node != s.cfg.Node && (s.peers == nil || who.passedOn):
				return nil, problem(http.StatusServiceUnavailable, "try again", "node %s cannot be asked from here", i.Node)
			case i.Node != s.cfg.Node:
				p, err := s.peers.node(i.Node, who).TenantData(ctx, i.Tenant, i.Node, i.After)
				return answered(passed(p, err))
			case s.cfg.Data == nil:
				return reply(Page[DataItem]{Items: []DataItem{}}), nil
			}
			items, next, err := s.cfg.Data.Data(ctx, t.ID, i.After)
			if err != nil {
				return nil, s.fail(ctx, "read tenant's data", err)
			}
			if items == nil {
				items = []DataItem{}
			}
			return reply(Page[DataItem]{Items: items, Next: next}), nil
		})
}

// stateData is what the state has of a tenant: one page, for it is small. Of
// cases and journal only what is about this tenant.
func (s *Server) stateData(st *tenant.State, t *tenant.Tenant) (Page[DataItem], error) {
	page := Page[DataItem]{Items: []DataItem{}}
	var failed error
	add := func(kind string, v any) {
		b, err := json.Marshal(v)
		if err != nil && failed == nil {
			failed = err
		}
		page.Items = append(page.Items, DataItem{Kind: kind, Data: b})
	}
	add("tenant", viewTenant(st, t, nil))
	for a := range st.AccountsOf(t.ID) {
		add("account", viewAccount(st, a))
		for _, u := range st.UsagesOf(a.ID) {
			add("usage", map[string]any{"account": a.Username, "window": u.Window.String(), "mails": u.Used.Mails, "bytes": u.Used.Bytes})
		}
		if k := viewKnown(st, a); len(k.Evidence)+len(k.Heard)+len(k.SentAs)+len(k.Links) > 0 {
			add("known", k)
		}
	}
	d, err := s.export(st, t.Name, ExportSecrets{})
	if err != nil {
		return page, err
	}
	add("declaration", d)
	for c := range st.Cases() {
		// No view of a case: others' names and points are in it.
		v := dataCase{Case: c.ID, Source: c.Addr.String(), Raised: c.Raised, Ended: instant(c.Ended)}
		for _, x := range c.Suspects {
			if a := st.Account(x.Account); a != nil && x.Tenant == t.ID {
				v.Points = append(v.Points, dataPoints{a.Username, x.Score})
			}
		}
		for _, f := range c.Fates {
			if f.Tenant == t.ID {
				v.Fate = f.Why
			}
		}
		if v.Fate != "" || len(v.Points) > 0 {
			add("case", v)
		}
	}
	for e := range st.Journal() {
		if e.Tenant == t.ID && !e.Gone() {
			add("journal", viewEntry(e))
		}
	}
	return page, failed
}

// TenantData reads a page of what a node, or with "" the state, has of a tenant.
func (c *Client) TenantData(ctx context.Context, name, node, after string) (Page[DataItem], error) {
	return ask[Page[DataItem]](ctx, c, http.MethodGet, path("tenants", name, "data")+List{After: after}.query("node", node), nil)
}

// dataKnown is what is weighed of an account when a source of its is listed.
type dataKnown struct {
	Account  string         `json:"account"`
	Evidence []dataEvidence `json:"evidence,omitempty"`
	Heard    []dataHeard    `json:"heard,omitempty"`
	SentAs   []string       `json:"sent_as,omitempty"`
	Links    []string       `json:"links,omitempty"`
}

type dataEvidence struct {
	At     time.Time `json:"at"`
	Source string    `json:"source,omitempty"`
	Note   string    `json:"note"`
}

type dataHeard struct {
	Kind  string    `json:"kind"`
	At    time.Time `json:"at"`
	Count uint64    `json:"count"`
}

func viewKnown(st *tenant.State, a *tenant.Account) dataKnown {
	known := st.KnownOf(a.ID)
	v := dataKnown{Account: a.Username, SentAs: known.SentAs, Links: known.Links}
	for _, e := range known.Evidence {
		x := dataEvidence{At: e.At, Note: e.Note}
		if src := st.Source(e.Source); src != nil {
			x.Source = src.Addr.String()
		}
		v.Evidence = append(v.Evidence, x)
	}
	for _, h := range known.Heard {
		v.Heard = append(v.Heard, dataHeard{h.Kind.String(), h.At, h.Count})
	}
	return v
}

// dataCase is what one case says of one tenant.
type dataCase struct {
	Case   uint64       `json:"case"`
	Source string       `json:"source"`
	Raised time.Time    `json:"raised"`
	Ended  *time.Time   `json:"ended,omitempty"`
	Points []dataPoints `json:"points,omitempty"`
	Fate   string       `json:"fate,omitempty"`
}

type dataPoints struct {
	Account string `json:"account"`
	Points  int    `json:"points"`
}
