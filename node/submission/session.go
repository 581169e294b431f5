package submission

import (
	"crypto/rand"
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
	tx      *transaction
	letter  letter // of the message at hand; its memory is kept between messages
	header  []byte // kept between messages, for a header section that comes in pieces
}

// transaction is one message from MAIL to its end.
type transaction struct {
	id      [16]byte
	tenant  *tenant.Tenant
	account *tenant.Account
	from    address
	utf8    bool // the client announced SMTPUTF8
	ret     string
	envID   string
	rcpts   []queue.Rcpt
	maxSize int64
	share   share
	message message // set while the body comes in
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
	} else if s.w.peer.IsValid() {
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
		return t, a, errHeldAtMail
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
	case !s.srv.cfg.State().MaySendAs(t.ID, from.domain):
		return senderRejected(from.String())
	}
	maxSize, _ := s.srv.planLimits(a)
	if o.Size > maxSize {
		return errTooLarge
	}
	if err := s.srv.store.Full(); err != nil {
		return err
	}
	if t.Owner != s.srv.cfg.Node() {
		return errNotHere
	}
	tx := &transaction{tenant: t, account: a, from: from, utf8: o.UTF8, ret: string(o.Return), envID: o.EnvelopeID, maxSize: maxSize}
	_, _ = rand.Read(tx.id[:]) // never fails
	if err := tx.share.open(s.srv.hard, s.srv.cfg.Quota, a.ID, o.Size); err != nil {
		return err
	}
	s.tx = tx
	return nil
}

// argument cuts the keyword of MAIL or RCPT off; the engine has checked it.
func argument(arg, keyword string) string {
	if len(arg) < len(keyword) {
		return ""
	}
	return strings.TrimLeft(arg[len(keyword):], " ")
}

// Rcpt answers RCPT. It never refuses a good address for good: list cleaners
// delete what gets a 5xx here.
func (s *session) Rcpt(_ string, o *smtp.RcptOptions) error {
	tx := s.tx
	if tx == nil {
		return s.said(nil, nil, errMailFirst)
	}
	var r *reply
	if err := s.rcpt(tx, o); err != nil {
		r = s.srv.answer(stageRcpt, err)
	}
	return s.said(tx.tenant, tx.account, r)
}

func (s *session) rcpt(tx *transaction, o *smtp.RcptOptions) error {
	to, params, err := parsePath(argument(s.w.arg, "TO:"), tx.utf8)
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
	text := to.String()
	for i := range tx.rcpts {
		if tx.rcpts[i].Addr == text {
			return nil // said twice, delivered and paid once
		}
	}
	if _, most := s.srv.planLimits(tx.account); len(tx.rcpts) >= most {
		return errTooManyRcpts
	}
	if err := tx.share.recipients(s.srv.hard, len(tx.rcpts)+1); err != nil {
		return err
	}
	rc := queue.Rcpt{Addr: text, Notify: notifyOf(o.Notify)}
	if o.OriginalRecipient != "" {
		if !printable(o.OriginalRecipient) {
			return errRcptSyntax
		}
		rc.ORcpt = strings.ToLower(string(o.OriginalRecipientType)) + ";" + o.OriginalRecipient
	}
	tx.rcpts = append(tx.rcpts, rc)
	return nil
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

// Data takes the message off the wire. The engine's reader holds only the lone
// dot that ends what the engine believes to be the message.
func (s *session) Data(io.Reader) error {
	tx, b := s.tx, s.w.body
	if tx == nil || b == nil {
		return s.said(nil, nil, errMailFirst)
	}
	defer func() { s.w.body = nil }()
	id, err := s.take(tx, b)
	if err != nil {
		_ = b.drain()
		return s.said(tx.tenant, tx.account, s.srv.answer(stageData, err))
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

// keepHeader is the largest memory for a header section that an idle session
// holds on to.
const keepHeader = 32 << 10

// Reset drops the message that was begun.
func (s *session) Reset() {
	if cap(s.header) > keepHeader {
		s.header, s.letter = nil, letter{}
	}
	if s.tx == nil {
		return
	}
	s.tx.share.release()
	if s.tx.message != nil {
		s.tx.message.Discard()
	}
	s.tx = nil
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
