package delivery

import (
	"time"

	"postern/tenant"
)

// budgetKey names what one source may do at one provider.
type budgetKey struct {
	source tenant.SourceID
	group  string
}

// budget counts one source's connections and messages at one provider, over
// all tenants.
type budget struct {
	key      budgetKey
	name     string // of the provider, for metrics
	limits   Limits
	open     int
	cap      int // what the provider lets us have now; grows back to the limit
	conns    bucket
	messages bucket
	waiting  turns[*ready]
	idle     map[*courier]struct{}
	evicting int
	targets  int       // that point here
	until    time.Time // the provider asked us to stay away
}

func newBudget(key budgetKey, name string, l Limits) *budget {
	b := &budget{key: key, name: name, limits: l, cap: l.Conns, idle: map[*courier]struct{}{}}
	if l.ConnsPerMinute > 0 {
		// What may burst and what trickles in add up to the limit in any minute.
		burst := max(min(l.Conns, l.ConnsPerMinute/2), 1)
		b.conns = newBucket(float64(burst), float64(l.ConnsPerMinute-burst)/60)
	}
	if l.MessagesPerSecond > 0 {
		burst := max(float64(l.MessagesPerSecond)/10, 1)
		b.messages = newBucket(burst, max(float64(l.MessagesPerSecond)-burst, 0.5))
	}
	return b
}

// full reports whether no further connection may be open at once.
func (b *budget) full() bool { return b.limits.Conns > 0 && b.open >= max(b.cap, 1) }

// worked lets the allowance grow by one after a message went well.
func (b *budget) worked() {
	if b.cap < b.limits.Conns {
		b.cap++
	}
}

// bucket is a token bucket; the zero one lets everything pass.
type bucket struct {
	size, rate, tokens float64 // tokens, tokens a second
	at                 time.Time
}

func newBucket(size, rate float64) bucket { return bucket{size: size, rate: rate, tokens: size} }

// take takes one token, or says how long until there is one.
func (b *bucket) take(now time.Time) time.Duration {
	d := b.wait(now)
	if d == 0 && b.size > 0 {
		b.tokens--
	}
	return d
}

// wait says how long until there is a token.
func (b *bucket) wait(now time.Time) time.Duration {
	if b.size == 0 {
		return 0
	}
	if !b.at.IsZero() {
		b.tokens = min(b.size, b.tokens+b.rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.tokens >= 1 {
		return 0
	}
	return max(time.Duration((1-b.tokens)/b.rate*float64(time.Second)), time.Millisecond)
}

// put gives a token back that was not used.
func (b *bucket) put() { b.tokens = min(b.size, b.tokens+1) }

// turns are things that wait for something scarce, tenants in turn.
type turns[T any] struct {
	ring   fifo[tenant.ID]
	queues map[tenant.ID]*fifo[T]
	n      int
}

func (w *turns[T]) len() int { return w.n }

func (w *turns[T]) push(t tenant.ID, v T) {
	if w.queues == nil {
		w.queues = map[tenant.ID]*fifo[T]{}
	}
	q := w.queues[t]
	if q == nil {
		q = &fifo[T]{}
		w.queues[t] = q
		w.ring.push(t)
	}
	q.push(v)
	w.n++
}

// pop gives the next one of the first tenant in turn that may have one; at most
// one round.
func (w *turns[T]) pop(may func(tenant.ID) bool) (v T, ok bool) {
	for range w.ring.len() {
		t := w.ring.pop()
		if !may(t) {
			w.ring.push(t)
			continue
		}
		w.n--
		q := w.queues[t]
		v = q.pop()
		if q.len() == 0 {
			delete(w.queues, t)
		} else {
			w.ring.push(t)
		}
		return v, true
	}
	return v, false
}

// anyone lets every tenant have its turn.
func anyone(tenant.ID) bool { return true }
