package submission

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// keepWait bounds the last step: 20 s for the lease, and the queue's syncs.
const keepWait = 50 * time.Second

// store is what submission needs of the queue.
type store interface {
	Full() error
	NewMessage(tenant.ID) (message, error)
}

// message is one message on its way into the queue.
type message interface {
	Write(p []byte) (int, error)
	Put(ctx context.Context, prefix []byte, e *queue.Envelope, spend []queue.Spend) (queue.ID, error)
	Discard()
}

// spool is the node's queue as a store.
type spool struct{ *queue.Store }

func (s spool) NewMessage(t tenant.ID) (message, error) {
	w, err := s.Store.NewMessage(t)
	if err != nil {
		return nil, fmt.Errorf("start message: %w", err)
	}
	return w, nil
}

// sink takes the message's octets as they will be sent.
type sink struct {
	s    *session
	tx   *transaction
	sig  *signature
	size int64
}

func (k *sink) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	k.size += int64(len(p))
	if k.size > k.tx.maxSize {
		return errTooLarge
	}
	if err := k.tx.share.bytes(k.s.srv.hard, k.size); err != nil {
		return err
	}
	if _, err := k.tx.message.Write(p); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return k.sig.write(p)
}

// take reads the message off the wire, keeps it and returns its id as text.
func (s *session) take(tx *transaction, b *body) (string, error) {
	m, err := s.srv.store.NewMessage(tx.tenant.ID)
	if err != nil {
		return "", err
	}
	tx.message = m
	head, rest, err := s.headerSection(b)
	if err != nil {
		return "", err
	}
	l := &s.letter
	if err := inspect(head, tx.tenant.Hostname, l); err != nil {
		return "", err
	}
	if !s.srv.cfg.State().MaySendAs(tx.tenant.ID, l.from) {
		return "", errHeaderSender
	}
	k := &sink{s: s, tx: tx}
	now := time.Now()
	added := s.added(tx, l, now)
	if k.sig, err = s.srv.newSignature(l.from, l.has); err != nil {
		return "", err
	}
	defer k.sig.abandon()
	if err := k.write([]byte(added)); err != nil {
		return "", err
	}
	for _, span := range l.keep {
		if err := k.write(head[span[0]:span[1]]); err != nil {
			return "", err
		}
	}
	if err := k.write(crlf); err != nil {
		return "", err
	}
	for {
		if err := k.write(rest); err != nil {
			return "", err
		}
		if rest, err = b.next(); err == io.EOF {
			break
		} else if err != nil {
			return "", err
		}
	}
	return s.keep(tx, b, k, l, now)
}

// headerSection reads up to the empty line. head has the fields' lines, rest is
// what came behind in the same piece; both are valid until the next piece.
func (s *session) headerSection(b *body) (head, rest []byte, err error) {
	s.header = s.header[:0]
	for {
		p, err := b.next()
		if err == io.EOF {
			return s.header, nil, nil // no body at all
		}
		if err != nil {
			return nil, nil, err
		}
		from := max(len(s.header)-3, 0)
		whole := p
		if len(s.header) > 0 {
			s.header = append(s.header, p...)
			whole = s.header
		}
		if h, r, ok := cutHeader(whole, from); ok {
			if len(h) > s.srv.cfg.Limits.HeaderBytes {
				return nil, nil, errHeaderSize
			}
			return h, r, nil
		}
		if len(whole) > s.srv.cfg.Limits.HeaderBytes {
			return nil, nil, errHeaderSize
		}
		if len(s.header) == 0 {
			s.header = append(s.header, p...)
		}
	}
}

// cutHeader splits at the first empty line, looked for at from and behind.
func cutHeader(p []byte, from int) (head, rest []byte, ok bool) {
	if bytes.HasPrefix(p, crlf) {
		return nil, p[2:], true
	}
	i := bytes.Index(p[from:], []byte("\r\n\r\n"))
	if i < 0 {
		return nil, nil, false
	}
	i += from
	return p[:i+2], p[i+4:], true
}

// added are the fields that the message lacks (RFC 6409 §8).
func (s *session) added(tx *transaction, l *letter, now time.Time) string {
	out := ""
	if l.has&fDate == 0 {
		out = "Date: " + now.UTC().Format(dateLayout) + "\r\n"
		l.has |= fDate
	}
	if l.has&fMessageID == 0 {
		l.messageID = "<" + hex.EncodeToString(tx.id[:]) + "@" + tx.from.domain + ">"
		out += "Message-ID: " + l.messageID + "\r\n"
		l.has |= fMessageID
	}
	return out
}

// protocol names how the message came (RFC 3848).
func (s *session) protocol(utf8 bool) string {
	p := "ESMTP"
	if !s.w.esmtp {
		p = "SMTP"
	}
	if utf8 {
		p = "UTF8SMTP"
	}
	if s.w.tls != "" && s.w.esmtp {
		p += "S"
	}
	if s.account != 0 {
		p += "A"
	}
	return p
}

// keep signs the message, asks whether it may be answered for, and puts it.
func (s *session) keep(tx *transaction, b *body, k *sink, l *letter, now time.Time) (string, error) {
	srv := s.srv
	sig, err := k.sig.finish()
	if err != nil {
		return "", err
	}
	e := s.envelope(tx, b, l, now)
	prefix := []byte(sig + received(tx.tenant.Hostname, s.protocol(e.UTF8), hex.EncodeToString(tx.id[:]), now))
	e.Size = k.size + int64(len(prefix))

	st := srv.cfg.State() // as it is now: the message may have taken an hour
	t, a := st.Tenant(tx.tenant.ID), st.Account(tx.account.ID)
	switch {
	case t == nil || a == nil || t.Held != "" || a.Held != "":
		return "", errHeldAtMail
	case t.Owner != srv.cfg.Node():
		return "", errNotHere
	}
	ctx, cancel := context.WithTimeout(srv.hard, keepWait)
	defer cancel()
	if err := srv.cfg.MayAnswer(ctx, t.ID, t.Epoch); err != nil {
		return "", fmt.Errorf("wait for the lease: %w", err)
	}
	n := uint64(len(e.Rcpts))
	spend := tx.share.res.Spend(tenant.Amount{Mails: n, Bytes: n * uint64(k.size)})
	id, err := tx.message.Put(ctx, prefix, e, spend)
	if err != nil {
		return "", fmt.Errorf("put message: %w", err) // Reset releases the share
	}
	tx.share, tx.message = share{}, nil
	s.srv.countAccepted(t, len(e.Rcpts))
	text := id.String()
	s.srv.log.accepted(t, tx.account, text, e, s.w.tls, time.Since(b.ended))
	return text, nil
}

func (s *session) envelope(tx *transaction, b *body, l *letter, now time.Time) *queue.Envelope {
	class := tx.account.Class
	if l.bulk {
		class = tenant.Bulk
	}
	utf8 := tx.utf8 && (l.eight || tx.from.utf8())
	for i := range tx.rcpts {
		utf8 = utf8 || !isASCII(tx.rcpts[i].Addr)
	}
	return &queue.Envelope{
		Account: tx.account.ID, Class: class, Kind: queue.Submitted,
		From: tx.from.String(), Rcpts: tx.rcpts,
		Arrived: now, Expires: now.Add(s.srv.cfg.Lifetime[class]),
		EightBit: b.eight, UTF8: utf8, Ret: tx.ret, EnvID: tx.envID,
		MessageID: l.messageID, Transaction: tx.id,
	}
}
