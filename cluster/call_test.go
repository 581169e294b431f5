package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/tenant"
)

// TestCall carries bodies both ways, many at a time, and to oneself.
func TestCall(t *testing.T) {
	r := newTribe(t)
	a, b, _ := r.three()
	type body struct{ From, Text string }
	for _, s := range []*seat{a, b} {
		s.port.handle("echo", func(_ context.Context, _ string, req []byte) ([]byte, error) { return req, nil })
		s.port.handle("tell", answering(func(_ context.Context, from string, q body) (body, error) {
			return body{From: from, Text: q.Text + "!"}, nil
		}))
	}
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			want := bytes.Repeat([]byte{byte(i)}, i*1000)
			var got []byte
			if err := a.port.call(soon(t), "b", "echo", want, &got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("call %d: %d octets, %v", i, len(got), err)
			}
		})
	}
	group.Wait()
	for _, to := range []string{"a", "b"} {
		var got body
		if err := a.port.call(soon(t), to, "tell", body{Text: "hail"}, &got); err != nil || got != (body{"a", "hail!"}) {
			t.Errorf("%s said %+v, %v", to, got, err)
		}
	}
	largest := make([]byte, maxCall)
	var got []byte
	if err := a.port.call(soon(t), "b", "echo", largest, &got); err != nil || len(got) != maxCall {
		t.Errorf("the largest call: %d octets, %v", len(got), err)
	}
	if err := a.port.call(soon(t), "b", "echo", make([]byte, maxCall+1), nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large a call: %v", err)
	}
	if d := a.port.rtt("b"); d <= 0 {
		t.Errorf("round trip %s", d)
	}
	if !a.port.alive("b") || a.port.alive("nobody") {
		t.Error("alive is wrong")
	}
}

// TestCallErrors: what callers decide by survives the way.
func TestCallErrors(t *testing.T) {
	r := newTribe(t)
	a, text := r.found("a")
	b := r.join("b", text)
	sent := []error{
		ErrNoLeader, ErrUnknown, ErrClosed, ErrTooLarge, ErrNotOwner, context.DeadlineExceeded,
		fmt.Errorf("propose: %w: %w", ErrUnknown, ErrNoLeader),
	}
	var refused *tenant.Refused
	for _, e := range sent {
		b.port.handle("fail", func(context.Context, string, []byte) ([]byte, error) { return nil, fmt.Errorf("wrapped: %w", e) })
		err := a.port.call(soon(t), "b", "fail", nil, nil)
		if want := first(e); !errors.Is(err, want) || errors.Is(err, errUnanswered) || errors.As(err, &refused) {
			t.Errorf("sent %v, got %v", e, err)
		}
	}
	b.port.handle("fail", func(context.Context, string, []byte) ([]byte, error) {
		return nil, fmt.Errorf("propose: %w", &tenant.Refused{Reason: "twenty is enough"})
	})
	err := a.port.call(soon(t), "b", "fail", nil, nil)
	if !errors.As(err, &refused) || refused.Reason != "twenty is enough" {
		t.Errorf("a refusal became %v", err)
	}
	b.port.handle("fail", func(context.Context, string, []byte) ([]byte, error) {
		return nil, errors.New(strings.Repeat("long ", maxErrorText))
	})
	if err := a.port.call(soon(t), "b", "fail", nil, nil); err == nil || len(err.Error()) > 2*maxErrorText {
		t.Errorf("a long error: %.100v", err)
	}
	b.port.handle("fail", func(context.Context, string, []byte) ([]byte, error) { return make([]byte, maxCall+1), nil })
	if err := a.port.call(soon(t), "b", "fail", nil, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large an answer: %v", err)
	}
	if err := a.port.call(soon(t), "b", "unheard-of", nil, nil); !errors.Is(err, errNoVerb) {
		t.Errorf("an unknown verb: %v", err)
	}
	if err := a.port.call(soon(t), "nobody", "fail", nil, nil); !errors.Is(err, errUnreached) {
		t.Errorf("an unknown node: %v", err)
	}
}

// first is the sentinel that must survive of several.
func first(err error) error {
	if errors.Is(err, ErrUnknown) {
		return ErrUnknown
	}
	return err
}

// TestCallGivenUp: a caller that goes away gets its error at once, the deadline
// travels, and nobody gets another call's answer.
func TestCallGivenUp(t *testing.T) {
	r := newTribe(t)
	a, text := r.found("a")
	b := r.join("b", text)
	ended, release := make(chan error, 1), make(chan struct{})
	defer close(release)
	b.port.handle("wait", func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		<-release // or the answer might still come in time
		return []byte("late"), nil
	})
	b.port.handle("echo", func(_ context.Context, _ string, req []byte) ([]byte, error) { return req, nil })
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	err := a.port.call(ctx, "b", "wait", nil, nil)
	if !errors.Is(err, errUnanswered) && !errors.Is(err, errUnreached) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call given up: %v", err)
	}
	if errors.Is(err, errUnanswered) {
		select {
		case err := <-ended:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the answering side ended with %v", err)
			}
		case <-time.After(patience):
			t.Error("the deadline did not travel")
		}
	}
	for i := range 20 {
		var got []byte
		want := []byte(numbered("call ", i))
		if err := a.port.call(soon(t), "b", "echo", want, &got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

// TestCallAfterRestart: idle connections of a node that ended are noticed.
func TestCallAfterRestart(t *testing.T) {
	r := newTribe(t)
	a, text := r.found("a")
	b := r.join("b", text)
	echo := func(_ context.Context, _ string, req []byte) ([]byte, error) { return req, nil }
	b.port.handle("echo", echo)
	if err := a.port.call(soon(t), "b", "echo", nil, nil); err != nil {
		t.Fatal(err)
	}
	b.stop()
	back := r.run(r.open("b", b.dir, bind(t), nil))
	back.port.handle("echo", echo)
	r.moved(back)
	eventually(t, patience, "calls reach the node again", func() bool {
		return a.port.call(soon(t), "b", "echo", nil, nil) == nil
	})
}
