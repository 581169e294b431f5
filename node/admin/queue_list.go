package admin

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"postern/tenant"
)

// listQueue makes a page of messages in the order of their ids, tenant by
// tenant, each asked of its owner.
func (s *Server) listQueue(ctx context.Context, who caller, f Filter, m Match) (Page[Message], error) {
	page := Page[Message]{Items: []Message{}}
	st := s.cfg.State()
	from, err := startOf(f.After)
	if err != nil {
		return page, err
	}
	known, missing := s.allCounts(ctx, st, who)
	page.Missing = missing
	for t := range st.Tenants() {
		if t.ID < from || !who.may(t.ID) || (f.Tenant != 0 && f.Tenant != t.ID) {
			continue
		}
		if n, ok := known[t.ID]; ok && n.Queued == 0 && n.Messages == 0 {
			continue
		}
		if len(page.Items) >= f.Limit { // there may be more of this one
			page.Next = page.Items[len(page.Items)-1].ID
			return page, nil
		}
		one := f
		one.Tenant, one.Limit = t.ID, f.Limit-len(page.Items)
		if t.ID != from {
			one.After = ""
		}
		part, err := s.listTenant(ctx, who, t, one, m)
		if err != nil {
			if f.Tenant != 0 {
				return page, err
			}
			page.Missing = withName(page.Missing, nodeName(st, t.Owner))
			continue
		}
		page.Items = append(page.Items, part.Items...)
		if part.Next != "" {
			page.Next = part.Next
			return page, nil
		}
	}
	return page, nil
}

// startOf is the tenant a list goes on with: ids begin with the tenant's number.
func startOf(after string) (tenant.ID, error) {
	if after == "" {
		return 0, nil
	}
	number, _, _ := strings.Cut(after, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, badField("query.after", "take the next of the page before", "is no message id")
	}
	return tenant.ID(n), nil
}

func withName(all []string, name string) []string {
	for _, x := range all {
		if x == name {
			return all
		}
	}
	return append(all, name)
}

// listTenant makes a page of one tenant's messages, here or at its owner.
func (s *Server) listTenant(ctx context.Context, who caller, t *tenant.Tenant, f Filter, m Match) (Page[Message], error) {
	at, err := s.owner(who, t)
	if err != nil {
		return Page[Message]{}, err
	}
	if at != nil {
		m.Tenant = t.Name
		return passed(at.Queue(ctx, m, List{After: f.After, Limit: f.Limit}))
	}
	ms, err := s.cfg.Messages.List(ctx, f)
	if errors.Is(err, ErrNotFound) {
		return Page[Message]{}, badField("query.after", "take the next of the page before", "is no message id")
	}
	if err != nil {
		return Page[Message]{}, s.fail(ctx, "list queue", err)
	}
	page := Page[Message]{Items: make([]Message, 0, len(ms))}
	for _, x := range ms {
		// The filter has done this already; a list that leaks is worth a second look.
		if who.may(tenant.ID(x.TenantID)) {
			page.Items = append(page.Items, x)
		}
	}
	page.Next, err = s.queueNext(ctx, f, ms)
	return page, err
}

// queueNext says where the page after ms starts. A page can be short because
// messages ended while it was made, so that alone is no end.
func (s *Server) queueNext(ctx context.Context, f Filter, ms []Message) (string, error) {
	if len(ms) == 0 {
		return "", nil
	}
	f.After = ms[len(ms)-1].ID
	if len(ms) < f.Limit {
		f.Limit = 1
		more, err := s.cfg.Messages.List(ctx, f)
		if err != nil {
			return "", s.fail(ctx, "list queue", err)
		}
		if len(more) == 0 {
			return "", nil
		}
	}
	return f.After, nil
}

// actOnQueue flushes or purges what matches, at every owner it concerns. Here
// that is tenant by tenant: copies of others' mail lie in the same store.
func (s *Server) actOnQueue(ctx context.Context, who caller, f Filter, m Match,
	do func(context.Context, Filter) (int, error), there func(*Client, context.Context, Match) (Done, error)) (Done, error) {
	st := s.cfg.State()
	if t := st.Tenant(f.Tenant); t != nil {
		at, err := s.owner(who, t)
		if err != nil {
			return Done{}, err
		}
		if at != nil {
			return passed(there(at, ctx, m))
		}
		n, err := do(ctx, f)
		return Done{Count: n}, err
	}
	counts := make(chan int, len(s.ownerNames(st, who)))
	done := Done{}
	done.Missing = s.gather(ctx, who, s.ownerNames(st, who), func(ctx context.Context, c *Client) error {
		d, err := there(c, ctx, m)
		counts <- d.Count
		return err
	})
	close(counts)
	for n := range counts {
		done.Count += n
	}
	for t := range st.Tenants() {
		if !who.may(t.ID) || !s.owns(st, t) {
			continue
		}
		one := f
		one.Tenant = t.ID
		n, err := do(ctx, one)
		if err != nil {
			return done, err
		}
		done.Count += n
	}
	return done, nil
}

// owns says whether this node answers for a tenant's queue.
func (s *Server) owns(st *tenant.State, t *tenant.Tenant) bool {
	return s.peers == nil || nodeName(st, t.Owner) == s.cfg.Node
}
