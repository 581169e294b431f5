package admin

import (
	"context"
	"net/http"
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
		func(_ context.Context, who caller, i *list) (*out[Page[Usage]], error) {
			st := s.cfg.State()
			f, err := s.filter(st, who, Match{Tenant: i.Tenant, Account: i.Account})
			if err != nil {
				return nil, err
			}
			var all []Usage
			for t := range st.Tenants() {
				if f.Tenant != 0 && t.ID != f.Tenant {
					continue
				}
				for a := range st.AccountsOf(t.ID) {
					if f.Account == 0 || a.ID == f.Account {
						all = append(all, s.usageOf(st, t, a)...)
					}
				}
			}
			return reply(cut(all, i.Paged, func(u Usage) string { return u.Account + " " + u.Window }, byText)), nil
		})
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
			Mails: used.Mails, Bytes: used.Bytes, MailsLimit: limit.Mails, BytesLimit: limit.Bytes})
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
