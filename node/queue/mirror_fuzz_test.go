package queue

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// FuzzFrame: a frame is read as it was written, and nothing else is read.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{}, byte(frameRecord))
	f.Add(bytes.Repeat([]byte{7}, 300), byte(frameAck))
	s := &Store{}
	f.Fuzz(func(t *testing.T, b []byte, typ byte) {
		// As arbitrary octets.
		if got, p, err := readFrame(bufio.NewReader(bytes.NewReader(b)), maxFrame); err == nil {
			if again := appendFrame(nil, got, p); !bytes.Equal(again, b[:len(again)]) {
				t.Fatal("read what nobody wrote")
			}
		}
		// As a payload, by both readers.
		frame := appendFrame(nil, typ, b[:len(b)/2], b[len(b)/2:])
		got, p, err := readFrame(bufio.NewReader(bytes.NewReader(frame)), maxFrame)
		if err != nil || got != typ || !bytes.Equal(p, b) {
			t.Fatalf("frame %x %v", got, err)
		}
		got, buf, err := s.readFrame(bufio.NewReader(bytes.NewReader(frame)))
		if err != nil || got != typ || !bytes.Equal(buf.bytes(), b) {
			t.Fatalf("frame %x %v", got, err)
		}
		buf.release()
		if r, err := readRecord(b); err == nil {
			if again := append(appendRecordHead(nil, &r), r.payload...); !bytes.Equal(again, b) {
				t.Fatal("record differs")
			}
		}
	})
}

// FuzzOperations: what passes the check touches the tenant's own keys only.
func FuzzOperations(f *testing.F) {
	mem := vfs.NewMem()
	s := testStore(f, mem, nil)
	for _, seed := range [][]byte{nil, {1, 2, 3}} {
		f.Add(seed, byte(recSettle))
	}
	b := s.db.NewBatch()
	id := ID{1, 1, 1}
	setFramed(b, messageKey(nil, tabMessage, id), []byte("x"), nil)
	_ = b.SingleDelete(messageKey(nil, tabBody, id), nil)
	_ = b.Merge(tenantPrefix(nil, tabCount, 1), sum{1, 2}.append(nil), nil)
	_ = b.DeleteRange(tenantPrefix(nil, tabSpend, 1), be64(tenantPrefix(nil, tabSpend, 1), 4), nil)
	f.Add(bytes.Clone(b.Repr()[batchHead:]), byte(recOps))
	_ = b.Close()
	f.Fuzz(func(t *testing.T, payload []byte, kind byte) {
		r := &record{tenant: 1, epoch: 1, generation: 1, seq: 1, kind: recKind(kind), payload: payload}
		ops, err := checkOps(r)
		if err != nil {
			return
		}
		b := s.db.NewBatch()
		defer b.Close()
		for i := range ops {
			o := &ops[i]
			if err := o.add(b); err != nil {
				t.Fatal(err)
			}
			if o.key[0] == tabChunk {
				continue
			}
			own := tenantPrefix(nil, o.key[0], 1)
			if !bytes.HasPrefix(o.key, own) || o.kind == opDeleteRange && !bytes.HasPrefix(o.value, own) {
				t.Fatalf("operation %d on %x leaves the tenant", o.kind, o.key)
			}
		}
		if err := (&pebble.Batch{}).SetRepr(bytes.Clone(b.Repr())); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzHolder: whatever a peer sends, the store goes on and other tenants' logs
// stay as they are.
func FuzzHolder(f *testing.F) {
	s := testStore(f, vfs.NewMem(), func(c *Config) { c.Peers = newNetwork().peers("b") })
	adopt(f, s, 9, 1)
	if err := s.Mirror(9, 1, 1, "", nil); err != nil {
		f.Fatal(err)
	}
	id := put(f, s, 9, []byte("kept"), envelope("u@d.test"))
	open := appendFrame([]byte(greeting+string(connStream)), frameOpen, be64(be64(be64(be64(nil, 1), 1), 1), 1))
	rec := appendRecordHead(nil, &record{tenant: 1, epoch: 1, generation: 1, seq: 1, kind: recOps})
	f.Add(appendFrame(bytes.Clone(open), frameRecord, rec))
	rec9 := appendRecordHead(nil, &record{tenant: 9, epoch: 7, generation: 7, seq: 1, kind: recOps})
	f.Add(appendFrame(bytes.Clone(open), frameRecord, rec9))
	f.Add([]byte(greeting + string(connChunk)))
	f.Add(appendFrame([]byte(greeting+string(connCall)), frameMore, []byte{verbInventory}))
	f.Add(appendFrame([]byte(greeting+string(connStream)), framePing))
	f.Fuzz(func(t *testing.T, b []byte) {
		near, far := net.Pipe()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		stop := context.AfterFunc(ctx, func() { _ = far.Close() })
		defer stop()
		go func() { _, _ = io.Copy(io.Discard, near) }()
		go func() { _, _ = near.Write(b); _ = near.Close() }()
		_ = s.serve(ctx, &namedConn{far, "a"})
		_ = far.Close()
		if err := s.broken(); err != nil {
			t.Fatal(err)
		}
		if got := readBody(t, s, id); !bytes.Equal(got, wantBody([]byte("kept"))) || s.Count()[tenant.ID(9)].Messages != 1 {
			t.Fatal("another tenant's message changed")
		}
	})
}
