package delivery

import (
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// fifo is a queue in memory; its room shrinks to nothing when it is empty.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) len() int { return len(f.items) - f.head }

func (f *fifo[T]) push(v T) { f.items = append(f.items, v) }

// unshift puts v first.
func (f *fifo[T]) unshift(v T) {
	if f.head > 0 {
		f.head--
		f.items[f.head] = v
		return
	}
	f.items = append(f.items, v)
	copy(f.items[1:], f.items)
	f.items[0] = v
}

func (f *fifo[T]) front() T { return f.items[f.head] }

func (f *fifo[T]) pop() T {
	var zero T
	v := f.items[f.head]
	f.items[f.head] = zero
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
		if cap(f.items) > 1024 {
			f.items = nil
		}
	} else if f.head > 32 && f.head*2 > len(f.items) {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	return v
}

// part is a lane's share of one ready queue: the items that leave by that
// queue's source. A lane has one part, and a second one only while retries of
// another day keep another source of the pool.
type part struct {
	lane   *lane
	ready  *ready
	items  fifo[*queue.Item]
	queued bool // it stands in its account's line
	dead   bool // its lane went elsewhere; lines drop it when they meet it
}

// primary reports whether the lane's new mail leaves by this part, so that
// more of the lane may be loaded through it.
func (p *part) primary() bool { return p.lane.primary == p }

// loadable reports whether the lane has more due mail and room for it.
func (p *part) loadable() bool {
	l := p.lane
	return p.primary() && l.more && !l.loading && l.held <= lowWater
}

// line is one account's turn within a class.
type line struct {
	parts fifo[*part]
}

// classQueue is one class of a tenant's ready queue: its accounts in turn.
type classQueue struct {
	lines map[tenant.AccountID]*line
	turn  fifo[tenant.AccountID]
}

// push puts a part at the end of its account's line.
func (c *classQueue) push(p *part) {
	a := p.lane.key.Account
	l := c.lines[a]
	if l == nil {
		if c.lines == nil {
			c.lines = map[tenant.AccountID]*line{}
		}
		l = &line{}
		c.lines[a] = l
		c.turn.push(a)
	}
	l.parts.push(p)
}

// pop takes the first part of the account whose turn it is, and passes the turn on.
func (c *classQueue) pop() *part {
	if c.turn.len() == 0 {
		return nil
	}
	a := c.turn.pop()
	l := c.lines[a]
	p := l.parts.pop()
	if l.parts.len() == 0 {
		delete(c.lines, a)
	} else {
		c.turn.push(a)
	}
	return p
}

// doubtful is an item that may have been delivered before a crash. It goes
// last, but not never.
type doubtful struct {
	item  *queue.Item
	part  *part
	since time.Time
}

// doubtWait is how long an item in doubt lets others pass.
const doubtWait = time.Minute

// ready is the ready queue of one tenant, source and site.
type ready struct {
	tenant  tenant.ID
	target  *target
	classes [2]classQueue // transactional, bulk
	doubt   fifo[doubtful]
	credit  int  // surplus round robin: octets this tenant may send before the next one's turn
	queued  bool // it stands in its target's ring
	// It waits for a connection of the provider's budget, or of the node.
	inBudget, inNode bool
	parts            int // parts that stand in a line
}

// quantum is how much a tenant gains with each turn at a site it shares, and
// perMail what a message costs besides its octets.
const (
	quantum = 64 << 10
	perMail = 16 << 10
)

// classOf keeps an unknown class from reaching outside the array.
func classOf(l queue.Lane) int {
	if l.Class == tenant.Transactional {
		return 0
	}
	return 1
}

// enqueue puts a part with something to do into its line and its ready queue
// into its target's ring.
func (p *part) enqueue() {
	r := p.ready
	if p.queued || p.dead || p.items.len() == 0 && !p.loadable() {
		return
	}
	p.queued = true
	r.classes[classOf(p.lane.key)].push(p)
	r.parts++
	r.target.parts++
	r.stand()
}

// stand makes sure the ready queue has its turn at the target.
func (r *ready) stand() {
	if !r.queued {
		r.queued = true
		r.target.ring.push(r)
	}
}

// empty reports whether nothing waits here.
func (r *ready) empty() bool { return r.parts == 0 && r.doubt.len() == 0 }

// take gives the tenant's next item, or a part whose lane must be loaded first
// (item nil): transactional before bulk, accounts in turn, lanes in turn,
// items in doubt last.
func (r *ready) take(now time.Time) (*queue.Item, *part) {
	if r.doubt.len() > 0 && (r.parts == 0 || now.Sub(r.doubt.front().since) > doubtWait) {
		d := r.doubt.pop()
		d.part.lane.held--
		r.target.items--
		d.part.enqueue()
		return d.item, d.part
	}
	for i := range r.classes {
		for p := r.classes[i].pop(); p != nil; p = r.classes[i].pop() {
			if p.dead {
				continue
			}
			p.queued = false
			r.parts--
			r.target.parts--
			if p.items.len() > 0 {
				it := p.items.pop()
				p.lane.held--
				r.target.items--
				p.enqueue()
				return it, p
			}
			if p.loadable() {
				return nil, p
			}
		}
	}
	return nil, nil
}

// next gives the target's next item, tenants in turn by octets. A nil item with
// a part asks the caller to load the part's lane.
func (t *target) next(now time.Time) (*queue.Item, *part) {
	for t.ring.len() > 0 {
		r := t.ring.front()
		if r.empty() {
			t.ring.pop()
			r.queued, r.credit = false, 0
			continue
		}
		if t.ring.len() == 1 {
			r.credit = max(r.credit, 0) // nobody else to be fair to
		} else if r.credit <= 0 {
			t.ring.push(t.ring.pop())
			r.credit += quantum
			continue
		}
		it, p := r.take(now)
		if p == nil {
			continue
		}
		if it != nil {
			r.credit = max(r.credit-perMail-int(min(it.Envelope.Size, 1<<30)), -1<<31+1)
		}
		return it, p
	}
	return nil, nil
}

// waiting is how many items are known to wait; a lane not loaded counts as one.
func (t *target) waiting() int { return max(t.items, t.parts) }
