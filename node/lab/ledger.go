package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
)

// UID marks one message of a load; it travels in the header UIDHeader.
type UID [16]byte

// UIDHeader carries a message's UID through any relay.
const UIDHeader = "X-Lab-Id"

// RunID marks the messages of one load: the first half of their UIDs.
type RunID [8]byte

// Run is the load the message belongs to.
func (u UID) Run() RunID { return RunID(u[:8]) }

// String is the form the header has.
func (u UID) String() string { return hex.EncodeToString(u[:]) }

// ParseUID reads what String wrote.
func ParseUID(s string) (UID, bool) {
	var u UID
	if len(s) != 2*len(u) {
		return u, false
	}
	_, err := hex.Decode(u[:], []byte(s))
	return u, err == nil
}

// Key names one recipient of one message in the ledger.
type Key [16]byte

// KeyOf makes the key of a recipient of the message uid.
func KeyOf(uid UID, rcpt string) Key {
	b := make([]byte, 0, 80)
	b = append(b, uid[:]...)
	b = append(b, strings.ToLower(rcpt)...)
	sum := sha256.Sum256(b)
	return Key(sum[:16])
}

// Hash is the first half of the SHA-256 of a message's body, the octets behind
// the first empty line.
type Hash [16]byte

// Verdict is what the client was told about a recipient.
type Verdict uint8

// Verdicts. Unknown means the connection broke before the reply.
const (
	Accepted  Verdict = iota + 1
	Refused           // 5xx
	Postponed         // 4xx
	Unknown
)

// Counts is the balance of a ledger, in recipients. A healthy relay has zero
// in Lost, Ghosts, Altered and Strays; Twice only where an end was in doubt.
type Counts struct {
	Accepted  int64 `json:"accepted"`  // got a 250
	Refused   int64 `json:"refused"`   // got a 5xx
	Postponed int64 `json:"postponed"` // got a 4xx
	Unknown   int64 `json:"unknown"`   // got no answer

	Delivered int64 `json:"delivered"` // accepted and arrived, each once
	Bounced   int64 `json:"bounced"`   // accepted, not arrived, a failure notice came back
	Cancelled int64 `json:"cancelled"` // accepted and ended by the operator
	Queued    int64 `json:"queued"`    // accepted and nothing heard of it yet
	Lost      int64 `json:"lost"`      // accepted, gone, and nothing heard of it

	Twice   int64 `json:"twice"`   // arrivals beyond the first
	Both    int64 `json:"both"`    // arrived and yet a failure notice came back
	Ghosts  int64 `json:"ghosts"`  // got a 4xx or 5xx and arrived all the same
	Rescued int64 `json:"rescued"` // got no answer and arrived: allowed
	Altered int64 `json:"altered"` // arrived with another body
	Strays  int64 `json:"strays"`  // arrived or bounced without ever having been sent
}

func (c *Counts) add(o Counts, sign int64) {
	c.Accepted += sign * o.Accepted
	c.Refused += sign * o.Refused
	c.Postponed += sign * o.Postponed
	c.Unknown += sign * o.Unknown
	c.Delivered += sign * o.Delivered
	c.Bounced += sign * o.Bounced
	c.Cancelled += sign * o.Cancelled
	c.Queued += sign * o.Queued
	c.Lost += sign * o.Lost
	c.Twice += sign * o.Twice
	c.Both += sign * o.Both
	c.Ghosts += sign * o.Ghosts
	c.Rescued += sign * o.Rescued
	c.Altered += sign * o.Altered
	c.Strays += sign * o.Strays
}

// Sound reports the first thing that must never happen, or nil. Mail still
// queued is sound; so is Twice, which the caller judges.
func (c Counts) Sound() error {
	for _, x := range []struct {
		n    int64
		what string
	}{
		{c.Lost, "accepted and lost"},
		{c.Ghosts, "refused and yet delivered"},
		{c.Altered, "delivered with another body"},
		{c.Strays, "delivered without having been sent"},
		{c.Both, "delivered and yet reported as failed"},
	} {
		if x.n != 0 {
			return fmt.Errorf("check ledger: %d %s", x.n, x.what)
		}
	}
	if c.Accepted != c.Delivered+c.Bounced+c.Cancelled+c.Queued+c.Lost {
		return fmt.Errorf("check ledger: %d accepted do not balance with %+v", c.Accepted, c)
	}
	return nil
}

// entry is what is known of one recipient. Events come in any order: an arrival
// often precedes the 250's own record.
type entry struct {
	sent, got [8]byte // prefixes of the body hashes; sent is zero when nobody knows it
	verdict   Verdict // 0: not recorded
	arrivals  uint8
	flags     uint8
}

const (
	flagBounced uint8 = 1 << iota
	flagCancelled
	flagLost
	flagAltered
)

