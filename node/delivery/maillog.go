package delivery

import (
	"context"
	"log/slog"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// mailLog is the log operators search: one line an event, the keys constant.
// A message's key is id, because msg is slog's own.
type mailLog struct {
	log   *slog.Logger
	state func() *tenant.State // for names
}

// names are what operators call a tenant and an account; numbers stand for
// what was removed meanwhile.
func (m mailLog) names(l queue.Lane) (slog.Attr, slog.Attr) {
	st := m.state()
	t, a := slog.Uint64("tenant", uint64(l.Tenant)), slog.Uint64("account", uint64(l.Account))
	if known := st.Tenant(l.Tenant); known != nil {
		t = slog.String("tenant", known.Name)
	}
	if known := st.Account(l.Account); known != nil {
		a = slog.String("account", known.Username)
	}
	return t, a
}

// event writes one line for one recipient's outcome.
func (m mailLog) event(what string, x queue.Settlement, o queue.Outcome, level slog.Level) {
	ctx := context.Background()
	if !m.log.Enabled(ctx, level) {
		return
	}
	it, a := x.Item, &x.Attempt
	owner, account := m.names(it.Lane)
	m.log.LogAttrs(ctx, level, what,
		owner, account,
		slog.String("id", it.ID.String()),
		slog.String("rcpt", it.Envelope.Rcpts[o.Rcpt].Addr),
		slog.String("source", a.Source),
		slog.String("ehlo", a.EHLO),
		slog.String("host", a.Host),
		slog.String("addr", a.Addr),
		slog.String("tls", a.TLS),
		slog.Int("attempt", a.N),
		slog.Int("code", o.Reply.Code),
		slog.String("reply", replyText(o.Reply)),
		slog.Duration("took", a.Took),
		slog.Duration("age", a.At.Add(a.Took).Sub(it.Envelope.Arrived)),
	)
}

// Delivered, Deferred, Bounced, Expired and Suppressed are a recipient's outcomes.
func (m mailLog) Delivered(x queue.Settlement, o queue.Outcome) {
	m.event("delivered", x, o, slog.LevelInfo)
}
func (m mailLog) Deferred(x queue.Settlement, o queue.Outcome) {
	m.event("deferred", x, o, slog.LevelInfo)
}
func (m mailLog) Bounced(x queue.Settlement, o queue.Outcome) {
	m.event("bounced", x, o, slog.LevelInfo)
}
func (m mailLog) Expired(x queue.Settlement, o queue.Outcome) {
	m.event("expired", x, o, slog.LevelInfo)
}
func (m mailLog) Suppressed(x queue.Settlement, o queue.Outcome) {
	m.event("suppressed", x, o, slog.LevelInfo)
}

// settled writes a line for each recipient of a settlement.
func (m mailLog) settled(x queue.Settlement) {
	for _, o := range x.Outcomes {
		switch o.Result {
		case queue.Delivered:
			m.Delivered(x, o)
		case queue.Deferred:
			if x.Attempt.At.IsZero() {
				continue // the others of its item were suppressed; this one is tried next
			}
			m.Deferred(x, o)
		case queue.Bounced:
			m.Bounced(x, o)
		case queue.Expired:
			m.Expired(x, o)
		case queue.Suppressed:
			m.Suppressed(x, o)
		}
	}
}

// Rested says that a destination is left alone.
func (m mailLog) Rested(t *target, reply queue.Reply, wait time.Duration, lanes int) {
	m.log.LogAttrs(context.Background(), slog.LevelInfo, "destination rests",
		slog.String("source", t.addr), slog.String("site", t.key.site), slog.Int("failures", t.failures),
		slog.Duration("wait", wait), slog.Int("lanes", lanes), slog.String("reply", replyText(reply)))
}
