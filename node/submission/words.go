package submission

import (
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// Bounds of texts in frames.
const (
	maxAddress = maxLocal + 1 + maxDomain
	maxParam   = 2 << 10
	maxFact    = 200
	maxText    = 1 << 10
)

// beginning is an opening on its way to the owner. The tag comes back with each
// answer, so that one to an older message is not taken for one to this.
func appendBegin(p pack, tag uint32, o *opening) pack {
	p.u32(tag)
	p = append(p, o.id[:]...)
	p.u64(uint64(o.tenant))
	p.u64(uint64(o.account))
	p.u64(uint64(o.size))
	p.u64(uint64(o.quiet.Milliseconds()))
	p.u8(flag(o.utf8))
	p.u8(uint8(o.how))
	p.text(o.from.String())
	p.text(o.ret)
	p.text(o.envID)
	p.text(o.tls)
	return p
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

func parseBegin(in []byte) (tag uint32, o *opening, ok bool) {
	u := &unpack{rest: in}
	tag = u.u32()
	o = &opening{id: u.id(), tenant: tenant.ID(u.u64()), account: tenant.AccountID(u.u64())}
	size, quiet := u.u64(), u.u64()
	o.utf8 = u.u8() == 1
	o.how = how(u.u8()) & (howESMTP | howTLS | howAuth)
	from := u.text(maxAddress)
	o.ret, o.envID, o.tls = u.text(4), u.text(maxParam), u.text(maxFact)
	if !u.done() || size >= 1<<62 || quiet > uint64((10*365*24*time.Hour).Milliseconds()) {
		return 0, nil, false
	}
	o.size, o.quiet = int64(size), time.Duration(quiet)*time.Millisecond
	switch o.ret {
	case "", "FULL", "HDRS":
	default:
		return 0, nil, false
	}
	var rest string
	var err error
	o.from, rest, err = parsePath("<"+from+">", o.utf8)
	return tag, o, err == nil && rest == "" && o.from.local != ""
}

func appendRcpt(p pack, rc queue.Rcpt) pack {
	p.u8(uint8(rc.Notify))
	p.text(rc.Addr)
	p.text(rc.ORcpt)
	return p
}

func parseRcpt(in []byte, utf8 bool) (rc queue.Rcpt, ok bool) {
	u := &unpack{rest: in}
	rc.Notify = queue.Notify(u.u8())
	addr := u.text(maxAddress)
	rc.ORcpt = u.text(maxParam)
	if !u.done() || rc.Notify > queue.NotifyNever|queue.NotifySuccess|queue.NotifyFailure|queue.NotifyDelay {
		return rc, false
	}
	to, rest, err := parsePath("<"+addr+">", utf8)
	if err != nil || rest != "" || to.local == "" || to.routed() {
		return rc, false
	}
	rc.Addr = to.String()
	return rc, true
}

// question is an ask: what became of the transaction.
type question struct {
	tag         uint32
	tenant      tenant.ID
	transaction [16]byte
	place       queue.ID // where it was put, if that is known
}

func appendAsk(p pack, q question) pack {
	p.u32(q.tag)
	p.u64(uint64(q.tenant))
	p = append(p, q.transaction[:]...)
	p.u64(q.place.Epoch)
	p.u64(q.place.Seq)
	return p
}

func parseAsk(in []byte) (q question, ok bool) {
	u := &unpack{rest: in}
	q = question{tag: u.u32(), tenant: tenant.ID(u.u64()), transaction: u.id()}
	q.place = queue.ID{Tenant: q.tenant, Epoch: u.u64(), Seq: u.u64()}
	return q, u.done()
}

// outcome is the gist of an owner's answer.
type outcome uint8

const (
	saysYes       outcome = iota + 1
	saysNo                // refused, with a reply
	saysKept              // in the queue, with its id
	saysAbsent            // no such transaction, and never will be
	saysElsewhere         // not the owner, or not yet
)

// answer is what an owner says to a frame.
type answer struct {
	tag     uint32
	outcome outcome
	reply   *reply
	id      string
}

func appendAnswer(p pack, a answer) pack {
	p.u32(a.tag)
	p.u8(uint8(a.outcome))
	switch a.outcome {
	case saysKept:
		p.text(a.id)
	case saysNo:
		p.u16(uint16(a.reply.code))
		for _, n := range a.reply.enh {
			p.u16(uint16(n))
		}
		p.u8(flag(a.reply.close))
		p.text(string(a.reply.reason))
		p.text(clip(a.reply.text, maxText))
	}
	return p
}

func parseAnswer(in []byte) (a answer, ok bool) {
	u := &unpack{rest: in}
	a.tag, a.outcome = u.u32(), outcome(u.u8())
	switch a.outcome {
	case saysYes, saysAbsent, saysElsewhere:
	case saysKept:
		a.id = u.text(maxFact)
		if _, err := queue.ParseID(a.id); err != nil {
			return a, false
		}
	case saysNo:
		r := &reply{code: int(u.u16())}
		for i := range r.enh {
			r.enh[i] = int(u.u16())
		}
		r.close = u.u8() == 1
		r.reason = reason(u.text(maxFact))
		r.text = u.text(maxText)
		if r.code < 400 || r.code > 599 || r.enh[0] != r.code/100 || r.enh[1] > 999 || r.enh[2] > 999 || !r.reason.known() {
			return a, false
		}
		a.reply = r
	default:
		return a, false
	}
	return a, u.done()
}

// known keeps the label of a metric out of another program's hands.
func (r reason) known() bool {
	switch r {
	case reasonAuth, reasonTLS, reasonSyntax, reasonOrder, reasonSender, reasonRecipient, reasonQuota, reasonRate,
		reasonHeld, reasonSize, reasonContent, reasonLoop, reasonFull, reasonBusy, reasonInternal, reasonGone:
		return true
	}
	return false
}
