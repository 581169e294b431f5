package tenant

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func requestID(n int) (id RequestID) {
	binary.BigEndian.PutUint64(id[:], uint64(n)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

func TestRequestsAreBounded(t *testing.T) {
	s := New()
	const n = maxRequests + 300
	for i := range n {
		s, _, _ = Apply(s, uint64(i+1), Command{Request: requestID(i), Op: AddNode{Name: "one"}})
	}
	if err := sound(s); err != nil {
		t.Fatal(err)
	}
	if s.requests.n != maxRequests {
		t.Fatalf("%d requests are remembered", s.requests.n)
	}
	for i := range n {
		if found := s.requests.find(requestID(i)) != nil; found != (i >= 300) {
			t.Fatalf("request %d is remembered: %t", i, found)
		}
	}
	// The first is forgotten: it is judged again.
	_, _, err := Apply(s, n+1, Command{Request: requestID(0), Op: AddNode{Name: "two"}})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRequestsAreBoundedInBytes(t *testing.T) {
	s := New()
	reason := strings.Repeat("x", 1<<18)
	for i := range 40 {
		d := s.draft()
		d.header.index++
		d.remember(requestID(i), nil, &Refused{Reason: reason})
		s = d.publish()
	}
	if err := sound(s); err != nil {
		t.Fatal(err)
	}
	if s.requests.bytes > maxRequestBytes || s.requests.n < 10 {
		t.Fatalf("%d requests with %d octets are remembered", s.requests.n, s.requests.bytes)
	}
}

// Two versions made from one must not write into each other's pages or buckets.
func TestRequestsOfSiblings(t *testing.T) {
	for size := range 3 * pageLen {
		base := &requests{}
		for i := range size {
			base.add(&request{id: requestID(i), index: uint64(i + 1)}, nil)
		}
		var x, y RequestID
		x[15], y[14] = 31, 1 // one bucket
		if bucketOf(x) != bucketOf(y) {
			t.Fatal("the ids are of two buckets")
		}
		a, b := *base, *base
		a.add(&request{id: x, index: 1000}, nil)
		b.add(&request{id: y, index: 1000}, nil)
		if a.find(x) == nil || a.find(y) != nil || b.find(y) == nil || b.find(x) != nil || base.find(x) != nil {
			t.Fatalf("size %d: siblings share a bucket", size)
		}
		last := func(q *requests) (r *request) {
			for r = range q.all() {
			}
			return r
		}
		if last(&a).id != x || last(&b).id != y {
			t.Fatalf("size %d: siblings share a page", size)
		}
	}
}

func TestApplyRefusesOldEntries(t *testing.T) {
	s, _, err := Apply(New(), 5, Command{Op: AddNode{Name: "one"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, index := range []uint64{0, 4, 5} {
		next, events, err := Apply(s, index, Command{Op: AddNode{Name: "two"}})
		var refused *Refused
		if !errors.As(err, &refused) || next != s || events != nil {
			t.Errorf("entry %d: %v, %v", index, events, err)
		}
	}
	if _, _, err := Apply(s, 6, Command{}); fmt.Sprint(err) != "operation is not known" {
		t.Error(err)
	}
}
