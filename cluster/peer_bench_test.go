package cluster

import (
	"context"
	"testing"
)

// BenchmarkDial is a connection with both proofs and the greeting;
// BenchmarkCall a small call on an idle one.
func BenchmarkDial(b *testing.B) {
	near, far := benchPair(b)
	l := far.port.listen(ProtoAdmin)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	for b.Loop() {
		c, err := near.port.dial(context.Background(), "b", ProtoAdmin)
		if err != nil {
			b.Fatal(err)
		}
		_ = c.Close()
	}
}

func BenchmarkCall(b *testing.B) {
	near, far := benchPair(b)
	far.port.handle("echo", func(_ context.Context, _ string, req []byte) ([]byte, error) { return req, nil })
	for b.Loop() {
		if err := near.port.call(context.Background(), "b", "echo", []byte("{}"), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func benchPair(b *testing.B) (near, far *seat) {
	r := newTribe(b)
	near, text := r.found("a")
	return near, r.join("b", text)
}
