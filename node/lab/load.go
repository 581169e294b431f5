package lab

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Sender is one credential a load sends with. An empty Password sends without
// AUTH.
type Sender struct {
	Username, Password string
	From               string
}

// Submission is one message of a load and what the client was told.
type Submission struct {
	UID     UID
	From    string
	Rcpts   []string
	Body    Hash
	Verdict []Verdict // one for each recipient
	Reply   Reply
	QueueID string // from "queued as X"
	At      time.Time
	Took    time.Duration // final dot to reply
}

// Load is a stream of messages with unique ids over submission.
type Load struct {
	Addrs    []string    // host:port, taken in turn by the connections
	TLS      *tls.Config // nil: no TLS
	Implicit bool        // TLS from the first byte
	EHLO     string      // ["load.lab.test"]
	Run      RunID       // marks its messages [random]
	Senders  []Sender    // taken in turn by the sessions
	// Domains are the recipients' domains, taken in turn; repeat one to weigh it.
	Domains  []string
	Mailbox  string        // what the recipients' names begin with ["u"]
	Rcpts    int           // a message [1]
	Sessions int           // [1]
	PerConn  int           // messages a connection [unlimited]
	Line     string        // the first of each body, such as a link
	Size     int           // octets of a message, about [5,000]
	Count    int64         // messages in all [unlimited]
	Rate     float64       // messages a second in all [unlimited]
	Timeout  time.Duration // of each reply [30 s]
	// Backoff is the pause after a refused connection or transaction [50 ms].
	Backoff time.Duration
	// Elsewhere makes a session go on with the next address after a 4xx.
	Elsewhere bool
	// Sent, if set, is told of each message, from many goroutines.
	Sent func(*Submission)
	// Trouble, if set, is told of connections that failed.
	Trouble func(error)
}

// LoadSum is what a load did, in messages.
type LoadSum struct {
	Sent, Accepted, Refused, Postponed, Unknown int64

	Elapsed  time.Duration
	P50, P99 time.Duration // final dot to 250
}

// loadRun is one run of a load.
type loadRun struct {
	Load
	next  atomic.Int64
	sum   [5]atomic.Int64 // by Verdict; 0 is all
	took  latencies
	start time.Time
}

// NewRunID makes a mark that no other load has.
func NewRunID() RunID {
	var id RunID
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return id
}

// Send sends until Count is reached or ctx ends. A message whose fate is
// unknown is never sent again: the next one has a new id.
func (l Load) Send(ctx context.Context) (LoadSum, error) {
	if len(l.Addrs) == 0 || len(l.Senders) == 0 || len(l.Domains) == 0 {
		return LoadSum{}, errors.New("send load: it needs an address, a sender and a domain")
	}
	orElse(&l.EHLO, "load.lab.test")
	orElse(&l.Mailbox, "u")
	orElse(&l.Rcpts, 1)
	orElse(&l.Sessions, 1)
	orElse(&l.Size, 5000)
	orElse(&l.Timeout, 30*time.Second)
	orElse(&l.Backoff, 50*time.Millisecond)
	r := &loadRun{Load: l, start: time.Now()}
	if r.Load.Run == (RunID{}) {
		r.Load.Run = NewRunID()
	}
	var sessions sync.WaitGroup
	for i := range l.Sessions {
		sessions.Go(func() { r.session(ctx, i) })
	}
	sessions.Wait()
	s := LoadSum{
		Sent: r.sum[0].Load(), Accepted: r.sum[Accepted].Load(), Refused: r.sum[Refused].Load(),
		Postponed: r.sum[Postponed].Load(), Unknown: r.sum[Unknown].Load(), Elapsed: time.Since(r.start),
	}
	s.P50, s.P99 = r.took.quantile(0.5), r.took.quantile(0.99)
	return s, nil
}

