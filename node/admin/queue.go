package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"postern/tenant"
)

// ofMessage is the request of everything about one message.
type ofMessage struct {
	ID string `path:"id" minLength:"1" maxLength:"120"`
}

func (s *Server) queueRoutes() {
	s.queueReads()
	s.queueChanges()
}

func (s *Server) queueReads() {
	type list struct {
		Paged
		Tenant  string `query:"tenant" maxLength:"63"`
		Account string `query:"account" maxLength:"254"`
		Domain  string `query:"domain" maxLength:"253" doc:"Recipient domain"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/queue", id: "list-queue", tag: "queue", access: tenantToo,
		does: "List waiting messages by tenant, oldest first"},
		func(ctx context.Context, who caller, i *list) (*out[Page[Message]], error) {
			f, err := s.filter(s.cfg.State(), who, Match{Tenant: i.Tenant, Account: i.Account, Domain: i.Domain})
			if err != nil {
				return nil, err
			}
			f.Limit, f.After = i.Limit, i.After
			page, err := s.listQueue(ctx, who, f, Match{Tenant: i.Tenant, Account: i.Account, Domain: i.Domain})
			if err != nil {
				return nil, err
			}
			return reply(page), nil
		})
	register(s, in{verb: http.MethodGet, path: "/v1/queue/{id}", id: "get-message", tag: "queue", access: tenantToo,
		does: "Show one waiting message"},
		func(ctx context.Context, who caller, i *ofMessage) (*out[Message], error) {
			if at, err := s.ownerOf(who, i.ID); err != nil {
				return nil, err
			} else if at != nil {
				return answered(passed(at.Message(ctx, i.ID)))
			}
			m, err := s.message(ctx, who, i.ID)
			if err != nil {
				return nil, err
			}
			return reply(*m), nil
		})
	register(s, in{verb: http.MethodGet, path: "/v1/trace/{id}", id: "get-trace", tag: "queue", access: tenantToo,
		does: "Show everything known of a message: outcomes, attempts, SMTP dialogues"},
		func(ctx context.Context, who caller, i *ofMessage) (*out[Trace], error) {
			if at, err := s.ownerOf(who, i.ID); err != nil {
				return nil, err
			} else if at != nil {
				return answered(passed(at.Trace(ctx, i.ID)))
			}
			t, err := s.cfg.Messages.Trace(ctx, i.ID)
			if errors.Is(err, ErrNotFound) || (err == nil && !who.may(tenant.ID(t.TenantID))) {
				return nil, absent("message", i.ID)
			}
			if err != nil {
				return nil, s.fail(ctx, "trace message", err)
			}
			return reply(*t), nil
		})
}

func (s *Server) queueChanges() {
	type match struct{ Body Match }
	acts := []struct {
		name, does string
		do         func(context.Context, Filter) (int, error)
		there      func(*Client, context.Context, Match) (Done, error)
	}{
		{"flush", "Make matching messages due now", s.cfg.Mail.Flush, (*Client).Flush},
		{"purge", "End matching messages without notices", s.cfg.Mail.Purge, (*Client).Purge},
	}
	for _, x := range acts {
		register(s, in{verb: http.MethodPost, path: "/v1/queue/" + x.name, id: x.name + "-queue", tag: "queue", access: tenantToo, does: x.does},
			func(ctx context.Context, who caller, i *match) (*out[Done], error) {
				f, err := s.filter(s.cfg.State(), who, i.Body)
				if err != nil {
					return nil, err
				}
				done, err := s.actOnQueue(ctx, who, f, i.Body, x.do, x.there)
				if err != nil {
					return nil, s.fail(ctx, x.name+" queue", err)
				}
				if x.name == "purge" {
					s.notePurge(ctx, who, f, done)
				}
				return reply(done), nil
			})
	}
	register(s, in{verb: http.MethodDelete, path: "/v1/queue/{id}", id: "cancel-message", tag: "queue", access: tenantToo,
		status: http.StatusNoContent, does: "End one message without notices"},
		func(ctx context.Context, who caller, i *ofMessage) (*none, error) {
			if at, err := s.ownerOf(who, i.ID); err != nil {
				return nil, err
			} else if at != nil {
				_, err := passed(none{}, at.Cancel(ctx, i.ID))
				return nil, err
			}
			if _, err := s.message(ctx, who, i.ID); err != nil {
				return nil, err
			}
			err := s.cfg.Mail.Cancel(ctx, i.ID)
			if errors.Is(err, ErrNotFound) {
				return nil, absent("message", i.ID)
			}
			if err != nil {
				return nil, s.fail(ctx, "cancel message", err)
			}
			return nil, nil
		})
}

// message shows a waiting message to who may see it.
func (s *Server) message(ctx context.Context, who caller, id string) (*Message, error) {
	m, err := s.cfg.Messages.Show(ctx, id)
	if errors.Is(err, ErrNotFound) || (err == nil && !who.may(tenant.ID(m.TenantID))) {
		return nil, absent("message", id)
	}
	if err != nil {
		return nil, s.fail(ctx, "show message", err)
	}
	return m, nil
}

// filter resolves the names of a match; what the caller may not see is absent.
func (s *Server) filter(st *tenant.State, who caller, m Match) (Filter, error) {
	var f Filter
	var err error
	if f.Tenant, err = filterTenant(st, who, m.Tenant); err != nil {
		return f, err
	}
	if m.Account != "" {
		a, err := findAccount(st, who, m.Account)
		if err != nil {
			return f, err
		}
		if f.Tenant != 0 && a.Tenant != f.Tenant {
			return f, absent("account", m.Account)
		}
		f.Tenant, f.Account = a.Tenant, a.ID
	}
	f.Domain = strings.ToLower(strings.TrimSuffix(m.Domain, "."))
	return f, nil
}
