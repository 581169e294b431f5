package submission

import (
	"io"
	"strings"
	"time"

	smtp "github.com/emersion/go-smtp"

	"postern/node/queue"
	"postern/tenant"
)

// session is what one connection has agreed so far: who it is and the message
// it is about to send. The engine calls it in the wire's own goroutine only.
type session struct {
	w   *wire
	srv *Server

	account tenant.AccountID // logged in as; 0 before
	secret  [32]byte         // what it logged in with
	counted tenant.AccountID // holds a place among this account's connections
	memory  memory

	// The message at hand; all zero when there is none.
	tx       mailing
	sender   *tenant.Account
	tenant   *tenant.Tenant
	utf8     bool
	maxSize  int64
	promised bool // the answer to this command is still to come from the owner
}

// limits are what EHLO announces.
func (s *session) limits() (size int64, rcpts int) {
	size, rcpts = s.srv.cfg.Limits.MaxSize, tenant.DefaultMaxRecipients
	if s.account == 0 {
		return size, rcpts
	}
	if a := s.srv.cfg.State().Account(s.account); a != nil {
		return s.srv.planLimits(a)
	}
	return size, rcpts
}

func (s *Server) planLimits(a *tenant.Account) (size int64, rcpts int) {
	size, rcpts = s.cfg.Limits.MaxSize, tenant.DefaultMaxRecipients
	if a.Plan.MaxSize > 0 {
		size = a.Plan.MaxSize
	}
	if a.Plan.MaxRecipients > 0 {
		rcpts = a.Plan.MaxRecipients
	}
	return size, rcpts
}

// who finds the account that sends: the one logged in, as it is now, or the one
// allowed by the client's network.
func (s *session) who() (*tenant.Tenant, *tenant.Account, *reply) {
	st := s.srv.cfg.State()
	var a *tenant.Account
	if s.account != 0 {
		a = st.Account(s.account)
		if a == nil || a.Secret != s.secret {
			// Taken away or given a new password since: log in again.
			s.account = 0
			return nil, nil, errAuthNeeded
		}
	} else if s.w.peer.IsValid() && !s.w.local {
		a = st.AccountByNetwork(s.w.peer)
	}
	if a == nil {
		if s.w.tls == "" && s.srv.tls() != nil {
			return nil, nil, errTLSNeeded
		}
		return nil, nil, errAuthNeeded
	}
	t := st.Tenant(a.Tenant)
	if t == nil {
		return nil, nil, errAuthNeeded
	}
	if a.Held != "" || t.Held != "" {
		return t, a, whyHeld(st, a, errHeldAtMail)
	}
	if !s.use(a.ID) {
		return t, a, errTooManyConns
	}
	return t, a, nil
}

// Mail answers MAIL. The engine's idea of the address is not used.
func (s *session) Mail(_ string, o *smtp.MailOptions) error {
	t, a, r := s.who()
	if r == nil {
		if err := s.mail(t, a, o); err != nil {
			r = s.srv.answer(stageMail, err)
		}
	}
	return s.said(t, a, r)
}

func (s *session) mail(t *tenant.Tenant, a *tenant.Account, o *smtp.MailOptions) error {
	if s.tx != nil {
		return errNestedMail
	}
	from, params, err := parsePath(argument(s.w.arg, "FROM:"), o.UTF8)
	switch {
	case err == errAddrUTF8:
		return errNeedsUTF8
	case err != nil:
		return errMailSyntax
	case paramTwice(params):
		return errParamTwice
	case from.local == "":
		return errNullSender
	}
	now := time.Now()
	open := &opening{id: newTransactionID(now), tenant: t.ID, account: a.ID, from: from, utf8: o.UTF8,
		ret: string(o.Return), envID: o.EnvelopeID, size: o.Size, how: s.how(), tls: s.w.tls}
	tx, err := s.route(t, a, open, now)
	if err != nil {
		return err
	}
	s.tx, s.tenant, s.sender, s.utf8 = tx, t, a, o.UTF8
	s.maxSize, _ = s.srv.planLimits(a)
	return nil
}

