package admin

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/tenant"
)

// OfAccount is the request of everything about one account.
type OfAccount struct {
	Username string `path:"username" minLength:"1" maxLength:"254"`
}

// ToAccount is a change of one account.
type ToAccount struct {
	OfAccount
	Keyed
}

func (s *Server) accountRoutes() {
	s.accountReads()
	s.accountChanges()
	s.accountPasswords()
	s.hashRoutes()
}

func (s *Server) accountReads() {
	type list struct {
		Paged
		Tenant string `query:"tenant" maxLength:"63"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/accounts", id: "list-accounts", tag: "account", access: tenantToo,
		does: "List accounts"},
		func(_ context.Context, who caller, i *list) (*out[Page[Account]], error) {
			st := s.cfg.State()
			only, err := filterTenant(st, who, i.Tenant)
			if err != nil {
				return nil, err
			}
			var all []Account
			for t := range st.Tenants() {
				if only != 0 && t.ID != only {
					continue
				}
				for a := range st.AccountsOf(t.ID) {
					all = append(all, viewAccount(st, a))
				}
			}
			return reply(cut(all, i.Paged, func(a Account) string { return a.Username }, byText)), nil
		})
	register(s, in{verb: http.MethodGet, path: "/v1/accounts/{username}", id: "get-account", tag: "account", access: tenantToo,
		does: "Show one account"},
		func(_ context.Context, who caller, i *OfAccount) (*out[Account], error) {
			st := s.cfg.State()
			a, err := findAccount(st, who, i.Username)
			if err != nil {
				return nil, err
			}
			return reply(viewAccount(st, a)), nil
		})
}

func (s *Server) accountChanges() {
	type patch struct {
		ToAccount
		Body SetAccount
	}
	register(s, in{verb: http.MethodPatch, path: "/v1/accounts/{username}", id: "set-account", tag: "account",
		does: "Change what an account may do; what is absent stays"},
		func(ctx context.Context, who caller, i *patch) (*out[Account], error) {
			a, err := findAccount(s.cfg.State(), who, i.Username)
			if err != nil {
				return nil, err
			}
			op, err := setAccount(a, i.Body)
			if err != nil {
				return nil, err
			}
			return s.changeAccount(ctx, i.Keyed, a, op)
		})
	register(s, in{verb: http.MethodDelete, path: "/v1/accounts/{username}", id: "remove-account", tag: "account",
		status: http.StatusNoContent, does: "Take away an account"},
		func(ctx context.Context, who caller, i *ToAccount) (*none, error) {
			a, err := findAccount(s.cfg.State(), who, i.Username)
			if err != nil {
				return nil, err
			}
			_, _, err = s.propose(ctx, i.Keyed, tenant.RemoveAccount{Account: a.ID})
			return nil, err
		})
}

// accountPasswords are the routes that make a secret. Only its SHA-256 is
// proposed, so a repeated request cannot show it again and says so.
func (s *Server) accountPasswords() {
	type add struct {
		Keyed
		Body NewAccount
	}
	register(s, in{verb: http.MethodPost, path: "/v1/accounts", id: "add-account", tag: "account", status: http.StatusCreated,
		does: "Register an account; its password is made here and shown once"},
		func(ctx context.Context, who caller, i *add) (*out[Credential], error) {
			t, err := findTenant(s.cfg.State(), who, i.Body.Tenant)
			if err != nil {
				return nil, err
			}
			networks, err := parseNetworks(i.Body.Networks)
			if err != nil {
				return nil, err
			}
			op := tenant.AddAccount{Tenant: t.ID, Username: i.Body.Username,
				Networks: networks, Reference: i.Body.Reference, Plan: statePlan(i.Body.Plan), Class: stateClass(i.Body.Class)}
			if i.Body.PasswordHash != "" {
				return s.addHashed(ctx, i.Keyed, op, i.Body.PasswordHash)
			}
			password := NewToken()
			op.Secret = TokenHash(password)
			events, st, err := s.propose(ctx, i.Keyed, op)
			if err != nil {
				return nil, err
			}
			e, _ := created[tenant.AccountAdded](events)
			return credential(st, e.Account, i.Body.Username, password)
		})
	register(s, in{verb: http.MethodPost, path: "/v1/accounts/{username}/password", id: "make-password", tag: "account",
		status: http.StatusCreated, does: "Make a new password, shown once; the one before ends"},
		func(ctx context.Context, who caller, i *ToAccount) (*out[Credential], error) {
			a, err := findAccount(s.cfg.State(), who, i.Username)
			if err != nil {
				return nil, err
			}
			password := NewToken()
			secret := TokenHash(password)
			_, st, err := s.propose(ctx, i.Keyed, tenant.SetAccount{Account: a.ID, Secret: &secret})
			if err != nil {
				return nil, err
			}
			return credential(st, a.ID, a.Username, password)
		})
}

func credential(st *tenant.State, id tenant.AccountID, name, password string) (*out[Credential], error) {
	a := st.Account(id)
	if a == nil {
		return nil, absent("account", name)
	}
	if a.Secret != TokenHash(password) {
		return nil, doneBefore("postern account password " + a.Username + " makes a new one")
	}
	return reply(Credential{Account: viewAccount(st, a), Password: password}), nil
}

func (s *Server) changeAccount(ctx context.Context, k Keyed, a *tenant.Account, op tenant.Op) (*out[Account], error) {
	_, st, err := s.propose(ctx, k, op)
	if err != nil {
		return nil, err
	}
	now := st.Account(a.ID)
	if now == nil {
		return nil, absent("account", a.Username)
	}
	return reply(viewAccount(st, now)), nil
}

// findAccount gives the account of that name to who may see it.
func findAccount(st *tenant.State, who caller, name string) (*tenant.Account, error) {
	a := st.AccountByUsername(strings.ToLower(name))
	if a == nil || !who.may(a.Tenant) {
		return nil, absent("account", name)
	}
	return a, nil
}

// filterTenant resolves a filter's tenant; a tenant's own token is always
// filtered to its tenant. 0 means all.
func filterTenant(st *tenant.State, who caller, name string) (tenant.ID, error) {
	if name == "" {
		return who.tenant, nil
	}
	t, err := findTenant(st, who, name)
	if err != nil {
		return 0, err
	}
	return t.ID, nil
}

func setAccount(a *tenant.Account, b SetAccount) (tenant.SetAccount, error) {
	op := tenant.SetAccount{Account: a.ID, Reference: b.Reference}
	if b.Class != nil {
		c := stateClass(*b.Class)
		op.Class = &c
	}
	if b.Networks != nil {
		n, err := parseNetworks(*b.Networks)
		if err != nil {
			return op, err
		}
		op.Networks = &n
	}
	if b.Limits != nil {
		limits, err := stateLimits(*b.Limits)
		if err != nil {
			return op, err
		}
		op.Limits = &limits
	}
	if b.GapMS != nil {
		gap := time.Duration(*b.GapMS * float64(time.Millisecond))
		op.Gap = &gap
	}
	if p := b.Plan; p != nil {
		plan := a.Plan
		assign(&plan.BytesPerMonth, p.BytesPerMonth)
		assign(&plan.MailsPerMonth, p.MailsPerMonth)
		assign(&plan.MaxRecipients, p.MaxRecipients)
		assign(&plan.MaxSize, p.MaxSize)
		op.Plan = &plan
	}
	return op, nil
}

func assign[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func parseNetworks(texts []string) ([]netip.Prefix, error) {
	nets := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			if a, err2 := netip.ParseAddr(text); err2 == nil && a.Zone() == "" {
				p, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
			}
		}
		if err != nil {
			return nil, badField("body.networks", "write it as 192.0.2.0/24", "%q is no network", clip(text))
		}
		nets = append(nets, p.Masked())
	}
	return nets, nil
}

func stateLimits(all []Limit) ([]tenant.CautionLimit, error) {
	limits := make([]tenant.CautionLimit, 0, len(all))
	for _, l := range all {
		kind, ok := windowKinds()[l.Window]
		if !ok {
			return nil, badField("body.limits", "there are minute, hour, half-day and day", "%q is no window", clip(l.Window))
		}
		if slices.ContainsFunc(limits, func(x tenant.CautionLimit) bool { return x.Kind == kind }) {
			return nil, badField("body.limits", "give each window once", "%s is there twice", l.Window)
		}
		if l.Mails != 0 || l.Bytes != 0 {
			limits = append(limits, tenant.CautionLimit{Kind: kind, Limit: tenant.Amount{Mails: l.Mails, Bytes: l.Bytes}})
		}
	}
	slices.SortFunc(limits, func(a, b tenant.CautionLimit) int { return cmp.Compare(a.Kind, b.Kind) })
	return limits, nil
}

func windowKinds() map[string]tenant.WindowKind {
	return map[string]tenant.WindowKind{"minute": tenant.Minute, "hour": tenant.Hour, "half-day": tenant.HalfDay, "day": tenant.Day}
}

func statePlan(p Plan) tenant.Plan {
	return tenant.Plan{BytesPerMonth: p.BytesPerMonth, MailsPerMonth: p.MailsPerMonth, MaxRecipients: p.MaxRecipients, MaxSize: p.MaxSize}
}

func stateClass(c string) tenant.Class {
	if c == "bulk" {
		return tenant.Bulk
	}
	return tenant.Transactional
}

// ClassName is the outside word for a class.
func ClassName(c tenant.Class) string {
	if c == tenant.Bulk {
		return "bulk"
	}
	return "transactional"
}

func viewAccount(st *tenant.State, a *tenant.Account) Account {
	v := Account{ID: uint64(a.ID), Username: a.Username, Class: ClassName(a.Class), Networks: []string{}, Reference: a.Reference,
		Plan:     Plan{BytesPerMonth: a.Plan.BytesPerMonth, MailsPerMonth: a.Plan.MailsPerMonth, MaxRecipients: a.Plan.MaxRecipients, MaxSize: a.Plan.MaxSize},
		Password: passwordKind(st, a), State: "sending", Held: a.Held, Limits: []Limit{}, GapMS: millis(a.Gap)}
	for _, l := range a.Limits {
		v.Limits = append(v.Limits, Limit{Window: windowName(l.Kind), Mails: l.Limit.Mails, Bytes: l.Limit.Bytes})
	}
	for _, n := range a.Networks {
		v.Networks = append(v.Networks, n.String())
	}
	v.Closed = st.ClosedAccount(a) != nil
	v.Suspended = viewSuspension(st.Suspended(a))
	t := st.Tenant(a.Tenant)
	if t == nil {
		return v
	}
	v.Tenant = t.Name
	switch {
	case a.Held != "":
		v.State = "held"
	case t.Held != "":
		v.State, v.Held = "held", "tenant: "+t.Held
	case t.Paused != "":
		v.State = "paused"
	}
	return v
}
