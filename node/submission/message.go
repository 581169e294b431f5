package submission

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// keepWait bounds the last step: 20 s for the lease, and the queue's syncs.
const keepWait = 50 * time.Second

// store is what submission needs of the queue.
type store interface {
	Full() error
	NewMessage(tenant.ID) (message, error)
	Find(t tenant.ID, transaction [16]byte, place queue.ID) (queue.ID, error)
	Secured(ctx context.Context, id queue.ID) error
	Deny(ctx context.Context, t tenant.ID, transaction [16]byte, place queue.ID) error
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
	tx   *transaction
	sig  *signature
	ref  string // our reference header: signed, and not charged
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
	if err := k.tx.share.bytes(k.tx.srv.hard, k.size); err != nil {
		return err
	}
	if _, err := k.tx.message.Write(p); err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return k.sig.write(p)
}

// take reads the message to its end, keeps it and returns its id.
func (tx *transaction) take(c content) (queue.ID, error) {
	m, err := tx.srv.store.NewMessage(tx.tenant.ID)
	if err != nil {
		return queue.ID{}, err
	}
	tx.message = m
	head, rest, err := tx.headerSection(c)
	if err != nil {
		return queue.ID{}, err
	}
	l := &tx.memory.letter
	if err := inspect(head, tx.tenant.Hostname, l); err != nil {
		return queue.ID{}, err
	}
	if !tx.srv.cfg.State().MaySendAs(tx.tenant.ID, l.from) {
		return queue.ID{}, errHeaderSender
	}
	k := &sink{tx: tx, ref: tx.reference()}
	if k.ref != "" {
		l.has |= fReference
	}
	now := time.Now()
	added := tx.added(l, now)
	if k.sig, err = tx.srv.newSignature(l.from, l.has); err != nil {
		return queue.ID{}, err
	}
	defer k.sig.abandon()
	if err := k.sig.write([]byte(k.ref)); err != nil {
		return queue.ID{}, err
	}
	if err := k.write([]byte(added)); err != nil {
		return queue.ID{}, err
	}
	for _, span := range l.keep {
		if err := k.write(head[span[0]:span[1]]); err != nil {
			return queue.ID{}, err
		}
	}
	if err := k.write(crlf); err != nil {
		return queue.ID{}, err
	}
	for {
		if err := k.write(rest); err != nil {
			return queue.ID{}, err
		}
		if rest, err = c.next(); err == io.EOF {
			break
		} else if err != nil {
			return queue.ID{}, err
		}
	}
	return tx.keep(k, l, now, c.highBits())
}

