package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"postern/tenant"
)

// Suppressions are the tenants' lists of addresses that nothing is sent to, and
// of what failed, in the logs that this node owns.
type Suppressions interface {
	Suppressions(ctx context.Context, t tenant.ID, after string, limit int) (list []Suppression, next string, err error)
	Suppress(ctx context.Context, t tenant.ID, list []SuppressAddress) error
	Unsuppress(ctx context.Context, t tenant.ID, addrs []string) (int, error)
	Failures(ctx context.Context, t tenant.ID, a tenant.AccountID, from, to time.Time, after string) (list []Failure, next string, err error)
}

// Suppression is one address that nothing is sent to.
type Suppression struct {
	Address string     `json:"address"`
	Reason  string     `json:"reason" enum:"bounce,complaint,operator"`
	Class   string     `json:"class,omitempty" doc:"Of a bounce"`
	Reply   Reply      `json:"reply" doc:"What was said last"`
	Account string     `json:"account,omitempty" doc:"Whose mail it was said to last"`
	Message string     `json:"message,omitempty"`
	First   time.Time  `json:"first"`
	Last    time.Time  `json:"last"`
	Count   int        `json:"count" doc:"On how many days it was said"`
	Until   *time.Time `json:"until,omitempty" doc:"Absent: until it is removed"`
}

// SuppressAddress is an address to put on a list.
type SuppressAddress struct {
	Address string `json:"address" minLength:"3" maxLength:"320"`
	Reason  string `json:"reason,omitempty" enum:"operator,complaint" doc:"operator when absent"`
	Text    string `json:"text,omitempty" maxLength:"400" doc:"Why; senders are told"`
}

// ChangeSuppressions puts addresses on a tenant's list, or takes them off.
type ChangeSuppressions struct {
	Addresses []SuppressAddress `json:"addresses" minItems:"1" maxItems:"1000" nullable:"false"`
}

// Failure is one recipient that ended undelivered.
type Failure struct {
	Address string    `json:"address"`
	Class   string    `json:"class" doc:"What the reply was read as"`
	Result  string    `json:"result" enum:"bounced,expired,suppressed"`
	Reply   Reply     `json:"reply"`
	Message string    `json:"message"`
	At      time.Time `json:"at"`
}

// suppressBody bounds a request of a thousand addresses with their words.
const suppressBody = 1 << 20

