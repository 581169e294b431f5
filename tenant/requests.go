package tenant

import (
	"iter"
	"slices"
)

// What the state remembers of requests: enough for every retry within minutes,
// and no more than a few megabytes. Both numbers are part of what nodes must
// agree on.
const (
	maxRequests     = 10000
	maxRequestBytes = 4 << 20
	pageLen         = 64
	buckets         = 256
)

// request is one applied request with its outcome.
type request struct {
	id      RequestID
	index   uint64 // of the log entry that applied it; ascending and unique
	outcome string // encoded, see encodeOutcome
}

func (*request) kind() recordKind { return kindRequest }

func (r *request) code(c *coder) {
	c.raw(r.id[:])
	c.uint(&r.index)
	c.str(&r.outcome, maxOutcome)
}

// requests is a persistent queue of the last requests with an index by id.
// Adding one copies a page and a bucket, whatever the number remembered.
type requests struct {
	pages  [][]*request // oldest first; all but the last are full
	skip   int          // gone from the first page
	n      int
	bytes  int // length of all outcomes
	bucket *[buckets][]*request
}

func (q *requests) all() iter.Seq[*request] {
	return func(yield func(*request) bool) {
		skip := q.skip
		for _, p := range q.pages {
			for _, r := range p[skip:] {
				if !yield(r) {
					return
				}
			}
			skip = 0
		}
	}
}

func bucketOf(id RequestID) int {
	var b byte
	for _, x := range id {
		b = b*31 + x
	}
	return int(b)
}

// find returns the remembered request or nil.
func (q *requests) find(id RequestID) *request {
	if q.bucket == nil {
		return nil
	}
	for _, r := range q.bucket[bucketOf(id)] {
		if r.id == id {
			return r
		}
	}
	return nil
}

// load adds r in place; for a receiver no other version shares.
func (q *requests) load(r *request) {
	if q.bucket == nil {
		q.bucket = new([buckets][]*request)
	}
	k := bucketOf(r.id)
	q.bucket[k] = append(q.bucket[k], r)
	last := len(q.pages) - 1
	if last < 0 || len(q.pages[last]) == pageLen {
		q.pages = append(q.pages, make([]*request, 0, pageLen))
		last++
	}
	q.pages[last] = append(q.pages[last], r)
	q.n++
	q.bytes += len(r.outcome)
}

// add remembers r and forgets the oldest beyond the bounds; forgot is called
// for each of those. The receiver must be a draft's own copy.
func (q *requests) add(r *request, forgot func(*request)) {
	b := new([buckets][]*request)
	if q.bucket != nil {
		*b = *q.bucket
	}
	q.bucket = b
	q.bytes += len(r.outcome)
	q.n++
	k := bucketOf(r.id)
	b[k] = append(slices.Clip(b[k]), r)
	if last := len(q.pages) - 1; last >= 0 && len(q.pages[last]) < pageLen {
		q.pages = slices.Clone(q.pages)
		q.pages[last] = append(slices.Clip(q.pages[last]), r)
	} else {
		q.pages = append(slices.Clip(q.pages), []*request{r})
	}
	for q.n > maxRequests || q.bytes > maxRequestBytes {
		old := q.pages[0][q.skip]
		k := bucketOf(old.id)
		b[k] = slices.DeleteFunc(slices.Clone(b[k]), func(x *request) bool { return x == old })
		q.n--
		q.bytes -= len(old.outcome)
		if q.skip++; q.skip == len(q.pages[0]) {
			q.pages, q.skip = q.pages[1:], 0
		}
		forgot(old)
	}
}
