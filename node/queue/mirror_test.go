package queue

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// TestSecondCopy: what one store acknowledged is in the other, as if that had
// been the one that restarted.
func TestSecondCopy(t *testing.T) {
	for _, size := range []int{10, 5000, inlineWithHead + 1, 300 << 10, 3 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			n := newNetwork()
			a := n.member(t, "a", vfs.NewMem(), nil)
			b := n.member(t, "b", vfs.NewMem(), nil)
			adopt(t, a, 1, 1)
			mirror(t, a, 1, 1, 1, "b")
			body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
			sp := Spend{Window: tenant.Window{Kind: 1, Start: 5}, Amount: tenant.Amount{Mails: 2, Bytes: 7}}
			first := put(t, a, 1, body, envelope("x@one.test", "y@two.test"), sp)
			second := put(t, a, 1, body, envelope("z@one.test"), sp)
			var started *Item
			for range 3 {
				it := takeOne(t, a)
				switch {
				case it.ID == second:
					if err := a.Start(it); err != nil {
						t.Fatal(err)
					}
					started = it
				case it.Lane.Domain == "one.test":
					deliver(t, a, it)
				default:
					settle(t, a, Settlement{Item: it, Next: time.Now().Add(time.Hour), Outcomes: outcomes(it, Deferred)})
				}
			}
			until(t, "the copy is whole", synced(a, 1))
			st, err := b.Fence(t.Context(), "", 1, 2)
			if err != nil || st.Epoch != 1 || st.Generation != 1 || st.Last < 6 {
				t.Fatalf("fence: %+v %v", st, err)
			}
			closeStore(t, a)
			spent := adopt(t, b, 1, 3)
			if len(spent) != 1 || spent[0].Amount != (tenant.Amount{Mails: 4, Bytes: 14}) || spent[0].Epoch != 1 {
				t.Fatalf("spent %+v", spent)
			}
			if c := b.Count()[1]; c != (Counts{Queued: 2, Messages: 2, InDoubt: 1}) {
				t.Fatalf("counts %+v", c)
			}
			for _, id := range []ID{first, second} {
				if !bytes.Equal(readBody(t, b, id), wantBody(body)) {
					t.Fatal("body differs")
				}
			}
			tr, err := b.Trace(first)
			if err != nil || len(tr.Outcomes) != 1 {
				t.Fatalf("trace %+v %v", tr, err)
			}
			b.mu.Lock()
			e := b.index.logs[1].entries[shareKey{1, started.ID.Seq, 0}]
			if e == nil || !e.inDoubt {
				t.Error("started and not in doubt")
			}
			b.mu.Unlock()
		})
	}
}

// TestPutNeedsItsCopy: without the holder's word a message is taken back.
func TestPutNeedsItsCopy(t *testing.T) {
	n := newNetwork()
	a := n.member(t, "a", vfs.NewMem(), nil)
	setWord(a, 300*time.Millisecond)
	adopt(t, a, 1, 1)
	sp := Spend{Window: tenant.Window{Kind: 1, Start: 5}, Amount: tenant.Amount{Mails: 2, Bytes: 7}}
	if _, err := tryPut(a, 1, []byte("x"), envelope("u@d.test"), sp); !errors.Is(err, ErrNoCopy) {
		t.Fatalf("Put without a mirror: %v", err)
	}
	mirror(t, a, 1, 1, 1, "b")
	if _, err := tryPut(a, 1, make([]byte, 3<<20), envelope("u@d.test"), sp); !errors.Is(err, ErrNoCopy) {
		t.Fatalf("Put with a mirror out of reach: %v", err)
	}
	if c := a.Count()[1]; c != (Counts{}) {
		t.Fatalf("counts %+v", c)
	}
	checkEmpty(t, a)
	checkChunks(t, a)
	if st := a.Mirrors()[1]; st.Broken == 0 || st.Synced {
		t.Fatalf("status %+v", st)
	}
	setWord(a, time.Minute)
	b := n.member(t, "b", vfs.NewMem(), nil)
	id := put(t, a, 1, []byte("y"), envelope("u@d.test"), sp)
	until(t, "the copy is whole", synced(a, 1))
	closeStore(t, a)
	spent := adopt(t, b, 1, 2)
	if len(spent) != 1 || spent[0].Amount != (tenant.Amount{Mails: 2, Bytes: 7}) {
		t.Fatalf("spent %+v", spent)
	}
	if c := b.Count()[1]; c != (Counts{Queued: 1, Messages: 1}) {
		t.Fatalf("counts %+v", c)
	}
	mirror(t, b, 1, 2, 2, "")
	deliver(t, b, takeOne(t, b))
	if _, err := b.Body(id); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	checkEmpty(t, b)
}