// counts is the contribution of one entry to the balance.
func (e entry) counts() Counts {
	var c Counts
	arrived, bounced := e.arrivals > 0, e.flags&flagBounced != 0
	if e.arrivals > 1 {
		c.Twice = int64(e.arrivals) - 1
	}
	if e.flags&flagAltered != 0 || (arrived && e.sent != [8]byte{} && e.sent != e.got) {
		c.Altered = 1
	}
	if arrived && bounced {
		c.Both = 1
	}
	switch e.verdict {
	case Accepted:
		c.Accepted = 1
		switch {
		case arrived:
			c.Delivered = 1
		case bounced:
			c.Bounced = 1
		case e.flags&flagCancelled != 0:
			c.Cancelled = 1
		case e.flags&flagLost != 0:
			c.Lost = 1
		default:
			c.Queued = 1
		}
	case Refused, Postponed:
		if e.verdict == Refused {
			c.Refused = 1
		} else {
			c.Postponed = 1
		}
		if arrived || bounced {
			c.Ghosts = 1
		}
	case Unknown:
		c.Unknown = 1
		if arrived || bounced {
			c.Rescued = 1
		}
	default:
		c.Strays = 1
	}
	return c
}

// ended reports that nothing more is expected of an entry but repetitions.
func (e entry) ended() bool {
	return e.verdict != 0 && (e.verdict != Accepted || e.arrivals > 0 || e.flags&(flagBounced|flagCancelled) != 0)
}

// Ledger balances what a load was told with what arrived. It is safe for
// concurrent use and costs one map access an event. Ended recipients are
// remembered for finding doubles: all of them, or the last Remember to twice
// Remember when that is set, so that memory stays bounded in a long run.
type Ledger struct {
	remember int

	mu    sync.Mutex // guards what follows
	open  map[Key]entry
	ended [2]map[Key]entry // the younger first
	sum   Counts
}

// NewLedger makes an empty ledger; remember 0 forgets nothing.
func NewLedger(remember int) *Ledger {
	return &Ledger{remember: remember, open: map[Key]entry{}, ended: [2]map[Key]entry{{}, {}}}
}

// Sent records what the client was told. A zero body is one nobody knows, as
// with mail that did not come from a load.
func (l *Ledger) Sent(k Key, body Hash, v Verdict) {
	l.change(k, func(e *entry) {
		e.verdict = v
		if body != (Hash{}) {
			e.sent = [8]byte(body[:8])
		}
	})
}

// Arrived records that a mail exchanger took the message.
func (l *Ledger) Arrived(k Key, body Hash) {
	l.change(k, func(e *entry) {
		got := [8]byte(body[:8])
		if e.arrivals > 0 && got != e.got {
			e.flags |= flagAltered
		}
		e.got = got
		e.flags &^= flagLost
		if e.arrivals < 255 {
			e.arrivals++
		}
	})
}

// Bounced records that a failure notice came back.
func (l *Ledger) Bounced(k Key) {
	l.change(k, func(e *entry) { e.flags = e.flags&^flagLost | flagBounced })
}

// Cancelled records that the operator ended the message.
func (l *Ledger) Cancelled(k Key) {
	l.change(k, func(e *entry) { e.flags = e.flags&^flagLost | flagCancelled })
}

// Missing records that the relay has the message no longer while nothing was
// heard of it. A later arrival takes the word back.
func (l *Ledger) Missing(k Key) {
	l.change(k, func(e *entry) { e.flags |= flagLost })
}

// Counts is the balance now.
func (l *Ledger) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sum
}

// Final is the balance once the relay is quiet: what is still unheard of is lost.
func (l *Ledger) Final() Counts {
	c := l.Counts()
	c.Lost += c.Queued
	c.Queued = 0
	return c
}

// Awaits reports whether k was accepted and nothing was heard of it yet.
func (l *Ledger) Awaits(k Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.open[k]
	return ok && e.verdict == Accepted && e.flags&flagLost == 0
}

// Open lists up to max accepted recipients nothing was heard of yet.
func (l *Ledger) Open(max int) []Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ks []Key
	for k, e := range l.open {
		if len(ks) >= max {
			break
		}
		if e.verdict == Accepted {
			ks = append(ks, k)
		}
	}
	return ks
}

// change applies f to k's entry and moves the entry to the ended ones when
// nothing more is expected of it.
func (l *Ledger) change(k Key, f func(*entry)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, home := l.find(k)
	if home != nil {
		l.sum.add(e.counts(), -1)
	}
	f(&e)
	l.sum.add(e.counts(), +1)
	if home == nil || home == &l.open {
		if !e.ended() {
			l.open[k] = e
			return
		}
		delete(l.open, k)
		home = &l.ended[0]
	}
	(*home)[k] = e
	if l.remember > 0 && len(l.ended[0]) >= l.remember {
		l.ended[1] = l.ended[0]
		l.ended[0] = make(map[Key]entry, l.remember)
	}
}

// find returns k's entry and the map it lies in, or nil.
func (l *Ledger) find(k Key) (entry, *map[Key]entry) {
	for _, m := range []*map[Key]entry{&l.open, &l.ended[0], &l.ended[1]} {
		if e, ok := (*m)[k]; ok {
			return e, m
		}
	}
	return entry{}, nil
}
