package node

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"postern/node/admin"
	"postern/node/lab"
	"postern/node/report"
)

// letterbox is where the operator reads: mails by Message-ID, and calls of the
// webhook whose signature holds, by Idempotency-Key.
type letterbox struct {
	mu    sync.Mutex // guards what follows
	mails map[string]string
	calls map[string]int
	bad   int
	down  bool
}

func (b *letterbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		http.Error(w, "later", http.StatusServiceUnavailable)
		return
	}
	if r.Header.Get("Postern-Signature") != "v1="+report.Sign([]byte("between-us"), r.Header.Get("Postern-Timestamp"), body) {
		b.bad++
	}
	b.calls[r.Header.Get("Idempotency-Key")]++
}

func (b *letterbox) counts() (mails, calls, bad int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.mails), len(b.calls), b.bad
}

func (b *letterbox) set(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

// Notices leave by mail and webhook from the node that leads. When both places
// are out of order and the leader goes away meanwhile, the next one goes on; none
// is lost, and whatever comes twice has the same names.
func TestNoticesOutliveTheLeader(t *testing.T) {
	t.Parallel()
	box := &letterbox{mails: map[string]string{}, calls: map[string]int{}}
	hook := httptest.NewServer(box)
	defer hook.Close()
	c := newSeveral(t, 3)
	c.replies = func(m *lab.Mail) {
		if x, err := mail.ReadMessage(strings.NewReader(m.Text)); err == nil && m.Rcpts[0] == "ops@inbox.test" {
			box.mu.Lock()
			defer box.mu.Unlock()
			box.mails[x.Header.Get("Message-ID")] = x.Header.Get("Subject")
		}
	}
	await(t, "the leader to open the journal", func() bool { return c.nodes[2].cluster.State().Journals() })
	if _, err := c.operator(1).SetNotices(context.Background(), admin.SetNotices{Operators: []string{"ops@inbox.test"}, From: "postern@relay.test",
		Smarthost: c.exchanger("mx.inbox.test"), Plain: true, Webhook: hook.URL, Secret: "between-us"}); err != nil {
		t.Fatal(err)
	}
	if b := c.nodes[1].cluster.State().Encode(); bytes.Contains(b, []byte("between-us")) || !bytes.Contains(b, []byte("postern@relay.test")) {
		t.Error("the secret is in the state")
	}
	test := func(i int) {
		t.Helper()
		if _, err := c.operator(i).TestNotices(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	test(2)
	empty := func(i int) bool {
		for range c.nodes[i].cluster.State().Outbox() {
			return false
		}
		return true
	}
	await(t, "the first notices", func() bool { m, n, _ := box.counts(); return m == 1 && n == 1 && empty(0) })

	box.set(true)
	if err := c.world.SetMood("mx.inbox.test", lab.Mood{Kind: lab.TempFail}); err != nil {
		t.Fatal(err)
	}
	test(1)
	leader := c.leader()
	await(t, "both ways to fail once", func() bool {
		failed := 0
		for n := range c.nodes[leader].cluster.State().Outbox() {
			if n.Tries > 0 && n.Error != "" {
				failed++
			}
		}
		return failed == 2
	})
	c.stop(leader)
	box.set(false)
	if err := c.world.SetMood("mx.inbox.test", lab.Mood{Kind: lab.Fine}); err != nil {
		t.Fatal(err)
	}
	left := (leader + 1) % 3
	// The third is that the old leader is gone.
	await(t, "the next leader to send them", func() bool { m, n, _ := box.counts(); return m == 3 && n == 3 && empty(left) })
	if _, _, bad := box.counts(); bad > 0 {
		t.Errorf("%d calls are not signed", bad)
	}
	down := 0
	for id, subject := range box.subjects() {
		if strings.Contains(subject, "down node") {
			down++
		}
		if !strings.HasSuffix(id, "@relay.test>") {
			t.Errorf("a notice is %s", id)
		}
	}
	if down != 1 {
		t.Errorf("%d notices tell of the loss: %v", down, box.subjects())
	}
}

func (b *letterbox) subjects() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]string{}
	for id, s := range b.mails {
		all[id] = s
	}
	return all
}

// leader is the node that leads.
func (c *several) leader() (i int) {
	c.t.Helper()
	await(c.t, "a leader", func() bool {
		for k, n := range c.nodes {
			if n != nil && n.cluster.Leads() {
				i = k
				return true
			}
		}
		return false
	})
	return i
}

// exchanger is where a mail exchanger of the usual world listens.
func (c *several) exchanger(name string) string {
	c.t.Helper()
	for _, x := range lab.Usual().Exchangers {
		if x.Name == name {
			return netip.AddrPortFrom(x.Addr, c.world.MXPort()).String()
		}
	}
	c.t.Fatalf("no exchanger %s", name)
	return ""
}
