package delivery

import (
	"strings"
	"sync"
	"testing"
	"time"

	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// paths remembers the reverse-path of each message by its recipients.
type paths struct {
	mu   sync.Mutex
	from string
	seen map[string][]string // by recipient
	soft map[string]bool     // recipients to be deferred once
}

func (p *paths) say(verb, line string, _ int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	path, _, _ := strings.Cut(line[strings.IndexByte(line, '<')+1:], ">")
	switch verb {
	case "MAIL":
		p.from = path
	case "RCPT":
		p.seen[path] = append(p.seen[path], p.from)
		if p.soft[path] {
			delete(p.soft, path)
			return "450 4.2.1 later"
		}
	}
	return ""
}

func (p *paths) of(rcpt string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[rcpt]
}

// Mail leaves with a signed path at the bounce subdomain by the sources that it
// is ready for, and with the sender's own address by others, and reports with
// none; a retry has the path of the attempt before.
func TestReturnPathOfWhatLeaves(t *testing.T) {
	p := &paths{seen: map[string][]string{}, soft: map[string]bool{"c@shop.test": true}}
	c := startCrowd(t, &crowd{say: func(verb, line string, n int) string {
		if !strings.Contains(line, "<") {
			return ""
		}
		return p.say(verb, line, n)
	}})
	w := newWorld(t)
	version := uint32(tenant.NewestVersion)
	w.apply(tenant.SetNode{Node: 1, Version: &version})
	src := w.source("127.77.1.11", false)
	a, acc := w.customer("a", src)
	w.route("*", c.addr)
	w.apply(tenant.SetBounce{Domain: "a.test", Name: "b.a.test"})
	signer, err := bounce.NewSigner([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, w, func(c *Config) {
		c.Returns = signer
		c.Retry = []time.Duration{10 * time.Millisecond}
	}).start()
	delivered := func(n int) {
		t.Helper()
		r.await("all delivered", func() bool { return r.outcomes()[queue.Delivered] == n })
	}
	r.send(a, acc, nil, "early@shop.test")
	delivered(1)
	if got := p.of("early@shop.test"); len(got) != 1 || got[0] != "post@a.test" {
		t.Errorf("before the path is ready: %q", got)
	}
	w.apply(tenant.FoundBounces{Node: 1, Paths: []tenant.BounceFinding{{Domain: "a.test", Name: "b.a.test", MX: tenant.FindingRight, Passes: []tenant.SourceID{src}}}})

	id := r.send(a, acc, nil, "x@one.test", "b@shop.test", "c@shop.test")
	delivered(4)
	for rcpt, want := range map[string]int{"x@one.test": 0, "b@shop.test": bounce.AnyRcpt, "c@shop.test": bounce.AnyRcpt} {
		got := p.of(rcpt)
		if rcpt == "c@shop.test" && (len(got) != 2 || got[0] != got[1]) {
			t.Errorf("a retry of %s: %q", rcpt, got)
		}
		for _, from := range got {
			local, ok := strings.CutSuffix(from, "@b.a.test")
			path, err := signer.ReadLocal(local)
			if !ok || err != nil || path != (bounce.ReturnPath{Tenant: a, Epoch: id.Epoch, Seq: id.Seq, Rcpt: want}) {
				t.Errorf("%s: %q: %+v, %v", rcpt, from, path, err)
			}
		}
	}
	r.send(a, acc, func(e *queue.Envelope) { e.From = "" }, "null@shop.test")
	r.send(a, acc, func(e *queue.Envelope) { e.From, e.Kind = "", queue.Report }, "report@shop.test")
	r.send(a, acc, func(e *queue.Envelope) { e.From = "post@elsewhere.test" }, "else@shop.test")
	delivered(7)
	for rcpt, want := range map[string]string{"null@shop.test": "", "report@shop.test": "", "else@shop.test": "post@elsewhere.test"} {
		if got := p.of(rcpt); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", rcpt, got, want)
		}
	}
	w.apply(tenant.FoundBounces{Node: 1, Paths: []tenant.BounceFinding{{Domain: "a.test", Name: "b.a.test", MX: tenant.FindingWrong, Passes: []tenant.SourceID{src}, Text: "gone"}}})
	r.send(a, acc, nil, "late@shop.test")
	delivered(8)
	if got := p.of("late@shop.test"); len(got) != 1 || got[0] != "post@a.test" {
		t.Errorf("when the path is not ready any more: %q", got)
	}
}
