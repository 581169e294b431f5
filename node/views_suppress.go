package node

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"postern/node/admin"
	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// Suppressions implements admin.Suppressions.
func (v *views) Suppressions(_ context.Context, t tenant.ID, after string, limit int) ([]admin.Suppression, string, error) {
	list, next, err := v.node.queue.Suppressions(t, after, limit)
	if err != nil {
		return nil, "", queueError(err)
	}
	st := v.node.cluster.State()
	shown := make([]admin.Suppression, len(list))
	for i := range list {
		shown[i] = viewSuppression(st, &list[i])
	}
	return shown, next, nil
}

// Suppress implements admin.Suppressions.
func (v *views) Suppress(ctx context.Context, t tenant.ID, list []admin.SuppressAddress) error {
	now := time.Now()
	fs := make([]queue.Failure, len(list))
	for i, x := range list {
		fs[i] = queue.Failure{Addr: x.Address, Reason: queue.ByOperator, Reply: queue.Reply{Text: plainLine(x.Text)}, At: now}
		if x.Reason == "complaint" {
			fs[i].Reason = queue.Complaint
		}
	}
	return suppressError(v.node.queue.Suppress(ctx, t, fs))
}

// Unsuppress implements admin.Suppressions.
func (v *views) Unsuppress(ctx context.Context, t tenant.ID, addrs []string) (int, error) {
	n, err := v.node.queue.Unsuppress(ctx, t, addrs)
	return n, suppressError(err)
}

// Failures implements admin.Suppressions. What speaks of our IP or our set-up is
// nobody's reason to strike an address off a list.
func (v *views) Failures(_ context.Context, t tenant.ID, a tenant.AccountID, from, to time.Time, after string) ([]admin.Failure, string, error) {
	var behind queue.ID
	if after != "" {
		var err error
		if behind, err = queue.ParseID(after); err != nil || behind.Tenant != t {
			return nil, "", admin.ErrNotFound
		}
	}
	list, next, err := v.node.queue.Failures(t, a, from, to, behind)
	if err != nil {
		return nil, "", queueError(err)
	}
	var shown []admin.Failure
	for i := range list {
		if f, ok := viewFailure(&list[i]); ok {
			shown = append(shown, f)
		}
	}
	if next.IsZero() {
		return shown, "", nil
	}
	return shown, next.String(), nil
}

func viewSuppression(st *tenant.State, x *queue.Suppression) admin.Suppression {
	s := admin.Suppression{Address: x.Addr, Reason: reasonName(x.Reason), Class: x.Class, Reply: viewReply(x.Reply),
		First: x.First.UTC(), Last: x.Last.UTC(), Count: x.Count}
	if a := st.Account(x.Account); a != nil {
		s.Account = a.Username
	}
	if !x.Message.IsZero() {
		s.Message = x.Message.String()
	}
	if !x.Until.IsZero() {
		until := x.Until.UTC()
		s.Until = &until
	}
	return s
}

func reasonName(r queue.Reason) string {
	switch r {
	case queue.HardBounce:
		return "bounce"
	case queue.Complaint:
		return "complaint"
	}
	return "operator"
}

// viewFailure reads what a recipient ended with; false for what is our own fault.
func viewFailure(x *queue.FailedRcpt) (admin.Failure, bool) {
	f := admin.Failure{Address: x.Addr, Result: resultName(x.Result), Reply: viewReply(x.Reply), Message: x.Message.String(), At: x.At.UTC()}
	if x.Result == queue.Suppressed {
		f.Class = "Suppressed"
		return f, true
	}
	source, _ := netip.ParseAddr(x.Source)
	c := bounce.Classify(bounce.Reply{Host: x.Host, Source: source, Code: x.Reply.Code, Enhanced: x.Reply.Enhanced, Text: x.Reply.Text})
	f.Class = c.Class
	if x.Result == queue.Expired {
		f.Class = bounce.MessageExpired
	}
	return f, x.Addr != "" && c.Scope != bounce.ScopeSource && c.Scope != bounce.ScopeNode
}

func suppressError(err error) error {
	switch {
	case errors.Is(err, queue.ErrOlder):
		return admin.ErrOlder
	case errors.Is(err, queue.ErrStale), errors.Is(err, queue.ErrNoCopy):
		return admin.ErrUnavailable
	}
	return queueError(err)
}

// plainLine makes a text one printable line.
func plainLine(s string) string {
	b := []rune(s)
	for i, r := range b {
		if r < ' ' || r == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}
