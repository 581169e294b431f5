package delivery

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// Late is what came back of a message that its recipients' hosts had taken.
type Late struct {
	ID       queue.ID
	Envelope *queue.Envelope      // nil: it is not kept any more
	Account  tenant.AccountID     // that sent it, when the envelope is gone; 0 unknown
	Ended    map[int]queue.Result // how its recipients ended here, by index
	Failed   []LateRcpt
	At       time.Time
}

// LateRcpt is one recipient as a report names it.
type LateRcpt struct {
	Rcpt   int // index in the envelope; -1: as Addr says
	Addr   string
	Status string // "5.1.1" or ""
	Text   string // the diagnosis
	Class  string // of one that is gone for good, else ""
}

// Match finds the recipients of a late report in the message's envelope, each
// once. Of recipients that it does not have, forwarders name others, one stays,
// with Rcpt -1: a report with a stolen return path must not make a list of
// strangers' addresses, nor may one of a failed message be lost.
func (l *Late) Match() []LateRcpt {
	var known, strange []LateRcpt
	for _, f := range l.Failed {
		switch {
		case l.Envelope == nil:
			f.Rcpt = -1
			if strings.Contains(f.Addr, "@") {
				strange = append(strange, f)
			}
			continue
		case f.Rcpt >= len(l.Envelope.Rcpts):
			continue
		case f.Rcpt < 0:
			f.Rcpt = slices.IndexFunc(l.Envelope.Rcpts, func(r queue.Rcpt) bool { return strings.EqualFold(r.Addr, f.Addr) })
		}
		switch {
		case f.Rcpt < 0 && len(l.Envelope.Rcpts) == 1:
			f.Rcpt = 0
		case f.Rcpt < 0:
			if strings.Contains(f.Addr, "@") {
				strange = append(strange, f)
			}
			continue
		}
		f.Addr = l.Envelope.Rcpts[f.Rcpt].Addr
		if !slices.ContainsFunc(known, func(k LateRcpt) bool { return k.Rcpt == f.Rcpt }) {
			known = append(known, f)
		}
	}
	if len(known) == 0 {
		return strange[:min(len(strange), 1)]
	}
	return known
}

// LateNotice makes the notice that tells a sender of recipients who failed after
// their host took the message (RFC 3464), or nil when there is nobody to tell:
// what ended here without delivery was told then, and reports are never
// answered (RFC 5321 §6.1, RFC 3834 §2). hostname stands in for the tenant's.
func LateNotice(st *tenant.State, hostname string, l Late) (*queue.Notice, error) {
	e := l.Envelope
	if e == nil {
		// Without the envelope its sender is not known, but the account is.
		a := st.Account(l.Account)
		if a == nil || a.Tenant != l.ID.Tenant || a.Reference == "" {
			return nil, nil
		}
		e = &queue.Envelope{Account: a.ID, Kind: queue.Submitted, From: "unknown", Arrived: l.At}
	}
	to := noticeTo(st, l.ID.Tenant, e)
	if to == "" {
		return nil, nil
	}
	var rcpts []bounce.ReportRcpt
	for _, f := range l.Match() {
		entry := bounce.ReportRcpt{Final: f.Addr, Action: bounce.Failed, Status: lateStatus(f.Status), Diagnostic: f.Text, LastTry: l.At}
		if f.Rcpt >= 0 && l.Envelope != nil {
			r := e.Rcpts[f.Rcpt]
			if was := l.Ended[f.Rcpt]; was != 0 && was != queue.Delivered || notifyAs(r.Notify, queue.Bounced, false, false) == "" {
				continue
			}
			entry.ORcpt = r.ORcpt
		}
		rcpts = append(rcpts, entry)
	}
	if len(rcpts) == 0 {
		return nil, nil
	}
	host := hostname
	if t := st.Tenant(l.ID.Tenant); t != nil {
		host = cmp.Or(t.Hostname, host)
	}
	return lateNotice(host, to, e, rcpts, l.At)
}

func lateNotice(host, to string, e *queue.Envelope, rcpts []bounce.ReportRcpt, at time.Time) (*queue.Notice, error) {
	id, err := messageID(host)
	if err != nil {
		return nil, err
	}
	// The message is gone; what names it in its sender's program is returned.
	var original []byte
	if e.MessageID != "" && ascii(e.MessageID) && !strings.ContainsAny(e.MessageID, "\r\n") {
		original = []byte("Message-ID: " + e.MessageID + "\r\n")
	}
	body, err := bounce.Compose(bounce.Report{
		ReportingMTA: host, From: "mailer-daemon@" + host, To: to, EnvID: e.EnvID,
		Arrived: e.Arrived, Date: at, MessageID: id, Original: original, Rcpts: rcpts,
		UTF8: e.UTF8 && !allASCII(to, rcpts, original),
	})
	if err != nil {
		return nil, err
	}
	utf8, eight := !ascii(to), !ascii(string(body))
	return &queue.Notice{Body: body, Envelope: queue.Envelope{
		Account: e.Account, Class: e.Class, Kind: queue.Report,
		Rcpts:   []queue.Rcpt{{Addr: to, Notify: queue.NotifyNever}},
		Arrived: at, Expires: at.Add(noticeLife), Size: int64(len(body)),
		EightBit: eight, UTF8: utf8 || eight && e.UTF8, MessageID: id,
	}}, nil
}

// lateStatus is a status that says failed for good, whatever was reported.
func lateStatus(s string) string {
	if _, rest, ok := strings.Cut(s, "."); ok {
		return "5." + rest
	}
	return "5.0.0"
}
