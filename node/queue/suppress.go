package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"postern/tenant"
)

// A tenant's suppressions lie in its log: the addresses that nothing is sent to,
// one row an address, which is replaced and never single-deleted. What an
// operator took off the list leaves its row, so that a copy that is behind
// cannot bring it back.

// Reason is why an address is on a tenant's list. The numbers are on disk.
type Reason uint8

// Reasons, the weakest first: a stronger one is not replaced by a weaker.
const (
	HardBounce Reason = iota + 1 // its host says that it does not exist
	Complaint                    // its owner does not want the tenant's mail
	ByOperator                   // put there by hand, or imported
)

// Suppression is one address of a tenant's list.
type Suppression struct {
	Addr    string // lower case
	Reason  Reason
	Class   string // of a HardBounce, as the reply was classified
	Reply   Reply  // what was said last, or the operator's words
	Account tenant.AccountID
	Message ID        // the last one that says so; zero: none
	First   time.Time // when it was said first
	Last    time.Time // and last
	Count   int       // on how many days it was said, as far as that is known
	Until   time.Time // nothing is sent before; zero: until it is removed
	Removed bool      // by an operator: mail is sent again
	Changed time.Time // of the row
}

// Active reports whether bulk mail to the address is suppressed.
func (x *Suppression) Active(now time.Time) bool {
	return !x.Removed && (x.Until.IsZero() || now.Before(x.Until))
}

// Stops reports whether mail of a class is suppressed. A password asked for
// again is worth one try a day, and who complained of a newsletter still wants
// the invoice: what no operator said stops transactional mail for a day at most.
func (x *Suppression) Stops(class tenant.Class, now time.Time) bool {
	if !x.Active(now) {
		return false
	}
	if class == tenant.Transactional {
		return x.Reason == ByOperator || x.Reason == HardBounce && now.Before(x.Last.Add(transactionalTry))
	}
	return true
}

const (
	transactionalTry = 24 * time.Hour
	// keepBounced is how long the first failure counts; each later day on which
	// the address fails adds as much, up to longestBounced.
	keepBounced    = 30 * 24 * time.Hour
	longestBounced = 90 * 24 * time.Hour
	// keepLapsed is how much longer a row stays that stops nothing any more, for
	// the next failure to be known as not the first.
	keepLapsed = 30 * 24 * time.Hour
	// sameDay is how far apart two failures must be to count as two.
	sameDay = 12 * time.Hour
	// fewestDays is on how many days a whole domain must fail: a resolver may lie.
	fewestDays = 2

	maxSuppressAddr  = 320
	maxSuppressClass = 40
	// MaxSuppress bounds how many addresses one call puts on a list or takes off.
	MaxSuppress = 1000
)

// Failure says that an address is to be suppressed.
type Failure struct {
	Addr    string
	Reason  Reason
	Class   string
	Domain  bool // its whole domain failed, not the address alone
	Reply   Reply
	Account tenant.AccountID
	Message ID
	At      time.Time
}

// SuppressAddr is how a list names an address: a host may tell Anna from anna,
// but none that a list meets does.
func SuppressAddr(addr string) string { return strings.ToLower(addr) }

// after is the row after a failure; x is the zero row when there was none.
func (x Suppression) after(f *Failure) Suppression {
	n := x
	if x.Count == 0 || x.Removed {
		n = Suppression{Addr: SuppressAddr(f.Addr), First: f.At}
	}
	n.Changed = f.At
	if !f.At.After(x.Changed) && x.Count > 0 {
		n.Changed = x.Changed.Add(time.Microsecond)
	}
	if f.Reason < n.Reason {
		return n // a stronger reason stands
	}
	if n.Count == 0 || f.At.Sub(n.Last) >= sameDay {
		n.Count++
	}
	n.Reason, n.Class, n.Reply, n.Account, n.Message = f.Reason, f.Class, f.Reply, f.Account, f.Message
	n.Last, n.Until = f.At, time.Time{}
	if f.Reason == HardBounce {
		n.Until = f.At.Add(min(time.Duration(n.Count)*keepBounced, longestBounced))
		if f.Domain && n.Count < fewestDays {
			n.Until = f.At // noted, and nothing is stopped yet
		}
	}
	return n
}

// goneAt is when the row may be forgotten; zero: never.
func (x *Suppression) goneAt() time.Time {
	switch {
	case x.Removed:
		return x.Changed.Add(keepLapsed)
	case x.Until.IsZero():
		return time.Time{}
	}
	return x.Until.Add(keepLapsed)
}

func suppressKey(b []byte, t tenant.ID, addr string) []byte {
	return append(tenantPrefix(b, tabSuppress, t), SuppressAddr(addr)...)
}

const suppressKeyMin = 1 + 8 + 1

func (x *Suppression) append(b []byte) []byte {
	b = append(b, byte(x.Reason), flagOctet(x.Removed))
	b = appendReply(putString(b, cut(x.Class, maxSuppressClass)), x.Reply)
	b = binary.AppendUvarint(b, uint64(x.Account))
	b = binary.AppendUvarint(binary.AppendUvarint(b, x.Message.Epoch), x.Message.Seq)
	for _, at := range [...]time.Time{x.First, x.Last, x.Until, x.Changed} {
		b = putTime(b, at)
	}
	return binary.AppendUvarint(b, uint64(x.Count))
}

