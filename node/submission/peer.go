package submission

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"
)

// peer is one of them: one goroutine, one transaction at a time.
type peer struct {
	srv    *Server
	node   string
	in     frames
	out    []byte
	memory memory

	tag     uint32
	tx      *transaction
	place   *entrance
	high    bool
	first   []byte // first frame of the message, read already
	firstIs kind
	over    bool
	tail    byte  // CR when the last piece ended with one
	dead    error // why nothing more can be read

	mu       sync.Mutex // guards the rest, and setting read deadlines against it
	inBody   bool
	stopping bool
	lastCall time.Time
}

// arm is asked before each read: what was answered goes out first.
func (p *peer) arm() error {
	if err := writeAll(p.in.conn, &p.out); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	until := time.Now().Add(p.srv.cfg.Idle + p.srv.waits.silent)
	if p.stopping {
		if !p.inBody {
			return errShutdown
		}
		until = p.lastCall
	}
	if err := p.in.conn.SetReadDeadline(until); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	return nil
}

func (p *peer) run() {
	defer func() {
		if what := recover(); what != nil {
			p.srv.log.peerPanicked(p.node, what, debug.Stack())
		}
		p.drop()
	}()
	for {
		k, payload, err := p.in.next(maxFrame, p.arm)
		if err == nil {
			err = p.handle(k, payload)
		}
		if err != nil {
			if errors.Is(err, errFrame) {
				p.srv.log.peerMisspoke(p.node, err)
			}
			_ = writeAll(p.in.conn, &p.out)
			return
		}
	}
}

// handle answers one frame, or with the first of a message all of it.
func (p *peer) handle(k kind, payload []byte) error {
	switch k {
	case kindBegin:
		p.drop()
		tag, o, ok := parseBegin(payload)
		if !ok {
			return errFrame
		}
		o.ingress = p.node
		p.tag = tag
		p.begin(o)
	case kindRcpt:
		if p.tx == nil {
			return nil // MAIL was refused, and that was the answer
		}
		rc, ok := parseRcpt(payload, p.tx.opening.utf8)
		if !ok {
			return errFrame
		}
		p.answer(stageRcpt, p.tx.recipient(rc))
	case kindPiece, kindCheck, kindEnd:
		if p.tx == nil {
			return nil // the rest of a message that was refused
		}
		return p.take(k, payload)
	case kindReset:
		p.drop()
	case kindAsk:
		p.drop()
		q, ok := parseAsk(payload)
		if !ok {
			return errFrame
		}
		p.say(p.srv.find(q))
	default:
		return errFrame
	}
	return nil
}

func (p *peer) begin(o *opening) {
	tx, err := p.srv.begin(o, &p.memory)
	if err != nil {
		p.answer(stageMail, err)
		return
	}
	place := p.srv.pending.begin(o.id)
	tx.enter = func() error { return p.srv.pending.enter(place) }
	p.tx, p.place = tx, place
	p.say(answer{tag: p.tag, outcome: saysYes})
}

func (p *peer) say(a answer) { p.out = appendFrame(p.out, kindAnswer, appendAnswer(nil, a)) }

// answer says what came of a command.
func (p *peer) answer(at stage, err error) {
	switch {
	case err == nil:
		p.say(answer{tag: p.tag, outcome: saysYes})
	case err == errNotHere && at == stageMail:
		p.say(answer{tag: p.tag, outcome: saysElsewhere})
	default:
		p.say(answer{tag: p.tag, outcome: saysNo, reply: p.srv.answer(at, err)})
	}
}

// take reads one message from its first frame on. A refusal is said at once;
// what still comes of the message is dropped.
func (p *peer) take(k kind, payload []byte) error {
	if len(p.tx.rcpts) == 0 {
		return errFrame
	}
	p.first, p.firstIs, p.high, p.over, p.tail, p.dead = payload, k, false, false, 0, nil
	p.setBody(true)
	defer p.setBody(false)
	id, err := p.tx.take(p)
	switch {
	case p.dead != nil:
		return p.dead
	case err == nil:
		p.say(answer{tag: p.tag, outcome: saysKept, id: id.String()})
	case errors.Is(err, errDropped):
	case errors.As(err, new(*unsure)):
		p.say(answer{tag: p.tag, outcome: saysElsewhere})
	default:
		p.answer(stageData, err)
	}
	p.drop()
	return nil
}

func (p *peer) setBody(in bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inBody = in
}

var errDropped = errors.New("message dropped by its sender")

// next is the message's next piece. What cannot be read on ends it as dead.
func (p *peer) next() ([]byte, error) {
	for !p.over {
		k, payload := p.firstIs, p.first
		if p.firstIs = 0; k == 0 {
			if k, payload, p.dead = p.in.next(maxFrame, p.arm); p.dead != nil {
				return nil, p.dead
			}
		}
		switch k {
		case kindPiece:
			if !p.whole(payload) {
				p.dead = errFrame
				return nil, p.dead
			}
			if len(payload) > 0 {
				p.high = p.high || !ascii(payload)
				return payload, nil
			}
		case kindCheck:
			p.say(answer{tag: p.tag, outcome: saysYes})
		case kindEnd:
			if p.tail != 0 {
				p.dead = errFrame
				return nil, p.dead
			}
			p.over = true
			return nil, io.EOF
		case kindReset:
			return nil, errDropped
		default:
			p.dead = errFrame
			return nil, p.dead
		}
	}
	return nil, io.EOF
}

func (p *peer) highBits() bool { return p.high }

// whole says whether a piece has CRLF line ends only and no NUL. The other node
// has seen to that; but what a message's end is taken for must not depend on
// another program being without fault.
func (p *peer) whole(b []byte) bool {
	if bytes.IndexByte(b, 0) >= 0 {
		return false
	}
	for len(b) > 0 {
		if p.tail == '\r' {
			if b[0] != '\n' {
				return false
			}
			p.tail, b = 0, b[1:]
			continue
		}
		i := bytes.IndexByte(b, '\n')
		line := b
		if i >= 0 {
			line = b[:i]
			if i == 0 || line[i-1] != '\r' {
				return false
			}
			line, b = line[:i-1], b[i+1:]
		} else {
			b = nil
			if n := len(line); line[n-1] == '\r' {
				p.tail, line = '\r', line[:n-1]
			}
		}
		if bytes.IndexByte(line, '\r') >= 0 {
			return false
		}
	}
	return true
}

// drop forgets the message at hand.
func (p *peer) drop() {
	if p.tx == nil {
		return
	}
	p.tx.drop()
	p.srv.pending.end(p.tx.opening.id, p.place)
	p.tx, p.place = nil, nil
}
