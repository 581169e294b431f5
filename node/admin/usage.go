package admin

import (
	"context"
	"net/http"
	"sync"
	"time"

	"postern/tenant"
)

func (s *Server) usageRoutes() {
	type list struct {
		Paged
		Tenant  string `query:"tenant" maxLength:"63"`
		Account string `query:"account" maxLength:"254"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/usage", id: "list-usage", tag: "usage", access: tenantToo,
		does: "Say what accounts used of their current windows"},
		func(ctx context.Context, who caller, i *list) (*out[Page[Usage]], error) {
			st := s.cfg.State()
			f, err := s.filter(st, who, Match{Tenant: i.Tenant, Account: i.Account})
			if err != nil {
				return nil, err
			}
			all, missing := s.usageElsewhere(ctx, st, who, f, i.Account)
			told := map[string]bool{}
			for _, u := range all {
				told[u.Tenant] = true
			}
			for t := range st.Tenants() {
				if f.Tenant != 0 && t.ID != f.Tenant || told[t.Name] || (who.passedOn && !s.owns(st, t)) {
					continue
				}
				for a := range st.AccountsOf(t.ID) {
					if f.Account == 0 || a.ID == f.Account {
						all = append(all, s.usageOf(st, t, a)...)
					}
				}
			}
			page := cut(all, i.Paged, func(u Usage) string { return u.Account + " " + u.Window }, byText)
			page.Missing = missing
			return reply(page), nil
		})
}

// usageElsewhere asks the other owners, who know exactly; for an owner that gives
// no answer it is what it said last, and it is named.
func (s *Server) usageElsewhere(ctx context.Context, st *tenant.State, who caller, f Filter, account string) (all []Usage, missing []string) {
	nodes, name := s.ownerNames(st, who), ""
	if t := st.Tenant(f.Tenant); t != nil {
		if nodes = nil; !s.owns(st, t) && !who.passedOn {
			nodes, name = []string{nodeName(st, t.Owner)}, t.Name
		}
	}
	var mu sync.Mutex // guards all
	missing = s.gather(ctx, who, nodes, func(ctx context.Context, c *Client) error {
		for next := (List{Limit: 1000}); ; {
			p, err := c.Usage(ctx, name, account, next)
			mu.Lock()
			all = append(all, p.Items...)
			mu.Unlock()
			if err != nil || p.Next == "" {
				return err
			}
			next.After = p.Next
		}
	})
	return all, missing
}

func (s *Server) usageOf(st *tenant.State, t *tenant.Tenant, a *tenant.Account) []Usage {
	windows := st.WindowsOf(a.ID, st.Now())
	all := make([]Usage, 0, len(windows))
	for _, w := range windows {
		used, limit := st.SpentOf(a.ID, w), st.Limit(a.ID, w.Kind)
		if s.cfg.Used != nil {
			used = s.cfg.Used(a.ID, w)
		}
		all = append(all, Usage{Account: a.Username, Tenant: t.Name, Window: windowName(w.Kind), From: time.Unix(w.Start, 0).UTC(),
			Mails: used.Mails, Bytes: used.Bytes, MailsLimit: limit.Mails, BytesLimit: limit.Bytes, Granted: st.Grant(a.ID, w) != nil})
	}
	return all
}

func windowName(k tenant.WindowKind) string {
	switch k {
	case tenant.Minute:
		return "minute"
	case tenant.Hour:
		return "hour"
	case tenant.HalfDay:
		return "half-day"
	case tenant.Day:
		return "day"
	default:
		return "month"
	}
}
