package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"postern/tenant"
)

// ToSource is a change of what follows from a source's listing.
type ToSource struct {
	Addr string `path:"addr" maxLength:"45"`
	Keyed
}

func (s *Server) caseRoutes() {
	type drill struct {
		ToSource
		Body DrillListing
	}
	register(s, in{verb: http.MethodPost, path: "/v1/listings/{addr}/drill", id: "drill-listing", tag: "listing", status: http.StatusCreated,
		does: "Pretend that a source is listed: its tenants move, nobody is held; ended by dismissing it, or after ten minutes"},
		func(ctx context.Context, _ caller, i *drill) (*out[Case], error) {
			return s.drill(ctx, i.ToSource, i.Body.Tenant)
		})
	type end struct {
		ToSource
		Body EndListing
	}
	register(s, in{verb: http.MethodPost, path: "/v1/listings/{addr}/dismiss", id: "dismiss-listing", tag: "listing",
		does: "Say that a listing was none, or end a drill: the source is used again, and who moved goes home"},
		func(ctx context.Context, _ caller, i *end) (*out[Case], error) {
			return s.dismiss(ctx, i.ToSource, i.Body.Reason)
		})
	type list struct{ Paged }
	register(s, in{verb: http.MethodGet, path: "/v1/cases", id: "list-cases", tag: "listing", does: "List the listings and drills that had consequences"},
		func(_ context.Context, _ caller, i *list) (*out[Page[Case]], error) {
			st := s.cfg.State()
			var all []Case
			for c := range st.Cases() {
				all = append(all, viewCase(st, c))
			}
			return reply(cut(all, i.Paged, func(c Case) string { return caseKey(c.ID) }, byText)), nil
		})
	s.automationRoutes()
	s.conductRoutes()
}

func (s *Server) automationRoutes() {
	type set struct {
		Keyed
		Body Automation
	}
	register(s, in{verb: http.MethodPut, path: "/v1/automation", id: "set-automation", tag: "listing", does: "Say what may follow from listings by itself"},
		func(ctx context.Context, _ caller, i *set) (*out[Automation], error) {
			ops, err := s.readAutomation(i.Body)
			if err != nil {
				return nil, s.fail(ctx, "read automation", err)
			}
			st, key := s.cfg.State(), i.Keyed
			for _, op := range ops {
				if _, st, err = s.propose(ctx, key, op); err != nil {
					return nil, err
				}
				key = Keyed{} // the second says the same however often
			}
			return reply(viewAutomation(st)), nil
		})
	register(s, in{verb: http.MethodGet, path: "/v1/automation", id: "get-automation", tag: "listing", does: "Show what may follow from listings by itself"},
		func(_ context.Context, _ caller, _ *struct{}) (*out[Automation], error) {
			return reply(viewAutomation(s.cfg.State())), nil
		})
	type evidence struct {
		Username string `path:"username" maxLength:"254"`
		Keyed
		Body Evidence
	}
	register(s, in{verb: http.MethodPost, path: "/v1/accounts/{username}/evidence", id: "add-evidence", tag: "listing", status: http.StatusNoContent,
		does: "Record what speaks against an account by name; open listings are decided anew"},
		func(ctx context.Context, _ caller, i *evidence) (*none, error) {
			st := s.cfg.State()
			a := st.AccountByUsername(i.Username)
			if a == nil {
				return nil, absent("account", i.Username)
			}
			op := tenant.AddEvidence{Account: a.ID, Note: i.Body.Note}
			if i.Body.Source != "" {
				x := sourceByText(st, i.Body.Source)
				if x == nil {
					return nil, absent("source", i.Body.Source)
				}
				op.Source = x.ID
			}
			_, _, err := s.propose(ctx, i.Keyed, op)
			return nil, err
		})
}

func (s *Server) drill(ctx context.Context, i ToSource, only string) (*out[Case], error) {
	st := s.cfg.State()
	x := sourceByText(st, i.Addr)
	if x == nil {
		return nil, absent("source", i.Addr)
	}
	op := tenant.Drill{Source: x.ID}
	if only != "" {
		t := st.TenantByName(only)
		if t == nil {
			return nil, absent("tenant", only)
		}
		op.Only = t.ID
	}
	events, st, err := s.propose(ctx, i.Keyed, op)
	if err != nil {
		return nil, err
	}
	if e, ok := created[tenant.CaseOpened](events); ok {
		if c := st.Case(e.Case); c != nil {
			return reply(viewCase(st, c)), nil
		}
	}
	return nil, absent("case of source", i.Addr)
}