// readSuppression reads a row by its key and payload.
func readSuppression(k, p []byte) (x Suppression, err error) {
	if len(k) < suppressKeyMin || len(k) > suppressKeyMin+maxSuppressAddr || k[0] != tabSuppress {
		return x, fmt.Errorf("read suppression: %w: key", errCorrupt)
	}
	t := tenant.ID(binary.BigEndian.Uint64(k[1:]))
	r := &reader{b: p}
	x.Addr = string(k[9:])
	x.Reason, x.Removed = Reason(r.byte()), r.byte() == 1
	x.Class = r.string()
	x.Reply = readReply(r)
	x.Account = tenant.AccountID(r.uint())
	x.Message = ID{t, r.uint(), r.uint()}
	if x.Message.Epoch == 0 {
		x.Message = ID{}
	}
	x.First, x.Last, x.Until, x.Changed = r.time(), r.time(), r.time(), r.time()
	x.Count = int(r.uint() & 0xffffffff)
	if x.Reason < HardBounce || x.Reason > ByOperator {
		r.fail()
	}
	return x, r.done("suppression")
}

// suppression reads an address's row; the zero row when there is none.
func (s *Store) suppression(t tenant.ID, addr string) (x Suppression, err error) {
	k := suppressKey(nil, t, addr)
	err = s.get(k, func(p []byte) (err error) {
		x, err = readSuppression(k, p)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return Suppression{}, nil
	}
	return x, err
}

// Suppressed tells whether mail of a class to an address is suppressed, and why.
func (s *Store) Suppressed(t tenant.ID, class tenant.Class, addr string) (Suppression, bool, error) {
	if err := s.broken(); err != nil {
		return Suppression{}, false, err
	}
	x, err := s.suppression(t, addr)
	if err != nil {
		return Suppression{}, false, fmt.Errorf("look for suppression: %w", err)
	}
	return x, x.Count > 0 && x.Stops(class, s.cfg.Now()), nil
}

// maySuppress reports whether every node reads these rows.
func (s *Store) maySuppress() bool { return s.cfg.Suppress == nil || s.cfg.Suppress() }

// setFailures writes rows for failures into a batch. Those of one batch see each
// other by way of rows.
func (s *Store) setFailures(b *pebble.Batch, t tenant.ID, fs []Failure) error {
	rows := map[string]Suppression{}
	for i := range fs {
		f := &fs[i]
		addr := SuppressAddr(f.Addr)
		if addr == "" || len(addr) > maxSuppressAddr {
			continue
		}
		x, known := rows[addr]
		if !known {
			var err error
			if x, err = s.suppression(t, addr); err != nil && !errors.Is(err, errCorrupt) {
				return err
			}
		}
		x = x.after(f)
		rows[addr] = x
	}
	for addr, x := range rows {
		setFramed(b, suppressKey(nil, t, addr), x.append(nil), nil)
	}
	return nil
}

// ErrOlder says that a node of the cluster runs a program that does not know
// suppressions yet.
var ErrOlder = errors.New("a node runs an older program that does not know suppressions")

// Suppress puts addresses on the list of a tenant whose log is here, durably
// here and at the holder; MaxSuppress at a time.
func (s *Store) Suppress(ctx context.Context, t tenant.ID, fs []Failure) error {
	if len(fs) == 0 {
		return nil
	}
	if len(fs) > MaxSuppress {
		return fmt.Errorf("suppress addresses: %d at once, at most %d", len(fs), MaxSuppress)
	}
	err := s.changeList(ctx, t, func(b *pebble.Batch) error { return s.setFailures(b, t, fs) })
	if err != nil {
		return fmt.Errorf("suppress addresses: %w", err)
	}
	return nil
}

// Unsuppress takes addresses off a tenant's list and returns how many were on it.
func (s *Store) Unsuppress(ctx context.Context, t tenant.ID, addrs []string) (n int, err error) {
	if len(addrs) > MaxSuppress {
		return 0, fmt.Errorf("remove suppressions: %d at once, at most %d", len(addrs), MaxSuppress)
	}
	err = s.changeList(ctx, t, func(b *pebble.Batch) error {
		n = 0
		for _, addr := range addrs {
			x, err := s.suppression(t, addr)
			if err != nil {
				return err
			}
			if x.Count == 0 || x.Removed {
				continue
			}
			n++
			x.Removed = true
			if now := s.cfg.Now(); now.After(x.Changed) {
				x.Changed = now
			}
			setFramed(b, suppressKey(nil, t, addr), x.append(nil), nil)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("remove suppressions: %w", err)
	}
	return n, nil
}

// changeList gives the log a record of what f writes and waits for the holder.
func (s *Store) changeList(ctx context.Context, t tenant.ID, f func(*pebble.Batch) error) error {
	if err := s.broken(); err != nil {
		return err
	}
	if !s.maySuppress() {
		return ErrOlder
	}
	s.mu.Lock()
	g := s.index.logs[t]
	s.mu.Unlock()
	if g == nil {
		return ErrStale
	}
	if err := s.openEpoch(g); err != nil {
		return err
	}
	_, err := s.writeOps(ctx, g, func(b *pebble.Batch) (*chunkName, error) { return nil, f(b) }, true)
	return err
}

// Suppressions lists a tenant's addresses behind one, in order, removed and
// lapsed ones left out; at most limit of them, and where to go on ("": the end).
// It reads a bounded number of rows, so a page may be short.
func (s *Store) Suppressions(t tenant.ID, behind string, limit int) (list []Suppression, next string, err error) {
	if err := s.broken(); err != nil {
		return nil, "", err
	}
	from, now, read := tenantPrefix(nil, tabSuppress, t), s.cfg.Now(), 0
	end := after(from)
	if behind != "" {
		from = append(suppressKey(nil, t, behind), 0)
	}
	err = s.each(from, end, func(k, p []byte) (bool, error) {
		x, err := readSuppression(k, p)
		if err != nil {
			return false, err
		}
		if x.Active(now) {
			list = append(list, x)
		}
		if read++; len(list) >= limit || read >= suppressPage {
			next = x.Addr
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("list suppressions: %w", err)
	}
	return list, next, nil
}
