package submission

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// opening is what is known of a message at MAIL: who sends it, and what of the
// way it came the trace line and the log need. Nothing of the client's address.
type opening struct {
	id      [16]byte
	tenant  tenant.ID
	account tenant.AccountID
	from    address
	utf8    bool // the client announced SMTPUTF8
	ret     string
	envID   string
	size    int64
	how     how
	tls     string        // version and cipher, for the log; "" in clear
	ingress string        // node that has the client; "" is this one
	quiet   time.Duration // since the account's last message there; 0 unknown
}

// how a message came, as bits.
type how uint8

const (
	howESMTP how = 1 << iota
	howTLS
	howAuth
)

// protocol names it (RFC 3848, RFC 6531 §4.3).
func (h how) protocol(utf8 bool) string {
	p := "ESMTP"
	if h&howESMTP == 0 {
		p = "SMTP"
	}
	if utf8 {
		p = "UTF8SMTP"
	}
	if h&howTLS != 0 && h&howESMTP != 0 {
		p += "S"
	}
	if h&howAuth != 0 {
		p += "A"
	}
	return p
}

// newTransactionID is time-ordered, so that a store can forget old ones: Unix
// milliseconds in six octets, then chance.
func newTransactionID(now time.Time) (id [16]byte) {
	_, _ = rand.Read(id[6:]) // never fails
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(id[:6], ms[2:])
	return id
}

// content gives a message's octets in pieces, with CRLF line ends only. A piece
// is valid until the next; io.EOF ends a good message.
type content interface {
	next() ([]byte, error)
	highBits() bool // whether any octet so far was above 127
}

// transaction is one message at its owner, from MAIL to its end. It knows
// nothing of where the commands come from.
type transaction struct {
	srv      *Server
	opening  *opening
	tenant   *tenant.Tenant
	account  *tenant.Account
	rcpts    []queue.Rcpt
	maxSize  int64
	maxRcpts int
	share    share
	turn     turn
	message  message // set while the body comes in
	memory   *memory
	// enter is asked once, right before Put; nil: nobody can object.
	enter func() error
}

// memory is what one message after the other uses.
type memory struct {
	letter letter
	header []byte // for a header section that comes in pieces
}

// keepHeader is the largest memory for a header section that an idle session
// holds on to.
const keepHeader = 32 << 10

func (m *memory) trim() {
	if cap(m.header) > keepHeader {
		*m = memory{}
	}
}

// begin judges a message at MAIL. errNotHere says that another node owns the
// tenant, or that this one may not answer for it.
func (s *Server) begin(o *opening, m *memory) (*transaction, error) {
	st := s.cfg.State()
	t, a := st.Tenant(o.tenant), st.Account(o.account)
	if t == nil || a == nil || a.Tenant != t.ID || t.Owner != s.cfg.Node() {
		return nil, errNotHere
	}
	maxSize, maxRcpts := s.planLimits(a)
	switch {
	case a.Held != "" || t.Held != "":
		return nil, whyHeld(st, a, errHeldAtMail)
	case !st.MaySendAs(t.ID, o.from.domain):
		return nil, senderRejected(o.from.String())
	case o.size > maxSize:
		return nil, errTooLarge
	}
	if err := s.store.Full(); err != nil {
		return nil, err
	}
	if err := s.awaitRight(t.ID); err != nil {
		return nil, err
	}
	tx := &transaction{srv: s, opening: o, tenant: t, account: a, maxSize: maxSize, maxRcpts: maxRcpts, memory: m}
	var err error
	if tx.turn, err = s.gaps.take(a, o.quiet, time.Now()); err != nil {
		return nil, err
	}
	if err := tx.share.open(s.hard, s.cfg.Quota, a.ID, o.size); err != nil {
		tx.drop()
		return nil, err
	}
	return tx, nil
}

// awaitRight waits until this node may answer for the tenant; errNotHere when
// it may not in time, or when the tenant has become another's.
func (s *Server) awaitRight(id tenant.ID) error {
	begun := time.Now()
	for {
		t := s.cfg.State().Tenant(id)
		if t == nil || t.Owner != s.cfg.Node() {
			return errNotHere
		}
		err := s.mayAnswer(t)
		if err == nil {
			return nil
		}
		now := s.cfg.State().Tenant(id)
		if now == nil || now.Epoch == t.Epoch || time.Since(begun) > s.waits.owner || s.hard.Err() != nil {
			return errNotHere
		}
	}
}

// mayAnswer asks for the right, and no longer than the state stays as it is.
func (s *Server) mayAnswer(t *tenant.Tenant) error {
	ctx, cancel := context.WithCancel(s.hard)
	defer cancel()
	look := time.AfterFunc(s.waits.poll, func() { s.watchEpoch(ctx, cancel, t) })
	defer look.Stop()
	return s.cfg.MayAnswer(ctx, t.ID, t.Epoch)
}

// watchEpoch cancels when the tenant's epoch is over; it ends with ctx.
func (s *Server) watchEpoch(ctx context.Context, cancel context.CancelFunc, t *tenant.Tenant) {
	tick := time.NewTicker(s.waits.poll)
	defer tick.Stop()
	for {
		if now := s.cfg.State().Tenant(t.ID); now == nil || now.Epoch != t.Epoch || now.Owner != t.Owner {
			cancel()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// recipient adds one. It never refuses a good address for good: list cleaners
// delete what gets a 5xx at RCPT.
func (tx *transaction) recipient(rc queue.Rcpt) error {
	for i := range tx.rcpts {
		if tx.rcpts[i].Addr == rc.Addr {
			return nil // said twice, delivered and paid once
		}
	}
	if len(tx.rcpts) >= tx.maxRcpts {
		return errTooManyRcpts
	}
	if err := tx.share.recipients(tx.srv.hard, len(tx.rcpts)+1); err != nil {
		return err
	}
	tx.rcpts = append(tx.rcpts, rc)
	return nil
}

// drop gives back what an unfinished message holds; harmless behind its end.
func (tx *transaction) drop() {
	tx.share.release()
	tx.turn.giveBack()
	if tx.message != nil {
		tx.message.Discard()
		tx.message = nil
	}
	tx.memory.trim()
}