// how the client talks.
func (s *session) how() (h how) {
	if s.w.esmtp {
		h |= howESMTP
	}
	if s.w.tls != "" {
		h |= howTLS
	}
	if s.account != 0 {
		h |= howAuth
	}
	return h
}

// argument cuts the keyword of MAIL or RCPT off; the engine has checked it.
func argument(arg, keyword string) string {
	if len(arg) < len(keyword) {
		return ""
	}
	return strings.TrimLeft(arg[len(keyword):], " ")
}

// Rcpt answers RCPT.
func (s *session) Rcpt(_ string, o *smtp.RcptOptions) error {
	if s.tx == nil {
		return s.said(nil, nil, errMailFirst)
	}
	var r *reply
	if err := s.rcpt(o); err != nil {
		r = s.srv.answer(stageRcpt, err)
	}
	return s.said(s.tenant, s.sender, r)
}

func (s *session) rcpt(o *smtp.RcptOptions) error {
	to, params, err := parsePath(argument(s.w.arg, "TO:"), s.utf8)
	switch {
	case err == errAddrUTF8:
		return errNeedsUTF8
	case err == errAddrRoute:
		return errRcptForm
	case err != nil, to.local == "":
		return errRcptSyntax
	case to.routed():
		return errRcptForm
	case paramTwice(params):
		return errParamTwice
	}
	rc := queue.Rcpt{Addr: to.String(), Notify: notifyOf(o.Notify)}
	if o.OriginalRecipient != "" {
		if !printable(o.OriginalRecipient) {
			return errRcptSyntax
		}
		rc.ORcpt = strings.ToLower(string(o.OriginalRecipientType)) + ";" + o.OriginalRecipient
	}
	return s.tx.recipient(rc)
}

func notifyOf(list []smtp.DSNNotify) (n queue.Notify) {
	for _, v := range list {
		switch v {
		case smtp.DSNNotifyNever:
			n |= queue.NotifyNever
		case smtp.DSNNotifySuccess:
			n |= queue.NotifySuccess
		case smtp.DSNNotifyFailure:
			n |= queue.NotifyFailure
		case smtp.DSNNotifyDelayed:
			n |= queue.NotifyDelay
		}
	}
	return n
}

// printable: nothing in it can break a line of a notice.
func printable(s string) bool {
	return checkUTF8(s, true) == nil && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// mayTake says why there is no message to take now.
func (s *session) mayTake() *reply {
	n, err := s.tx.accepted()
	switch {
	case err != nil:
		r := s.srv.answer(stageData, err)
		s.Reset()
		return r
	case n == 0:
		return errRcptFirst
	}
	return nil
}

// Data takes the message off the wire. The engine's reader holds only the lone
// dot that ends what the engine believes to be the message.
func (s *session) Data(io.Reader) error {
	tx, b := s.tx, s.w.body
	if tx == nil || b == nil {
		return s.said(nil, nil, errMailFirst)
	}
	defer func() { s.w.body = nil }()
	id, err := tx.take(b)
	if err != nil {
		_ = b.drain()
		return s.said(s.tenant, s.sender, s.srv.answer(stageData, err))
	}
	s.w.commands = 0
	s.srv.metrics.seconds.Observe(time.Since(b.ended).Seconds())
	return refuse(250, [3]int{2, 0, 0}, "", "OK: queued as "+id).engineError()
}

// said makes the engine's form of a reply, counts it and logs it.
func (s *session) said(t *tenant.Tenant, a *tenant.Account, r *reply) error {
	if r == nil {
		return nil
	}
	s.srv.count(s.w, t, a, r)
	s.w.hangUp = s.w.hangUp || r.close
	return r.engineError()
}

// Reset drops the message that was begun.
func (s *session) Reset() {
	if s.tx == nil {
		return
	}
	s.tx.drop()
	s.tx, s.tenant, s.sender = nil, nil, nil
}

// Logout is the engine's end of the session.
func (s *session) Logout() error {
	s.leave()
	return nil
}

// leave gives back all the session holds; harmless when done before.
func (s *session) leave() {
	s.Reset()
	if s.counted != 0 {
		s.srv.doors.unuse(s.counted)
		s.counted = 0
	}
	s.account = 0
}
