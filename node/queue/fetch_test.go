package queue

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// TestFetchMakesEqual: an adopter without a whole copy takes over the one of
// another holder, in both directions of what differs.
func TestFetchMakesEqual(t *testing.T) {
	n := newNetwork()
	a := n.member(t, "a", vfs.NewMem(), nil)
	b := n.member(t, "b", vfs.NewMem(), nil)
	c := n.member(t, "c", vfs.NewMem(), nil)
	adopt(t, a, 1, 1)
	w := newTraffic(a, 3)
	mirror(t, a, 1, 1, 1, "c") // an old copy, which c keeps
	for range 40 {
		w.put(t.Context())
	}
	until(t, "the old copy is whole", synced(a, 1))
	mirror(t, a, 1, 1, 2, "b")
	for range 40 {
		w.put(t.Context())
		w.work(t)
	}
	until(t, "the copy is whole", synced(a, 1))
	closeStore(t, a)
	for _, s := range []*Store{b, c} {
		if _, err := s.Fence(t.Context(), "", 1, 2); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Fetch(t.Context(), "b", 1, false); err != nil {
		t.Fatalf("Fetch: %v", err)
	}
	sameCopies(t, b, c, 1)
	checkFiles(t, c)
	if err := c.Fetch(t.Context(), "b", 1, false); err != nil { // nothing is left to do
		t.Fatalf("Fetch again: %v", err)
	}
	sameCopies(t, b, c, 1)
	adopt(t, c, 1, 3)
	for id, body := range w.bodies {
		if got, err := c.Body(id); err == nil {
			_ = got.Close()
			if !bytes.Equal(readBody(t, c, id), body) {
				t.Errorf("body of %s differs", id)
			}
		}
	}
	if err := c.Fetch(t.Context(), "b", 1, false); !errors.Is(err, ErrBusy) {
		t.Fatalf("Fetch of an adopted tenant: %v", err)
	}
}

// TestFetchMerges: the owner died in the middle of a walk. What it had is in
// parts at two holders; whoever adopts has all of it and nothing twice.
func TestFetchMerges(t *testing.T) {
	for _, adopter := range []string{"b", "c"} {
		t.Run(adopter, func(t *testing.T) { fetchMerges(t, adopter) })
	}
}

func fetchMerges(t *testing.T, adopter string) {
	n := newNetwork()
	a := n.member(t, "a", vfs.NewMem(), nil)
	s := map[string]*Store{"b": n.member(t, "b", vfs.NewMem(), nil), "c": n.member(t, "c", vfs.NewMem(), nil)}
	adopt(t, a, 1, 1)
	mirror(t, a, 1, 1, 1, "b")
	sp := Spend{Window: tenant.Window{Kind: 1, Start: 5}, Amount: tenant.Amount{Mails: 1, Bytes: 7}}
	live, ended, deferred := map[ID]bool{}, map[ID]bool{}, map[ID]bool{}
	for i := range 30 {
		live[put(t, a, 1, fmt.Appendf(nil, "old %d", i), envelope("u@one.test", "v@one.test"), sp)] = true
	}
	until(t, "the first copy is whole", synced(a, 1))
	n.wrapping(noCalls)
	mirror(t, a, 1, 1, 2, "c")
	for i := range 20 {
		live[put(t, a, 1, fmt.Appendf(nil, "new %d", i), envelope("u@one.test"), sp)] = true
	}
	next := time.Now().Add(time.Hour)
	for i := range 30 {
		it := takeOne(t, a)
		x := Settlement{Item: it, Attempt: Attempt{N: 1, At: time.Unix(5, 0)}, Outcomes: outcomes(it, Delivered), Next: next}
		if i%3 == 0 {
			x.Outcomes[0].Result = Deferred
			deferred[it.ID] = true
		} else {
			delete(live, it.ID)
			ended[it.ID] = true
		}
		settle(t, a, x)
	}
	until(t, "all is at the new holder", func() bool { return a.Mirrors()[1].Behind == 0 })
	if a.Mirrors()[1].Synced {
		t.Fatal("the walk went on")
	}
	closeStore(t, a)
	n.wrapping(nil)
	me, other := s[adopter], map[string]string{"b": "c", "c": "b"}[adopter]
	for _, s := range s {
		if _, err := s.Fence(t.Context(), "", 1, 2); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := me.Fetch(t.Context(), other, 1, true); err != nil {
			t.Fatalf("Fetch: %v", err)
		}
	}
	spent := adopt(t, me, 1, 3)
	checkCounted(t, me, 1)
	if len(spent) != 1 || spent[0].Amount != (tenant.Amount{Mails: 50, Bytes: 350}) {
		t.Errorf("spent %+v", spent)
	}
	list, err := me.List(Filter{Tenant: 1, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if ended[m.ID] {
			t.Errorf("%s ended and is back", m.ID)
		}
		if deferred[m.ID] && (m.Items[0].Attempts != 1 || len(m.Items[0].Rcpts) != 1) {
			t.Errorf("%s was deferred: %+v", m.ID, m.Items)
		}
		delete(live, m.ID)
	}
	if len(live) > 0 {
		t.Errorf("lost: %v", live)
	}
}

// noCalls lets only streams and chunks through, so that no walk gets anywhere.
func noCalls(_, _ string, c net.Conn) net.Conn { return &callless{c} }

type callless struct{ net.Conn }

func (c *callless) Write(b []byte) (int, error) {
	if string(b) == greeting+string(connCall) {
		return 0, errors.New("no calls")
	}
	return c.Conn.Write(b)
}
