package node

import (
	"context"
	"time"

	"postern/node/admin"
	"postern/node/queue"
	"postern/tenant"
)

// List implements admin.Messages.
func (v *views) List(_ context.Context, f admin.Filter) ([]admin.Message, error) {
	q, err := queueFilter(f)
	if err != nil {
		return nil, err
	}
	all, err := v.node.queue.List(q)
	if err != nil {
		return nil, queueError(err)
	}
	st := v.node.cluster.State()
	shown := make([]admin.Message, len(all))
	for i, s := range all {
		shown[i] = viewMessage(st, s)
	}
	return shown, nil
}

// Show implements admin.Messages.
func (v *views) Show(_ context.Context, text string) (*admin.Message, error) {
	id, err := queue.ParseID(text)
	if err != nil {
		return nil, admin.ErrNotFound
	}
	s, err := v.node.queue.Show(id)
	if err != nil {
		return nil, queueError(err)
	}
	m := viewMessage(v.node.cluster.State(), s)
	return &m, nil
}

// Trace implements admin.Messages.
func (v *views) Trace(_ context.Context, text string) (*admin.Trace, error) {
	id, err := queue.ParseID(text)
	if err != nil {
		return nil, admin.ErrNotFound
	}
	t, err := v.node.queue.Trace(id)
	if err != nil {
		return nil, queueError(err)
	}
	return viewTrace(v.node.cluster.State(), t), nil
}

// Counts implements admin.Messages.
func (v *views) Counts() map[tenant.ID]admin.Counts {
	all := v.node.queue.Count()
	shown := make(map[tenant.ID]admin.Counts, len(all))
	for t, c := range all {
		shown[t] = admin.Counts{Queued: c.Queued, Messages: c.Messages, InDoubt: c.InDoubt}
	}
	return shown
}

// Flush implements admin.Mail.
func (v *views) Flush(_ context.Context, f admin.Filter) (int, error) {
	q, err := queueFilter(f)
	if err != nil {
		return 0, err
	}
	n, err := v.node.queue.Flush(q)
	return n, queueError(err)
}

// Cancel implements admin.Mail.
func (v *views) Cancel(_ context.Context, text string) error {
	id, err := queue.ParseID(text)
	if err != nil {
		return admin.ErrNotFound
	}
	return queueError(v.node.queue.Cancel(id))
}

// Purge implements admin.Mail.
func (v *views) Purge(_ context.Context, f admin.Filter) (int, error) {
	q, err := queueFilter(f)
	if err != nil {
		return 0, err
	}
	n, err := v.node.queue.Purge(q)
	return n, queueError(err)
}

func viewMessage(st *tenant.State, s queue.Summary) admin.Message {
	m := admin.Message{ID: s.ID.String(), TenantID: uint64(s.ID.Tenant), Items: []admin.Item{}}
	if t := st.Tenant(s.ID.Tenant); t != nil {
		m.Tenant = t.Name
	}
	if e := s.Envelope; e != nil {
		m.Class, m.Kind, m.From, m.Size = admin.ClassName(e.Class), kindName(e.Kind), e.From, e.Size
		m.Arrived, m.MessageID = e.Arrived.UTC(), e.MessageID
		m.Expires = e.Expires.Add(st.StoodStill(e.Account, e.Arrived)).UTC()
		if a := st.Account(e.Account); a != nil {
			m.Account = a.Username
			m.Stopped = st.Stopped(e.Account)
		}
	}
	for _, i := range s.Items {
		item := admin.Item{Domain: i.Domain, Rcpts: i.Rcpts, Attempts: i.Attempts, Due: i.Due.UTC(), Active: i.Leased}
		if i.Last != (queue.Reply{}) {
			r := viewReply(i.Last)
			item.Last = &r
		}
		if item.Rcpts == nil {
			item.Rcpts = []string{}
		}
		m.Items = append(m.Items, item)
	}
	return m
}

func viewTrace(st *tenant.State, t queue.Trace) *admin.Trace {
	v := &admin.Trace{Message: viewMessage(st, t.Summary), Ended: t.Ended, Outcomes: []admin.Outcome{}, Attempts: []admin.Attempt{}}
	for _, o := range t.Outcomes {
		v.Outcomes = append(v.Outcomes, admin.Outcome{Rcpt: o.Rcpt, Result: resultName(o.Result), Reply: viewReply(o.Reply), At: o.At.UTC()})
	}
	for _, a := range t.Attempts {
		x := admin.Attempt{N: a.N, At: a.At.UTC(), Millis: float64(a.Took) / float64(time.Millisecond), Domain: a.Domain, Source: a.Source,
			EHLO: a.EHLO, Host: a.Host, Addr: a.Addr, TLS: a.TLS, DotSent: a.DotSent, Dialogue: a.Dialogue, Outcomes: []admin.Outcome{}}
		for _, o := range a.Outcomes {
			x.Outcomes = append(x.Outcomes, admin.Outcome{Rcpt: rcptOf(t.Envelope, o.Rcpt), Result: resultName(o.Result),
				Reply: viewReply(o.Reply), At: a.At.Add(a.Took).UTC()})
		}
		v.Attempts = append(v.Attempts, x)
	}
	return v
}

// rcptOf names a recipient; their addresses expire before the rest.
func rcptOf(e *queue.Envelope, i int) string {
	if e == nil || i < 0 || i >= len(e.Rcpts) {
		return ""
	}
	return e.Rcpts[i].Addr
}

func viewReply(r queue.Reply) admin.Reply {
	return admin.Reply{Code: r.Code, Enhanced: r.Enhanced, Text: r.Text}
}

func kindName(k queue.Kind) string {
	if k == queue.Report {
		return "report"
	}
	return "submitted"
}

func resultName(r queue.Result) string {
	switch r {
	case queue.Delivered:
		return "delivered"
	case queue.Deferred:
		return "deferred"
	case queue.Bounced:
		return "bounced"
	case queue.Expired:
		return "expired"
	case queue.Suppressed:
		return "suppressed"
	default:
		return "cancelled"
	}
}