func orElse[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// lastReplies is how long an ended load waits for replies on the way.
const lastReplies = 2 * time.Second

// session keeps one connection busy, opening a new one when it breaks.
func (r *loadRun) session(ctx context.Context, i int) {
	from := r.Senders[i%len(r.Senders)]
	body := newBody(r.Line, r.Size)
	for turn := i; ctx.Err() == nil; turn++ {
		c, err := r.connect(ctx, r.Addrs[turn%len(r.Addrs)], from)
		if err != nil {
			if r.Trouble != nil && ctx.Err() == nil {
				r.Trouble(err)
			}
			if r.Count > 0 && r.next.Load() >= r.Count {
				return
			}
			pause(ctx, r.Backoff)
			continue
		}
		hurry := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Now().Add(lastReplies)) })
		more := r.talk(ctx, c, from, body)
		hurry()
		c.quit()
		if !more {
			return
		}
	}
}

func (r *loadRun) connect(ctx context.Context, addr string, from Sender) (*client, error) {
	c, err := dialClient(ctx, addr, r.TLS, r.Implicit, r.EHLO, r.Timeout)
	if err != nil {
		return nil, err
	}
	if from.Password != "" {
		if rep, err := c.auth(from.Username, from.Password); err != nil || rep.Code != 235 {
			c.quit()
			return nil, fault("log in as "+from.Username, rep, err)
		}
	}
	return c, nil
}

// talk sends over one connection; false means that the load is at its end.
func (r *loadRun) talk(ctx context.Context, c *client, from Sender, body *body) bool {
	for n := 0; r.PerConn == 0 || n < r.PerConn; n++ {
		seq := r.next.Add(1)
		if r.Count > 0 && seq > r.Count || !r.wait(ctx, seq) {
			return false
		}
		s := &Submission{From: from.From, At: time.Now()}
		copy(s.UID[:8], r.Load.Run[:])
		binary.BigEndian.PutUint64(s.UID[8:], uint64(seq))
		for k := range r.Rcpts {
			d := r.Domains[(int(seq)+k)%len(r.Domains)]
			s.Rcpts = append(s.Rcpts, fmt.Sprintf("%s%d.%d@%s", r.Mailbox, seq, k, d))
		}
		text := body.make(s)
		out, err := c.send(s.From, s.Rcpts, text)
		r.judge(s, out, err)
		if err != nil {
			if r.Trouble != nil {
				r.Trouble(fmt.Errorf("send message: %w", err))
			}
			return true
		}
		if out.end.Code/100 != 2 {
			pause(ctx, r.Backoff)
		}
		if out.end.Code/100 == 4 && r.Elsewhere {
			return true
		}
	}
	return true
}

// wait holds message seq back to the load's rate.
func (r *loadRun) wait(ctx context.Context, seq int64) bool {
	if r.Rate <= 0 {
		return ctx.Err() == nil
	}
	at := r.start.Add(time.Duration(float64(seq-1) / r.Rate * float64(time.Second)))
	return pause(ctx, time.Until(at))
}

func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// judge turns replies into verdicts. Only a broken connection after DATA began
// leaves a fate unknown; a refusal of one recipient stands for that one alone.
func (r *loadRun) judge(s *Submission, out sent, err error) {
	s.Reply = out.end
	s.Verdict = make([]Verdict, len(s.Rcpts))
	whole := verdict(out.end.Code)
	if err != nil {
		whole = Unknown
	}
	for i := range s.Rcpts {
		s.Verdict[i] = whole
		if v := verdict(out.rcpts[i].Code); v == Refused || v == Postponed {
			s.Verdict[i] = v
		}
	}
	if whole == Accepted {
		s.Took = time.Since(out.dot)
		r.took.add(s.Took)
		s.QueueID = queuedAs(out.end.Text)
	}
	r.sum[0].Add(1)
	r.sum[whole].Add(1)
	if r.Sent != nil {
		r.Sent(s)
	}
}

func verdict(code int) Verdict {
	switch code / 100 {
	case 2:
		return Accepted
	case 4:
		return Postponed
	case 5:
		return Refused
	}
	return Unknown
}

func queuedAs(text string) string {
	_, rest, ok := strings.Cut(text, "queued as ")
	if !ok {
		return ""
	}
	id, _, _ := strings.Cut(rest, " ")
	return id
}

// Record enters what the client was told of s into a ledger.
func Record(l *Ledger, s *Submission) {
	for i, r := range s.Rcpts {
		l.Sent(KeyOf(s.UID, r), s.Body, s.Verdict[i])
	}
}
