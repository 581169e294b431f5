package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"postern/tenant"
)

// Import is what was made for a tenant of what another server's files say.
type Import struct {
	Tenant   string    `json:"tenant"`
	New      bool      `json:"new,omitempty" doc:"It made the tenant itself, too"`
	From     string    `json:"from" doc:"What was read"`
	At       time.Time `json:"at" doc:"When first"`
	Accounts []string  `json:"accounts" nullable:"false"`
	Domains  []string  `json:"domains" nullable:"false"`
	Sources  []string  `json:"sources" nullable:"false"`
	Routes   []string  `json:"routes" nullable:"false"`
}

// UndoImport takes an import back.
type UndoImport struct {
	DryRun bool `json:"dry_run,omitempty" doc:"Say what would go, and take nothing away"`
}

func (s *Server) importRoutes() {
	register(s, in{verb: http.MethodGet, path: "/v1/imports", id: "list-imports", tag: "apply",
		does: "List what was imported of other servers and can be taken back"},
		func(_ context.Context, _ caller, i *Paged) (*out[Page[Import]], error) {
			st := s.cfg.State()
			all := []Import{}
			for x := range st.Imports() {
				all = append(all, viewImport(st, x))
			}
			return reply(cut(all, *i, func(x Import) string { return x.Tenant }, strings.Compare)), nil
		})
	type undo struct {
		ToTenant
		Body UndoImport
	}
	register(s, in{verb: http.MethodPost, path: "/v1/tenants/{tenant}/import/undo", id: "undo-import", tag: "apply",
		does: "Take back what an import made for a tenant, while none of it has mail in the queue"},
		func(ctx context.Context, who caller, i *undo) (*out[Applied], error) {
			return answered(s.undoImport(ctx, who, i.Keyed, i.Tenant, i.Body.DryRun))
		})
}

func (s *Server) undoImport(ctx context.Context, who caller, k Keyed, name string, dry bool) (Applied, error) {
	done := Applied{Operations: []Operation{}, DryRun: dry}
	st, err := s.read(ctx)
	if err != nil {
		return done, err
	}
	t, err := findTenant(st, who, name)
	if err != nil {
		return done, err
	}
	x := st.Import(t.ID)
	if x == nil {
		return done, problem(http.StatusConflict, "postern import list shows what can be taken back", "nothing of tenant %q was imported", t.Name)
	}
	changes, stays, bad := tenant.UndoImport(st, t.ID, func(op tenant.Op) tenant.Op { return s.vetted(k, op) })
	if len(bad) > 0 {
		p := notPossible(bad)
		p.Detail = "the import cannot be taken back: " + bad[0].Reason
		return done, p
	}
	if err := s.noMail(ctx, st, who, x); err != nil {
		return done, err
	}
	done.LeftAlone = stays
	done.Operations, done.Changed = viewOperations(changes, nil), true
	if dry {
		return done, nil
	}
	n, err := s.carryOut(ctx, k, "undo of the import of "+t.Name, st, changes, 0)
	if err != nil {
		return done, partly(err, n, n-len(changes))
	}
	return done, nil
}

// noMail refuses while mail waits that nobody would deliver or bounce without
// what the import made. What waits was accepted, so it is no reason to hurry: it
// goes on leaving, also when the customer's programs send elsewhere again.
func (s *Server) noMail(ctx context.Context, st *tenant.State, who caller, x *tenant.Import) error {
	t := st.Tenant(x.Tenant)
	mend := "let it leave (postern queue flush --tenant " + t.Name + " tries now), or end it: postern queue purge --tenant " + t.Name +
		"; meanwhile the customer's programs can use the old server"
	counts, missing := s.countsOf(ctx, st, who, t)
	if len(missing) > 0 {
		return problem(http.StatusServiceUnavailable, "try again when it runs, or a backup has taken over",
			"node %s owns tenant %q and does not say whether mail waits", missing[0], t.Name)
	}
	n := counts[t.ID].Messages
	if n == 0 {
		return nil
	}
	if x.New {
		return problem(http.StatusConflict, mend, "tenant %q has %s in the queue", t.Name, messages(n))
	}
	for _, id := range x.Accounts {
		a := st.Account(id)
		page, err := s.listQueue(ctx, who, Filter{Tenant: t.ID, Account: id, Limit: 1}, Match{Tenant: t.Name, Account: a.Username})
		if err != nil {
			return err
		}
		if len(page.Items) > 0 || len(page.Missing) > 0 {
			return problem(http.StatusConflict, mend, "account %s has messages in the queue", a.Username)
		}
	}
	return nil
}

func viewImport(st *tenant.State, x *tenant.Import) Import {
	v := Import{Tenant: st.Tenant(x.Tenant).Name, New: x.New, From: x.From, At: x.At, Accounts: []string{}, Domains: []string{}, Sources: []string{}, Routes: []string{}}
	for _, id := range x.Accounts {
		v.Accounts = append(v.Accounts, st.Account(id).Username)
	}
	for _, id := range x.Sources {
		v.Sources = append(v.Sources, st.Source(id).Addr.String())
	}
	v.Domains, v.Routes = append(v.Domains, x.Domains...), append(v.Routes, x.Routes...)
	slices.Sort(v.Accounts)
	return v
}

// Imports lists what was imported and can be taken back.
func (c *Client) Imports(ctx context.Context, l List) (Page[Import], error) {
	return ask[Page[Import]](ctx, c, http.MethodGet, path("imports")+l.query(), nil)
}

// UndoImport takes back what an import made for a tenant.
func (c *Client) UndoImport(ctx context.Context, tenant string, dry bool) (Applied, error) {
	return ask[Applied](ctx, c, http.MethodPost, path("tenants", tenant, "import", "undo"), UndoImport{DryRun: dry})
}