func (s *Server) suppressRoutes() {
	type list struct {
		Paged
		Tenant string `path:"tenant" minLength:"1" maxLength:"63"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/tenants/{tenant}/suppressions", id: "list-suppressions", tag: "suppression", access: tenantToo,
		does: "List the addresses that nothing is sent to for a tenant, in their order; a page may be short"},
		func(ctx context.Context, who caller, i *list) (*out[Page[Suppression]], error) {
			t, at, err := s.listOwner(who, i.Tenant)
			if err != nil {
				return nil, err
			}
			if at != nil {
				return answered(passed(at.Suppressions(ctx, i.Tenant, List{After: i.After, Limit: i.Limit})))
			}
			all, next, err := s.cfg.Suppressions.Suppressions(ctx, t.ID, i.After, i.Limit)
			if err != nil {
				return nil, s.fail(ctx, "list suppressions", err)
			}
			if all == nil {
				all = []Suppression{}
			}
			return reply(Page[Suppression]{Items: all, Next: next}), nil
		})
	s.suppressChanges()
	s.failureRoutes()
}

func (s *Server) suppressChanges() {
	type change struct {
		Tenant string `path:"tenant" minLength:"1" maxLength:"63"`
		Body   ChangeSuppressions
	}
	acts := []struct {
		name, does string
		there      func(*Client, context.Context, string, ChangeSuppressions) (Done, error)
		do         func(context.Context, tenant.ID, []SuppressAddress) (tenant.Suppressed, error)
	}{
		{"add", "Put addresses on a tenant's list; those that are on it stay", (*Client).Suppress,
			func(ctx context.Context, t tenant.ID, all []SuppressAddress) (tenant.Suppressed, error) {
				return tenant.Suppressed{Added: uint64(len(all))}, s.cfg.Suppressions.Suppress(ctx, t, all)
			}},
		{"remove", "Take addresses off a tenant's list: mail is sent to them again", (*Client).Unsuppress,
			func(ctx context.Context, t tenant.ID, all []SuppressAddress) (tenant.Suppressed, error) {
				addrs := make([]string, len(all))
				for i, x := range all {
					addrs[i] = x.Address
				}
				n, err := s.cfg.Suppressions.Unsuppress(ctx, t, addrs)
				return tenant.Suppressed{Removed: uint64(n)}, err
			}},
	}
	for _, x := range acts {
		register(s, in{verb: http.MethodPost, path: "/v1/tenants/{tenant}/suppressions/" + x.name, id: x.name + "-suppressions", tag: "suppression",
			body: suppressBody, does: x.does},
			func(ctx context.Context, who caller, i *change) (*out[Done], error) {
				t, at, err := s.listOwner(who, i.Tenant)
				if err != nil {
					return nil, err
				}
				for _, one := range i.Body.Addresses {
					if !tenant.ValidAddress(strings.ToLower(one.Address)) {
						return nil, problem(http.StatusUnprocessableEntity, "write it as name@domain", "%q is no address", clip(one.Address))
					}
				}
				if at != nil {
					return answered(passed(x.there(at, ctx, i.Tenant, i.Body)))
				}
				did, err := x.do(ctx, t.ID, i.Body.Addresses)
				if err != nil {
					return nil, s.fail(ctx, x.name+" suppressions", err)
				}
				did.Tenant = t.ID
				s.noteSuppressed(ctx, did)
				return reply(Done{Count: int(did.Added + did.Removed)}), nil
			})
	}
}

// noteSuppressed writes an operator's change of a list into the journal.
func (s *Server) noteSuppressed(ctx context.Context, op tenant.Suppressed) {
	if st := s.cfg.State(); op.Added+op.Removed == 0 || !st.Journals() || !st.Knows(op) {
		return
	}
	if _, _, err := s.propose(ctx, Keyed{}, op); err != nil {
		s.log.LogAttrs(ctx, levelError, "change of a suppression list is not in the journal", attr("err", err.Error()))
	}
}

func (s *Server) failureRoutes() {
	type list struct {
		Account string `path:"username" minLength:"1" maxLength:"254"`
		Month   string `query:"month" pattern:"^[0-9]{4}-[0-9]{2}$" doc:"As 2026-11; the current one when absent"`
		After   string `query:"after" maxLength:"120" doc:"The next of the page before"`
	}
	register(s, in{verb: http.MethodGet, path: "/v1/accounts/{username}/failures", id: "list-failures", tag: "suppression", access: tenantToo,
		does: "List an account's recipients that failed in a month, as far as they are kept; what our own IP or set-up caused is left out; a page may be empty"},
		func(ctx context.Context, who caller, i *list) (*out[Page[Failure]], error) {
			a, err := findAccount(s.cfg.State(), who, i.Account)
			if err != nil {
				return nil, err
			}
			from := time.Now().UTC()
			if i.Month != "" {
				if from, err = time.Parse("2006-01", i.Month); err != nil {
					return nil, problem(http.StatusUnprocessableEntity, "write it as 2026-11", "%q is no month", i.Month)
				}
			}
			from = time.Date(from.Year(), from.Month(), 1, 0, 0, 0, 0, time.UTC)
			t := s.cfg.State().Tenant(a.Tenant)
			if t == nil {
				return nil, absent("account", i.Account)
			}
			_, at, err := s.listOwner(who, t.Name)
			if err != nil {
				return nil, err
			}
			if at != nil {
				return answered(passed(at.Failures(ctx, i.Account, i.Month, i.After)))
			}
			all, next, err := s.cfg.Suppressions.Failures(ctx, a.Tenant, a.ID, from, from.AddDate(0, 1, 0), i.After)
			if err != nil {
				return nil, s.fail(ctx, "list failures", err)
			}
			if all == nil {
				all = []Failure{}
			}
			return reply(Page[Failure]{Items: all, Next: next}), nil
		})
}

// listOwner finds a tenant and who must answer for its log.
func (s *Server) listOwner(who caller, name string) (*tenant.Tenant, *Client, error) {
	t, err := findTenant(s.cfg.State(), who, name)
	if err != nil {
		return nil, nil, err
	}
	at, err := s.owner(who, t)
	if err == nil && at == nil && s.cfg.Suppressions == nil {
		err = problem(http.StatusServiceUnavailable, "ask a node that runs", "this node keeps no logs")
	}
	return t, at, err
}

// Suppressions lists the addresses that nothing is sent to for a tenant.
func (c *Client) Suppressions(ctx context.Context, tenant string, l List) (Page[Suppression], error) {
	return ask[Page[Suppression]](ctx, c, http.MethodGet, path("tenants", tenant, "suppressions")+l.query(), nil)
}

// Suppress puts addresses on a tenant's list.
func (c *Client) Suppress(ctx context.Context, tenant string, x ChangeSuppressions) (Done, error) {
	return ask[Done](ctx, c, http.MethodPost, path("tenants", tenant, "suppressions", "add"), x)
}

// Unsuppress takes addresses off a tenant's list.
func (c *Client) Unsuppress(ctx context.Context, tenant string, x ChangeSuppressions) (Done, error) {
	return ask[Done](ctx, c, http.MethodPost, path("tenants", tenant, "suppressions", "remove"), x)
}

// Failures lists an account's recipients that failed in a month ("": this one).
func (c *Client) Failures(ctx context.Context, account, month, after string) (Page[Failure], error) {
	return ask[Page[Failure]](ctx, c, http.MethodGet, path("accounts", account, "failures")+List{After: after}.query("month", month), nil)
}
