package queue

import (
	"encoding/binary"

	"postern/tenant"
)

const (
	// maxForward bounds one outcome on the wire: fifty recipients, a dialogue and
	// a few notices, each with the head of the message.
	maxForward = 1 << 20
	// maxNotices is how many notices one settlement can have, and more.
	maxNotices = 8
)

// forwardPart is how an attempt ended, for the owner of the message's log.
type forwardPart struct {
	epoch uint64 // the owner's present one
	id    ID
	n     uint16
	rev   uint32     // of the item before the attempt
	x     Settlement // without Item
}

func (q *forwardPart) encode() []byte {
	b := be64(newRecord(nil), uint64(q.id.Tenant))
	for _, v := range [...]uint64{q.epoch, q.id.Epoch, q.id.Seq, uint64(q.n), uint64(q.rev)} {
		b = binary.AppendUvarint(b, v)
	}
	b = appendAttempt(b, &q.x.Attempt)
	b = putString(b, cut(q.x.Attempt.Dialogue, maxDialogue))
	b = binary.AppendUvarint(b, uint64(len(q.x.Outcomes)))
	for _, o := range q.x.Outcomes {
		b = appendReply(append(binary.AppendUvarint(b, uint64(o.Rcpt)), byte(o.Result)), o.Reply)
	}
	b = append(putTime(b, q.x.Next), flagOctet(q.x.Delayed))
	b = binary.AppendUvarint(b, uint64(len(q.x.Reports)))
	for i := range q.x.Reports {
		r := &q.x.Reports[i]
		b = appendEnvelope(b, &r.Envelope)
		b = append(binary.AppendUvarint(b, uint64(len(r.Body))), r.Body...)
	}
	return seal(b)
}

func decodeForward(b []byte) (*forwardPart, error) {
	if len(b) > maxForward {
		return nil, errCorrupt
	}
	r, err := unsealPage(b)
	if err != nil {
		return nil, err
	}
	q := &forwardPart{}
	if t := r.bytes(8); t != nil {
		q.id.Tenant = tenant.ID(binary.BigEndian.Uint64(t))
	}
	q.epoch, q.id.Epoch, q.id.Seq = r.uint(), r.uint(), r.uint()
	n, rev := r.uint(), r.uint()
	q.n, q.rev = uint16(n), uint32(rev)
	if n > maxRcpts || rev >= 1<<32-1 {
		r.fail()
	}
	q.x.Attempt = readAttempt(r)
	q.x.Attempt.Dialogue = r.string()
	count := r.count()
	if count > maxRcpts {
		r.fail()
	}
	for i := 0; i < count && !r.bad; i++ {
		o := Outcome{Rcpt: int(r.uint() & 0xffff), Result: Result(r.byte())}
		o.Reply = readReply(r)
		q.x.Outcomes = append(q.x.Outcomes, o)
	}
	q.x.Next, q.x.Delayed = r.time(), r.byte() == 1
	if count = r.count(); count > maxNotices {
		r.fail()
	}
	for i := 0; i < count && !r.bad; i++ {
		e := readEnvelope(r)
		q.x.Reports = append(q.x.Reports, Notice{Envelope: *e, Body: r.bytes(r.count())})
	}
	return q, r.done("forwarded outcome")
}