// headerSection reads up to the empty line. head has the fields' lines, rest is
// what came behind in the same piece; both are valid until the next piece.
func (tx *transaction) headerSection(c content) (head, rest []byte, err error) {
	m, most := tx.memory, tx.srv.cfg.Limits.HeaderBytes
	m.header = m.header[:0]
	for {
		p, err := c.next()
		if err == io.EOF {
			return m.header, nil, nil // no body at all
		}
		if err != nil {
			return nil, nil, err
		}
		from := max(len(m.header)-3, 0)
		whole := p
		if len(m.header) > 0 {
			m.header = append(m.header, p...)
			whole = m.header
		}
		if h, r, ok := cutHeader(whole, from); ok {
			if len(h) > most {
				return nil, nil, errHeaderSize
			}
			return h, r, nil
		}
		if len(whole) > most {
			return nil, nil, errHeaderSize
		}
		if len(m.header) == 0 {
			m.header = append(m.header, p...)
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
func (tx *transaction) added(l *letter, now time.Time) string {
	out := ""
	if l.has&fDate == 0 {
		out = "Date: " + now.UTC().Format(dateLayout) + "\r\n"
		l.has |= fDate
	}
	if l.has&fMessageID == 0 {
		l.messageID = "<" + hex.EncodeToString(tx.opening.id[:]) + "@" + tx.opening.from.domain + ">"
		out += "Message-ID: " + l.messageID + "\r\n"
		l.has |= fMessageID
	}
	return out
}

// reference is the header that names the message to us when it comes back.
func (tx *transaction) reference() string {
	if tx.srv.cfg.Reference == nil {
		return ""
	}
	return bounce.RefHeader + ": " + tx.srv.cfg.Reference.Header(bounce.Reference{
		Tenant: tx.tenant.ID, Account: tx.account.ID, Transaction: tx.opening.id}) + "\r\n"
}

// keep signs the message, asks whether it may be answered for, and puts it.
func (tx *transaction) keep(k *sink, l *letter, now time.Time, eight bool) (queue.ID, error) {
	srv, ended := tx.srv, time.Now()
	sig, err := k.sig.finish()
	if err != nil {
		return queue.ID{}, err
	}
	e := tx.envelope(l, now, eight)
	prefix := []byte(sig + received(tx.tenant.Hostname, tx.opening.how.protocol(e.UTF8), hex.EncodeToString(tx.opening.id[:]), now) + k.ref)
	e.Size = k.size + int64(len(prefix))

	st := srv.cfg.State() // as it is now: the message may have taken an hour
	t, a := st.Tenant(tx.tenant.ID), st.Account(tx.account.ID)
	switch {
	case t == nil || a == nil:
		return queue.ID{}, errHeldAtMail
	case t.Held != "" || a.Held != "":
		return queue.ID{}, whyHeld(st, a, errHeldAtMail)
	case t.Owner != srv.cfg.Node():
		return queue.ID{}, errNotHere
	}
	ctx, cancel := context.WithTimeout(srv.hard, keepWait)
	defer cancel()
	if err := srv.cfg.MayAnswer(ctx, t.ID, t.Epoch); err != nil {
		return queue.ID{}, fmt.Errorf("wait for the lease: %w", err)
	}
	if tx.enter != nil {
		if err := tx.enter(); err != nil {
			return queue.ID{}, err
		}
	}
	n := uint64(len(e.Rcpts))
	spend := tx.share.res.Spend(tenant.Amount{Mails: n, Bytes: n * uint64(k.size)})
	id, err := tx.message.Put(ctx, prefix, e, spend)
	if err != nil { // drop releases the share
		err = fmt.Errorf("put message: %w", err)
		if lost := (*queue.LostPut)(nil); errors.As(err, &lost) && !srv.stillOwns(t) {
			err = &unsure{lost, err}
		}
		return queue.ID{}, err
	}
	tx.share.res.Kept()
	tx.share, tx.message = share{}, nil
	tx.turn.used()
	srv.countAccepted(t, len(e.Rcpts))
	srv.log.accepted(t, tx.account, id.String(), e, tx.opening, time.Since(ended))
	return id, nil
}

// unsure is the failure of a Put at a node that may be the owner no more: who
// owns the log now may keep the message.
type unsure struct {
	put *queue.LostPut
	error
}

func (e *unsure) Unwrap() error { return e.error }

// stillOwns says whether this node answers for the tenant now, under the epoch
// it had: what it took back then nobody keeps.
func (s *Server) stillOwns(t *tenant.Tenant) bool {
	now := s.cfg.State().Tenant(t.ID)
	if now == nil || now.Owner != t.Owner || now.Epoch != t.Epoch {
		return false
	}
	ctx, cancel := context.WithTimeout(s.hard, s.waits.poll)
	defer cancel()
	return s.cfg.MayAnswer(ctx, t.ID, t.Epoch) == nil
}

func (tx *transaction) envelope(l *letter, now time.Time, eight bool) *queue.Envelope {
	class, o := tx.account.Class, tx.opening
	if l.bulk {
		class = tenant.Bulk
	}
	utf8 := o.utf8 && (l.eight || o.from.utf8())
	for i := range tx.rcpts {
		utf8 = utf8 || !isASCII(tx.rcpts[i].Addr)
	}
	return &queue.Envelope{
		Account: tx.account.ID, Class: class, Kind: queue.Submitted,
		From: o.from.String(), Rcpts: tx.rcpts,
		Arrived: now, Expires: now.Add(tx.srv.cfg.Lifetime[class]),
		EightBit: eight, UTF8: utf8, Ret: o.ret, EnvID: o.envID,
		MessageID: l.messageID, Transaction: o.id, Remote: o.ingress != "",
	}
}