func (s *Server) dismiss(ctx context.Context, i ToSource, reason string) (*out[Case], error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	x := sourceByText(st, i.Addr)
	if x == nil {
		return nil, absent("source", i.Addr)
	}
	c := st.OpenCase(x.ID)
	if c == nil {
		return nil, problem(http.StatusConflict, "postern listing list shows which are", "source %s is not listed", x.Addr)
	}
	if _, st, err = s.propose(ctx, i.Keyed, tenant.EndCase{Case: c.ID, Reason: reason}); err != nil {
		return nil, err
	}
	return reply(viewCase(st, st.Case(c.ID))), nil
}

// readAutomation are the operations that set what is not absent.
func (s *Server) readAutomation(b Automation) (ops []tenant.Op, err error) {
	st := s.cfg.State()
	if b.Mode != "" {
		c := tenant.Usual(0)
		if old := st.Contain(); old != nil {
			c = *old
		}
		if c.Mode, err = tenant.ParseAutomation(b.Mode); err != nil {
			return nil, err
		}
		ops = append(ops, tenant.SetContain{Contain: c})
	}
	if b.OnListing != "" {
		c := st.Conduct(0)
		if c.OnListing, err = tenant.ParseOnListing(b.OnListing); err != nil {
			return nil, err
		}
		ops = append(ops, tenant.SetConduct{Conduct: c})
	}
	return ops, nil
}

func viewAutomation(st *tenant.State) Automation {
	v := Automation{Mode: tenant.AutomationOff.String(), OnListing: cmp.Or(st.Conduct(0).OnListing, tenant.OnListingMove).String()}
	if c := st.Contain(); c != nil {
		v.Mode = c.Mode.String()
	}
	return v
}

// lastCase is the newest case of a source, or nil.
func lastCase(st *tenant.State, id tenant.SourceID) (last *tenant.Case) {
	for c := range st.Cases() {
		if c.Source == id {
			last = c
		}
	}
	return last
}

func viewCase(st *tenant.State, c *tenant.Case) Case {
	v := Case{ID: c.ID, Source: c.Addr.String(), Node: nodeName(st, c.Node), Drill: c.Drill, Mode: c.Mode.String(), Seen: c.Seen, Raised: c.Raised,
		Ended: instant(c.Ended), Why: c.Why, Score: c.Score, Inputs: []CaseInput{}, Suspects: []CaseSuspect{}, Tenants: []CaseTenant{}}
	for _, in := range c.Inputs {
		x := CaseInput{Zone: in.Zone, Listed: in.Listed, Clean: in.Clean, Blind: in.Blind, Counts: in.Counts, Codes: []string{}}
		for _, a := range in.Codes {
			x.Codes = append(x.Codes, a.String())
		}
		v.Inputs = append(v.Inputs, x)
	}
	for i := range c.Suspects {
		x := viewSuspect(st, &c.Suspects[i])
		if v.Suspects = append(v.Suspects, x); c.Suspects[i].Account == c.Culprit {
			v.Culprit = x.Account
		}
	}
	for _, f := range c.Fates {
		x := CaseTenant{Tenant: "removed", Fate: f.Kind.String(), Why: f.Why, Until: instant(f.Until), LastDot: instant(f.LastDot), Owned: instant(f.Owned), FirstDelivery: instant(f.First)}
		if t := st.Tenant(f.Tenant); t != nil {
			x.Tenant = t.Name
		}
		if f.Kind == tenant.FateMove {
			p := viewPlace(st, f.To)
			x.To = &p
		}
		v.Tenants = append(v.Tenants, x)
	}
	return v
}

func viewSuspect(st *tenant.State, s *tenant.Suspect) CaseSuspect {
	x := CaseSuspect{Account: "removed", Tenant: "removed", Score: s.Score, Sum: s.Sum(), Held: s.Held, Throttled: st.Throttled(s.Account), Terms: []CaseSuspectTerm{}}
	if a := st.Account(s.Account); a != nil {
		x.Account = a.Username
	}
	if t := st.Tenant(s.Tenant); t != nil {
		x.Tenant = t.Name
	}
	for _, t := range s.Terms {
		x.Terms = append(x.Terms, CaseSuspectTerm(t))
	}
	return x
}

// caseKey orders cases by age, and is what a page goes on behind.
func caseKey(id uint64) string { return fmt.Sprintf("%020d", id) }

// setContain lets things follow from listings as usual when nothing was said
// yet, and scales what was said to the length of a round.
func (s *Server) setContain(ctx context.Context, st *tenant.State, round string) error {
	old := st.Contain()
	if old != nil && round == "" {
		return nil
	}
	length, _ := time.ParseDuration(round) // readLists has judged it
	c := tenant.Usual(length)
	if old != nil {
		c.Mode = old.Mode
	}
	_, _, err := s.propose(ctx, Keyed{}, tenant.SetContain{Contain: c})
	return err
}
