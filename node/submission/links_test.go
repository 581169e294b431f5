package submission

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLinks: a connection that nobody needs is closed after its time, one that
// broke is not given out, and there are never too many.
func TestLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var far []net.Conn
		l := newLinks(func(ctx context.Context, node string) (net.Conn, error) {
			if node == "gone" {
				return nil, errors.New("no route")
			}
			if _, ok := ctx.Deadline(); !ok {
				t.Error("dialled without a deadline")
			}
			here, there := net.Pipe()
			far = append(far, there)
			return here, nil
		})
		get := func() *link {
			t.Helper()
			k, err := l.get(t.Context(), "node-1")
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		a := get()
		l.put(a)
		time.Sleep(linkIdle - time.Second)
		if b := get(); b != a {
			t.Error("not used again")
		}
		time.Sleep(time.Hour) // in use
		l.put(a)
		time.Sleep(linkIdle + time.Second)
		synctest.Wait()
		if _, err := far[0].Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("idle for long and open: %v", err)
		}
		b := get()
		if b == a {
			t.Error("a closed one was given out")
		}
		l.put(b)
		far[1].Close()
		synctest.Wait()
		if c := get(); c == b {
			t.Error("a broken one was given out")
		} else {
			c.close()
		}
		// An answer that no one asked for ends nothing, one that is none does.
		d := get()
		d.tag = 5
		go func() {
			_, _ = far[len(far)-1].Write(appendFrame(nil, kindAnswer, appendAnswer(nil, answer{tag: 4, outcome: saysYes})))
			_, _ = far[len(far)-1].Write(appendFrame(nil, kindEnd, nil))
		}()
		<-d.dead
		if got, ok := d.ready(); ok {
			t.Errorf("answer %+v", got)
		}
		synctest.Wait()
		var all []*link
		for range maxLinks {
			all = append(all, get())
		}
		if _, err := l.get(t.Context(), "node-1"); !errors.Is(err, errLinksFull) {
			t.Errorf("one too many: %v", err)
		}
		if _, err := l.get(t.Context(), "gone"); err == nil {
			t.Error("no error")
		}
		for _, k := range all {
			l.put(k)
		}
		synctest.Wait()
		if n := len(l.idle["node-1"]); n != maxIdle || l.open["node-1"] != maxIdle || l.open["gone"] != 0 {
			t.Errorf("%d idle, %v open", n, l.open)
		}
		l.close()
		if _, err := l.get(t.Context(), "node-1"); !errors.Is(err, errLinksClosed) {
			t.Errorf("behind the end: %v", err)
		}
		if len(l.all) != 0 || len(l.open) != 0 || len(l.idle) != 0 {
			t.Errorf("left: %v %v %v", l.all, l.open, l.idle)
		}
	})
}

// A dead owner is asked for by every message many times a second. The log says
// so once, and once that it answers again.
func TestDeadOwnerIsSaidOnce(t *testing.T) {
	t.Parallel()
	h, rigs := newCluster(t, 2)
	h.set(func(h *hub) { h.down["node-1"] = true })
	before := h.count()
	c := rigs[1].byNet()
	c.send("MAIL FROM:<mail@shop.test>\r\n")
	eventually(t, "some dials", func() bool { return h.count() >= before+5 })
	h.set(func(h *hub) { h.down["node-1"] = false })
	c.expect("250", "MAIL")
	said := rigs[1].logs.String()
	if n := strings.Count(said, `msg="connection to a node failed" node=node-1`); n != 1 {
		t.Errorf("said %d times:\n%s", n, said)
	}
	if n := strings.Count(said, `msg="connection to a node failed: well again" node=node-1`); n != 1 {
		t.Errorf("the good end is said %d times:\n%s", n, said)
	}
}
