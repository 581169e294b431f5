package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"postern/node/admin"
	"postern/node/lab"
)

// trafficDomains are where background traffic goes: mostly mail that arrives,
// some that comes late, some that bounces; none that would stay for days.
func trafficDomains() []string {
	return []string{
		"inbox.test", "secure.test", "inbox.test", "implicit.test", "grey.test", "inbox.test", "sixfirst.test",
		"inbox.test", "secure.test", "nobody.test", "inbox.test", "spare.test", "hangup.test",
	}
}

// sendTraffic keeps the footer moving, by accounts of its own.
func (d *demo) sendTraffic(ctx context.Context) error {
	if d.opt.traffic <= 0 {
		return nil
	}
	var senders []lab.Sender
	for _, t := range d.dir.state.Tenants {
		senders = append(senders, lab.Sender{Username: t.Daily, Password: t.DailyKey, From: t.Daily})
	}
	var addrs []string
	for _, m := range d.nodes {
		addrs = append(addrs, hostPort(m.ports.Submission))
	}
	_, err := lab.Load{
		Addrs: addrs, TLS: d.roots, Run: d.mark,
		Senders: senders, Domains: trafficDomains(), Sessions: len(senders), PerConn: 50, Size: 4000,
		Rate: d.opt.traffic, Timeout: 25 * time.Second, Backoff: time.Second,
		Sent: d.sent,
	}.Send(ctx)
	if err != nil {
		return fmt.Errorf("send background traffic: %w", err)
	}
	return nil
}

// sentMail is a message of the background traffic whose end is not known yet.
type sentMail struct {
	id    string
	rcpt  string
	at    time.Time
	ended time.Time // when the node was first heard to have ended it
}

// watched are the background's messages the audit asks the node about; bounded.
type watched struct {
	mu    sync.Mutex // guards mails
	mails map[lab.Key]sentMail
}

const maxWatched = 50_000

func (w *watched) add(k lab.Key, m sentMail) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.mails) < maxWatched {
		w.mails[k] = m
	}
}

func (d *demo) sent(s *lab.Submission) {
	lab.Record(d.ledger, s)
	for i, r := range s.Rcpts {
		if s.Verdict[i] == lab.Accepted {
			d.watched.add(lab.KeyOf(s.UID, r), sentMail{id: s.QueueID, rcpt: r, at: s.At})
		}
	}
}

// taken books what the pretend Internet got. What the background did not send
// is a person's: it enters the ledger by the id the node received it under.
func (d *demo) taken(m *lab.Mail) {
	if m.From != "" {
		d.noteSource(m)
		d.noteArrival(m)
		d.noteSpam(m)
	}
	if lab.Book(d.ledger, d.mark, m) || d.booked(m) {
		return
	}
	if m.From == "" {
		n, _ := lab.ReadNotice(m.Text)
		uid, ok := lab.ParseUID(n.ReceivedID)
		for _, r := range n.Failed {
			if ok && n.UID == "" {
				k := lab.KeyOf(uid, r.Addr)
				d.ledger.Sent(k, lab.Hash{}, lab.Accepted)
				d.ledger.Bounced(k)
			}
		}
		return
	}
	uid, ok := lab.ParseUID(m.ReceivedID)
	if !ok {
		return
	}
	for _, r := range m.Rcpts {
		k := lab.KeyOf(uid, r)
		d.ledger.Sent(k, lab.Hash{}, lab.Accepted)
		d.ledger.Arrived(k, m.Body)
	}
}

const (
	auditEvery = 3 * time.Second
	auditAfter = 10 * time.Second // a younger message is not asked about
	auditGrace = 30 * time.Second // a notice may take that long to come
	auditMost  = 50               // questions a round
)

// audit asks the node about background mail nothing was heard of: what the node
// has ended or never had, and nobody got, is lost.
func (d *demo) audit(ctx context.Context) error {
	tick := time.NewTicker(auditEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			d.auditRound(ctx, now)
		}
	}
}

func (d *demo) auditRound(ctx context.Context, now time.Time) {
	d.watched.mu.Lock()
	var asked []lab.Key
	for k, m := range d.watched.mails {
		switch {
		case !d.ledger.Awaits(k):
			delete(d.watched.mails, k)
		case now.Sub(m.at) > auditAfter && len(asked) < auditMost:
			asked = append(asked, k)
		}
	}
	d.watched.mu.Unlock()
	for _, k := range asked {
		d.watched.mu.Lock()
		m := d.watched.mails[k]
		d.watched.mu.Unlock()
		result, known := d.outcome(ctx, m)
		if ctx.Err() != nil {
			return
		}
		if !known {
			if !m.ended.IsZero() { // an owner that was taking over knew it after all
				m.ended = time.Time{}
				d.watched.add(k, m)
			}
			continue
		}
		if m.ended.IsZero() {
			m.ended = now
			d.watched.add(k, m)
		}
		switch {
		case result == "cancelled":
			d.ledger.Cancelled(k)
		case now.Sub(m.ended) < auditGrace:
		case result == "bounced" || result == "expired" || result == "suppressed":
			d.ledger.Bounced(k) // its notice did not come, but the node tells of its end
		default:
			d.ledger.Missing(k)
		}
	}
}

// outcome asks the node for the end of one recipient: its result, or "" when
// the node has no such message. known is false while it is queued, or when the
// node does not answer.
func (d *demo) outcome(ctx context.Context, m sentMail) (result string, known bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	t, err := ask(d, func(c *admin.Client) (admin.Trace, error) { return c.Trace(ctx, m.id) })
	if err != nil {
		return "", absent(err)
	}
	for _, o := range t.Outcomes {
		if o.Rcpt == m.rcpt && o.Result != "deferred" {
			return o.Result, true
		}
	}
	return "", false
}
