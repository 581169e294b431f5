package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// callTime bounds a call whose caller set no deadline, and any call at the
	// answering node.
	callTime = 30 * time.Second
	// idleCalls is how many connections a node keeps for the next calls.
	idleCalls = 4
	// idleTime is how long the answering side waits for the next request.
	idleTime = 2 * time.Minute
)

// errUnanswered says that a request went out and no answer came back: it may
// have been carried out.
var errUnanswered = errors.New("no answer came")

// callFunc answers a verb. from is the asking node.
type callFunc = func(ctx context.Context, from string, req []byte) ([]byte, error)

// calls are the verbs this node answers.
type calls struct {
	mu    sync.Mutex // guards verbs
	verbs map[string]callFunc
}

// handle names what answers a verb.
func (p *port) handle(verb string, f callFunc) {
	p.calls.mu.Lock()
	defer p.calls.mu.Unlock()
	if p.calls.verbs == nil {
		p.calls.verbs = map[string]callFunc{}
	}
	p.calls.verbs[verb] = f
}

// answering makes a callFunc of a function over JSON bodies.
func answering[Q, A any](f func(ctx context.Context, from string, q Q) (A, error)) callFunc {
	return func(ctx context.Context, from string, req []byte) ([]byte, error) {
		var q Q
		if err := decodeBody(req, &q); err != nil {
			return nil, fmt.Errorf("read request: %w", err)
		}
		a, err := f(ctx, from, q)
		if err != nil {
			return nil, err
		}
		return encodeBody(a)
	}
}

// call asks a node. req and resp are JSON, but for []byte and *[]byte, which
// travel as they are; nil is nothing. An error that wraps errUnreached: nothing
// was sent. errUnanswered: it may have been done. Any other is the node's own.
// A call to this node itself is answered here.
func (p *port) call(ctx context.Context, node, verb string, req, resp any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	body, err := encodeBody(req)
	if err == nil && len(body) > maxCall {
		err = fmt.Errorf("%d octets: %w", len(body), ErrTooLarge)
	}
	if err != nil {
		return fmt.Errorf("call %s: %w", verb, err)
	}
	var answer []byte
	if node == p.name {
		answer, err = p.answer(ctx, p.name, verb, body)
	} else {
		answer, err = p.ask(ctx, node, verb, body)
	}
	if err == nil {
		err = decodeBody(answer, resp)
	}
	if err != nil {
		return fmt.Errorf("call %s of node %s: %w", verb, node, err)
	}
	return nil
}

func encodeBody(v any) ([]byte, error) {
	switch b := v.(type) {
	case nil:
		return nil, nil
	case []byte:
		return b, nil
	}
	return json.Marshal(v)
}

func decodeBody(b []byte, v any) error {
	switch to := v.(type) {
	case nil:
		return nil
	case *[]byte:
		*to = b
		return nil
	}
	return json.Unmarshal(b, v)
}

// callConn is a connection for one call at a time. Its reader notices the end
// of an idle one, so that no call is sent into a dead connection.
type callConn struct {
	*peerConn
	answers chan []byte   // the reader's; one at a time
	dead    chan struct{} // closed when the reader ends
	err     error         // why; valid once dead
}

func (c *callConn) read() {
	defer close(c.dead)
	defer c.Close()
	for {
		b, err := readRecord(c.peerConn, maxCall+5)
		if err != nil {
			c.err = err
			return
		}
		select {
		case c.answers <- b:
		default:
			c.err = errors.New("an answer nobody asked for")
			return
		}
	}
}

// ask sends a request and waits for its answer.
func (p *port) ask(ctx context.Context, node, verb string, body []byte) ([]byte, error) {
	c, err := p.borrow(ctx, node)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	deadline, _ := ctx.Deadline()
	// Nothing but this call uses the connection, so giving up may close it.
	giveUp := context.AfterFunc(ctx, c.abort)
	defer giveUp()
	if err = c.SetWriteDeadline(deadline); err == nil {
		_, err = c.Write(putRequest(verb, time.Until(deadline), body))
	}
	if err != nil {
		c.abort()
		return nil, unanswered(ctx, err)
	}
	var b []byte
	select {
	case b = <-c.answers:
	case <-c.dead:
		select {
		case b = <-c.answers: // it came right before the end
		default:
			return nil, unanswered(ctx, c.err)
		}
	case <-ctx.Done():
		c.abort()
		return nil, unanswered(ctx, nil)
	}
	answer, took, remote, err := getAnswer(b)
	if err != nil {
		c.abort()
		return nil, unanswered(ctx, err)
	}
	c.link.rtt.Store(int64(max(time.Since(began)-took, time.Microsecond)))
	if giveUp() {
		p.giveBack(c)
	}
	return answer, remote
}

func unanswered(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", errUnanswered, context.Cause(ctx))
	}
	return fmt.Errorf("%w: %w", errUnanswered, err)
}

// borrow takes an idle connection that lives, or opens one.
func (p *port) borrow(ctx context.Context, node string) (*callConn, error) {
	l := p.link(node)
	for {
		l.mu.Lock()
		n := len(l.idle)
		if n == 0 {
			l.mu.Unlock()
			break
		}
		c := l.idle[n-1]
		l.idle = l.idle[:n-1]
		l.mu.Unlock()
		select {
		case <-c.dead:
		default:
			return c, nil
		}
	}
	conn, err := p.dial(ctx, node, protoCalls)
	if err != nil {
		return nil, err
	}
	c := &callConn{peerConn: conn.(*peerConn), answers: make(chan []byte, 1), dead: make(chan struct{})}
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.serving.Go(c.read)
	}
	p.mu.Unlock()
	if closed {
		c.abort()
		return nil, fmt.Errorf("%w: %w", errUnreached, ErrClosed)
	}
	return c, nil
}

// giveBack keeps a connection for the next call.
func (p *port) giveBack(c *callConn) {
	c.link.mu.Lock()
	keep := len(c.link.idle) < idleCalls
	if keep {
		c.link.idle = append(c.link.idle, c)
	}
	c.link.mu.Unlock()
	if !keep {
		_ = c.Close()
	}
}

// answerCalls serves one connection of another node.
func (p *port) answerCalls(ctx context.Context, c *peerConn) {
	for {
		if c.SetReadDeadline(time.Now().Add(idleTime)) != nil {
			return
		}
		payload, err := readRecord(c, maxCall+maxCallHead)
		if err != nil {
			return
		}
		began := time.Now()
		verb, left, body, err := getRequest(payload)
		if err != nil {
			p.log.Warn("call not understood", "node", c.peer.name, "err", err)
			return
		}
		within, cancel := context.WithTimeout(ctx, min(left, callTime))
		answer, err := p.answer(within, c.peer.name, verb, body)
		cancel()
		if c.SetWriteDeadline(time.Now().Add(p.pace.dial)) != nil {
			return
		}
		if _, err := c.Write(putAnswer(time.Since(began), answer, err)); err != nil {
			return
		}
	}
}

// answer carries out a verb here.
func (p *port) answer(ctx context.Context, from, verb string, body []byte) ([]byte, error) {
	p.calls.mu.Lock()
	f := p.calls.verbs[verb]
	p.calls.mu.Unlock()
	if f == nil {
		return nil, fmt.Errorf("verb %.32q: %w", verb, errNoVerb)
	}
	return f(ctx, from, body)
}
