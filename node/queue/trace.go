package queue

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Trace is everything known of a message, also after it ended.
type Trace struct {
	Summary
	Ended    bool
	Outcomes []Ending
	Attempts []TracedAttempt
}

// Ending is one recipient's end.
type Ending struct {
	Rcpt   string
	Result Result
	Reply  Reply
	At     time.Time
}

// TracedAttempt is one attempt with what it gave.
type TracedAttempt struct {
	Attempt
	Domain   string
	Outcomes []Outcome
}

// maxDialogue is the most of a dialogue that is kept.
const maxDialogue = 16 << 10

// tracedItem is what is kept of one settlement.
type tracedItem struct {
	env      *Envelope // with the last one of a message
	epoch    uint64    // of the settlement, with seq its place in the tenant's log
	seq      uint64
	at       time.Time
	domain   string
	attempt  Attempt // zero At: none was made (cancelled)
	outcomes []Outcome
	rcpts    []string // of the outcomes
}

// writeTrace keeps what an attempt gave. Recipients and dialogue are apart,
// because they live differently long. The last one of a message also keeps the
// envelope, which goes with the message otherwise.
func writeTrace(b *pebble.Batch, op *ending, rev uint32, now int64) {
	m, at, x := op.e.msg, op.e.at, &op.x
	var kb [64]byte
	var vb [512]byte
	v := append(vb[:0], 0)
	if op.last {
		v[0] = 1
		v = appendEnvelope(v, m.head.env)
	}
	v = binary.AppendUvarint(binary.AppendUvarint(v, op.log.epoch), op.seq)
	v = binary.AppendVarint(v, now)
	v = putString(v, m.head.domains[at.n])
	v = appendAttempt(v, &x.Attempt)
	v = binary.AppendUvarint(v, uint64(len(x.Outcomes)))
	for _, o := range x.Outcomes {
		v = append(binary.AppendUvarint(v, uint64(o.Rcpt)), byte(o.Result))
		rcpt := ""
		if !op.last { // else the envelope is here
			rcpt = m.head.env.Rcpts[o.Rcpt].Addr
		}
		v = appendReply(putString(v, rcpt), o.Reply)
	}
	setFramed(b, revKey(kb[:0], tabOutcome, m.id, at.n, rev), v, nil)
	if d := x.Attempt.Dialogue; d != "" {
		setFramed(b, revKey(kb[:0], tabTalk, m.id, at.n, rev), []byte(cut(d, maxDialogue)), nil)
	}
}

func readTraced(b []byte) (*tracedItem, error) {
	r := &reader{b: b}
	t := &tracedItem{}
	if r.byte() == 1 {
		t.env = readEnvelope(r)
	}
	t.epoch, t.seq = r.uint(), r.uint()
	t.at, t.domain, t.attempt = r.time(), r.string(), readAttempt(r)
	n := r.count()
	for i := 0; i < n && !r.bad; i++ {
		o := Outcome{Rcpt: int(r.uint() & 0xffff), Result: Result(r.byte())}
		rcpt := r.string()
		o.Reply = readReply(r)
		if t.env != nil && rcpt == "" && o.Rcpt < len(t.env.Rcpts) {
			rcpt = t.env.Rcpts[o.Rcpt].Addr
		}
		t.outcomes, t.rcpts = append(t.outcomes, o), append(t.rcpts, rcpt)
	}
	return t, r.done("trace")
}

// Trace tells what became of a message, queued or ended, for as long as it is kept.
func (s *Store) Trace(id ID) (Trace, error) {
	if err := s.broken(); err != nil {
		return Trace{}, err
	}
	// The traces first: a message that ends meanwhile then still is in one of both.
	before, err := s.Show(id)
	queued := err == nil
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Trace{}, err
	}
	t := Trace{Summary: before, Ended: !queued}
	t.ID = id
	prefix := messageKey(nil, tabOutcome, id)
	err = s.each(prefix, after(prefix), func(k, p []byte) (bool, error) {
		x, err := readTraced(p)
		if err != nil {
			return false, err
		}
		if x.env != nil {
			t.Envelope, t.Ended, t.Items = x.env, true, nil
		}
		if err := t.add(s, k, x); err != nil {
			return false, err
		}
		return true, nil
	})
	if err != nil {
		return Trace{}, fmt.Errorf("trace message %s: %w", id, err)
	}
	if t.Envelope == nil && len(t.Attempts) == 0 && len(t.Outcomes) == 0 {
		return Trace{}, ErrNotFound
	}
	slices.SortStableFunc(t.Attempts, func(a, b TracedAttempt) int { return a.At.Compare(b.At) })
	slices.SortStableFunc(t.Outcomes, func(a, b Ending) int { return cmp.Compare(a.At.UnixMicro(), b.At.UnixMicro()) })
	return t, nil
}

func (t *Trace) add(s *Store, key []byte, x *tracedItem) error {
	for i, o := range x.outcomes {
		if o.Result != Deferred {
			t.Outcomes = append(t.Outcomes, Ending{Rcpt: x.rcpts[i], Result: o.Result, Reply: o.Reply, At: x.at})
		}
	}
	if x.attempt.At.IsZero() {
		return nil
	}
	id, n, rev, _ := parseRevKey(key)
	err := s.get(revKey(nil, tabTalk, id, n, rev), func(p []byte) error {
		x.attempt.Dialogue = string(p)
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	t.Attempts = append(t.Attempts, TracedAttempt{Attempt: x.attempt, Domain: x.domain, Outcomes: x.outcomes})
	return nil
}
