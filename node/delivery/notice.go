package delivery

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"io"
	"strconv"
	"strings"
	"time"

	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// What a notice may carry and how long it lives.
const (
	returnMax  = 64 << 10 // octets of the original that are returned
	noticeLife = 48 * time.Hour
)

func count(n int, unit string) string {
	if n != 1 {
		unit += "s"
	}
	return strconv.Itoa(n) + " " + unit
}

// notifyAs says what a notice reports of one outcome, or "" for none (RFC 3461
// §4.1, §6.2). relayedDSN: the next hop took over the duty to notify.
func notifyAs(n queue.Notify, o queue.Result, relayedDSN, delay bool) bounce.Action {
	if n&queue.NotifyNever != 0 {
		return ""
	}
	switch o {
	case queue.Bounced, queue.Expired, queue.Suppressed:
		if n == 0 || n&queue.NotifyFailure != 0 {
			return bounce.Failed
		}
	case queue.Deferred:
		if delay && (n == 0 || n&queue.NotifyDelay != 0) {
			return bounce.Delayed
		}
	case queue.Delivered:
		// We never deliver into a mailbox: what we hand to a host without DSN
		// is relayed (RFC 3461 §5.2.2).
		if n&queue.NotifySuccess != 0 && !relayedDSN {
			return bounce.Relayed
		}
	}
	return ""
}

// noticeTo is where a notice about the message may go: its sender when that is
// the tenant's own, else the account's reference address, else nowhere.
func noticeTo(st *tenant.State, t tenant.ID, e *queue.Envelope) string {
	a := st.Account(e.Account)
	if e.From == "" || e.Kind != queue.Submitted || a == nil {
		return "" // a removed account's notices would not leave either
	}
	if _, domain, ok := cutAddress(e.From); ok && st.MaySendAs(t, domain) {
		return e.From
	}
	return a.Reference
}

// cutAddress splits at the last @.
func cutAddress(a string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(a, '@')
	if i < 1 || i == len(a)-1 {
		return "", "", false
	}
	return a[:i], strings.ToLower(a[i+1:]), true
}

// subject is what a notice is about.
type subject struct {
	item     *queue.Item
	outcomes []queue.Outcome
	remote   string // MX name, "" when none was reached
	dsn      bool   // the next hop took over DSN duties
	delay    bool   // a delay is to be told
	until    time.Time
	now      time.Time
}

// reportable lists what a notice would say; empty when there is nothing to tell.
func (x subject) reportable() []bounce.ReportRcpt {
	var list []bounce.ReportRcpt
	for _, o := range x.outcomes {
		r := x.item.Envelope.Rcpts[o.Rcpt]
		action := notifyAs(r.Notify, o.Result, x.dsn, x.delay)
		if action == "" {
			continue
		}
		entry := bounce.ReportRcpt{
			Final: r.Addr, ORcpt: r.ORcpt, Action: action, Status: statusOf(o),
			Diagnostic: replyText(o.Reply), LastTry: x.now,
		}
		if o.Reply.Code != 0 {
			entry.RemoteMTA = x.remote
		}
		if action == bounce.Delayed {
			entry.RetryUntil = x.until
		}
		list = append(list, entry)
	}
	return list
}

// statusOf is the outcome's enhanced status code (RFC 3463); its class says
// what came of it, whatever the far end called it.
func statusOf(o queue.Outcome) string {
	class := "4"
	switch o.Result {
	case queue.Delivered:
		class = "2"
	case queue.Bounced, queue.Suppressed:
		class = "5"
	}
	if _, rest, ok := strings.Cut(o.Reply.Enhanced, "."); ok {
		return class + "." + rest
	}
	return class + ".0.0"
}

// replyText is a reply as one line.
func replyText(r queue.Reply) string {
	var b strings.Builder
	if r.Code != 0 {
		b.WriteString(strconv.Itoa(r.Code))
		b.WriteByte(' ')
	}
	if r.Enhanced != "" {
		b.WriteString(r.Enhanced)
		b.WriteByte(' ')
	}
	b.WriteString(r.Text)
	return b.String()
}

// notice makes the one notice of a settlement, or nil. Its account, class and
// tenant are those of the message, so that it goes out through the same queue.
func (s *scheduler) notice(st *tenant.State, x subject) (*queue.Notice, error) {
	e := x.item.Envelope
	to := noticeTo(st, x.item.ID.Tenant, e)
	if to == "" {
		return nil, nil
	}
	rcpts := x.reportable()
	if len(rcpts) == 0 {
		return nil, nil
	}
	host := s.cfg.Hostname
	if t := st.Tenant(x.item.ID.Tenant); t != nil {
		host = cmp.Or(t.Hostname, host)
	}
	failed := false
	for _, r := range rcpts {
		failed = failed || r.Action == bounce.Failed
	}
	// RFC 3461 §4.3: RET=FULL counts for failures only.
	full := failed && e.Ret == "FULL" && e.Size <= returnMax
	original, err := s.original(x.item.ID, full)
	if err != nil {
		// A notice without the message is better than none.
		s.cfg.Log.Error("read message for its notice failed", "id", x.item.ID.String(), "err", err)
		original, full = nil, false
	}
	id, err := messageID(host)
	if err != nil {
		return nil, err
	}
	body, err := bounce.Compose(bounce.Report{
		ReportingMTA: host, From: "mailer-daemon@" + host, To: to, EnvID: e.EnvID,
		Arrived: e.Arrived, Date: x.now, MessageID: id, Full: full,
		UTF8:     e.UTF8 && !allASCII(to, rcpts, original),
		Original: original, Rcpts: rcpts,
	})
	if err != nil {
		return nil, err
	}
	utf8, eight := !ascii(to), !ascii(string(body))
	return &queue.Notice{Body: body, Envelope: queue.Envelope{
		Account: e.Account, Class: e.Class, Kind: queue.Report,
		Rcpts:   []queue.Rcpt{{Addr: to, Notify: queue.NotifyNever}},
		Arrived: x.now, Expires: x.now.Add(noticeLife), Size: int64(len(body)),
		EightBit: eight, UTF8: utf8 || eight && e.UTF8, MessageID: id,
	}}, nil
}

// original reads what a notice returns of the message: the whole of it, or its
// header, bounded.
func (s *scheduler) original(id queue.ID, full bool) ([]byte, error) {
	body, err := s.ledger.Body(id)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	head, err := io.ReadAll(io.LimitReader(body, returnMax))
	if err != nil {
		return nil, err
	}
	if full {
		return head, nil
	}
	if i := strings.Index(string(head), "\r\n\r\n"); i >= 0 {
		return head[:i+2], nil
	}
	// A header longer than the bound: whole lines of it.
	if i := strings.LastIndex(string(head), "\r\n"); i >= 0 {
		head = head[:i+2]
	}
	return head, nil
}

func messageID(host string) (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return "<" + hex.EncodeToString(b[:]) + "@" + host + ">", nil
}

// allASCII reports whether a report needs no UTF-8 of its own (RFC 6533).
func allASCII(to string, rcpts []bounce.ReportRcpt, original []byte) bool {
	for _, r := range rcpts {
		if !ascii(r.Final) || !ascii(r.ORcpt) {
			return false
		}
	}
	return ascii(to) && ascii(string(original))
}
