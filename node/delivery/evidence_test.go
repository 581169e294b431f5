package delivery

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// witness drives one source's evidence along a clock of its own.
type witness struct {
	e   *evidence
	now time.Time
	seq uint64
}

func newWitness(window time.Duration) *witness {
	return &witness{e: newEvidence(window), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (w *witness) heard(n int, host, text string) {
	for range n {
		w.seq++
		var refused *bounce.Verdict
		if text != "" {
			v := bounce.Classify(bounce.Reply{Host: host, Code: 554, Enhanced: "5.7.1", Text: text})
			refused = &v
		}
		w.e.note(7, answer{message: queue.ID{Tenant: 1, Epoch: 1, Seq: w.seq}, refused: refused, text: text}, w.now)
	}
}

func (w *witness) read(t *testing.T) Evidence {
	t.Helper()
	list := w.e.read(w.now, nil)
	if len(list) != 1 || list[0].Source != 7 {
		t.Fatalf("evidence %+v", list)
	}
	return list[0]
}

const listed = "Client host blocked using zen.spamhaus.org"

func TestEvidenceThreshold(t *testing.T) {
	three := func(a, b, c int) func(*witness) {
		return func(w *witness) {
			w.heard(a, "gmail-smtp-in.l.google.com", listed)
			w.heard(b, "mx1.comcast.net", listed)
			w.heard(c, "mx00.gmx.net", "IP address is block listed")
		}
	}
	for _, c := range []struct {
		name string
		fine int
		say  func(*witness)
		want bool
	}{
		{"just enough", 380, three(10, 5, 5), true},
		{"too few of all", 381, three(10, 5, 5), false},
		{"too few messages", 0, three(10, 5, 4), false},
		{"two providers", 0, three(20, 20, 0), false},
		{"strangers", 0, func(w *witness) {
			for i := range 50 {
				w.heard(1, fmt.Sprintf("mx.%d.example", i), listed)
			}
		}, false},
		{"throttled", 0, func(w *witness) {
			for _, h := range []string{"mx.google.com", "mx.comcast.net", "mx.gmx.net"} {
				v := bounce.Classify(bounce.Reply{Host: h, Code: 421, Enhanced: "4.7.28", Text: "unusual rate of mail from your IP address"})
				for range 20 {
					w.e.note(7, answer{message: queue.ID{Seq: 1}, refused: &v}, w.now)
				}
			}
		}, false},
		{"greylisted", 0, func(w *witness) {
			v := bounce.Classify(bounce.Reply{Host: "mx.comcast.net", Code: 451, Enhanced: "4.7.1", Text: "greylisted: host not known, see our blocklist"})
			for range 50 {
				w.e.note(7, answer{refused: &v}, w.now)
			}
		}, false},
		{"weak words", 0, func(w *witness) {
			w.heard(30, "mx00.t-online.de", "IP=192.0.2.1 - None/bad reputation (NOWL)")
			w.heard(30, "mx.barracudanetworks.com", "permanent failure for one or more recipients (x@b.example:blocked)")
			w.heard(30, "mx.orange.fr", "OFR_999")
		}, false},
		{"one message again and again", 0, func(w *witness) {
			for range 30 {
				w.seq = 0
				three(1, 1, 1)(w)
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWitness(30 * time.Minute)
			w.heard(c.fine, "mx.b.example", "")
			c.say(w)
			e := w.read(t)
			x := e.Denial(w.now)
			if got := x.Reaches(); got != c.want {
				t.Errorf("reaches %v: %+v", got, e)
			}
			w.now = w.now.Add(31 * time.Minute)
			if list := w.e.read(w.now, nil); len(list) != 0 || len(w.e.sources) != 0 {
				t.Errorf("after the window: %+v", list)
			}
		})
	}
}

func TestEvidenceSlides(t *testing.T) {
	w := newWitness(30 * time.Minute)
	for range 60 {
		w.heard(9, "mx.b.example", "")
		w.heard(1, "mx.comcast.net", listed)
		w.now = w.now.Add(time.Minute)
	}
	e := w.read(t)
	if e.Attempts < 290 || e.Attempts > 300 || e.Refused*10 != e.Attempts || e.Messages < e.Refused || e.Messages > e.Refused+1 {
		t.Errorf("after an hour: %+v", e)
	}
	p := e.Providers[0]
	if p.Provider != "comcast" || p.Refused != e.Refused || p.Text != listed || !p.Last.Equal(w.now.Add(-time.Minute)) {
		t.Errorf("provider %+v", p)
	}
	// Refusals end, attempts go on: what was refused fades, the zone with it.
	for range 31 {
		w.heard(10, "mx.b.example", "")
		w.now = w.now.Add(time.Minute)
	}
	if e := w.read(t); e.Refused != 0 || e.Messages != 0 || len(e.Providers) != 0 || len(e.Zones) != 0 || e.Attempts < 290 {
		t.Errorf("when it ended: %+v", e)
	}
}

func TestEvidenceIsBounded(t *testing.T) {
	w := newWitness(30 * time.Minute)
	w.heard(500, "mx.comcast.net", listed)
	w.heard(1, "mx.google.com", listed)
	for i := range 100 {
		w.now = w.now.Add(time.Second)
		w.heard(1, "mx.evil.example", fmt.Sprintf("blocked using z%d.evil.example", i))
	}
	w.heard(1, "mx.gmx.net", "blocked using bl.spamcop.net "+strings.Repeat("x", 5000))
	e := w.read(t)
	if e.Messages != evidenceMessages+2 || e.Refused != 502 || e.Attempts != 602 {
		t.Errorf("%d messages, %d refused of %d", e.Messages, e.Refused, e.Attempts)
	}
	if len(e.Zones) != evidenceZones {
		t.Errorf("%d zones", len(e.Zones))
	}
	got := map[string]int{}
	for _, z := range e.Zones {
		got[z.Zone] = z.Providers
	}
	if got["zen.spamhaus.org"] != 2 || got["bl.spamcop.net"] != 1 || got["z99.evil.example"] != 0 {
		t.Errorf("zones %v: a stranger's inventions crowded out what providers named", got)
	}
	for _, p := range e.Providers {
		if len(p.Text) > evidenceText {
			t.Errorf("%d octets of text", len(p.Text))
		}
	}
}

func TestSenderKeepsEvidence(t *testing.T) {
	var id tenant.ID
	var account tenant.AccountID
	var src tenant.SourceID
	inBubble(t, nil, func(w *world) {
		src = w.source("127.77.1.1", false)
		id, account = w.customer("shoes", src)
	}, func(r *rig, p *pretend) {
		p.mu.Lock()
		p.sites["a.example"], p.sites["b.example"], p.sites["c.example"] = siteOf("mx1.comcast.net"), siteOf("mx00.gmx.net"), siteOf("mx.c.example")
		p.refus = func(h host) *hostError {
			if h.Name != "mx00.gmx.net" {
				return nil
			}
			return &hostError{Stage: stageBanner, Peer: peer{Host: h.Name}, Reply: queue.Reply{Code: 554, Text: "No SMTP service IP address is block listed"}}
		}
		p.send = func(_ netip.Addr, m outbound) result {
			if strings.HasSuffix(m.Rcpts[0].Addr, "@a.example") {
				return refusedAt(stageMail, 554, "5.7.1", "Client host [127.77.1.1] blocked using zen.spamhaus.org")
			}
			return result{Stage: stageDot, DotSent: true, Replies: repeat(queue.Reply{Code: 250}, len(m.Rcpts))}
		}
		p.mu.Unlock()
		for _, to := range []string{"x@a.example", "x@b.example", "x@c.example"} {
			r.send(id, account, nil, to)
		}
		p.pass(10 * time.Second)
		list := p.s.evidence.read(time.Now(), p.s.behind(time.Now()))
		if len(list) != 1 || list[0].Source != src || list[0].Attempts != 3 || list[0].Refused != 2 || list[0].Messages != 2 {
			t.Fatalf("evidence %+v", list)
		}
		if e := list[0]; len(e.Providers) != 2 || e.Providers[0].Provider != "comcast" || e.Providers[1].Provider != "gmx" || len(e.Zones) != 1 || e.Zones[0].Zone != "zen.spamhaus.org" {
			t.Errorf("evidence %+v", e)
		}
		if n := r.outcomes()[queue.Bounced]; n != 0 {
			t.Errorf("%d bounced because of our IP", n)
		}
	})
}

// A provider that refuses is left alone, so what waits for it counts too, and
// goes on counting while it is tried anew; what waits for others does not.
func TestEvidenceCountsWhatWaits(t *testing.T) {
	var id tenant.ID
	var account tenant.AccountID
	inBubble(t, nil, func(w *world) { id, account = w.customer("shoes", w.source("127.77.1.1", false)) }, func(r *rig, p *pretend) {
		p.mu.Lock()
		p.sites["a.example"], p.sites["b.example"] = siteOf("mx1.comcast.net"), siteOf("mx.b.example")
		p.send = func(_ netip.Addr, m outbound) result {
			if strings.HasSuffix(m.Rcpts[0].Addr, "@a.example") {
				return refusedAt(stageMail, 554, "5.7.1", "Client host [127.77.1.1] blocked using zen.spamhaus.org")
			}
			return refusedAt(stageMail, 421, "4.7.28", "unusual rate of mail from your IP address")
		}
		p.mu.Unlock()
		for i := range 30 {
			r.send(id, account, nil, fmt.Sprintf("x%d@a.example", i), fmt.Sprintf("x%d@b.example", i))
		}
		sees := func(when string) {
			t.Helper()
			now := time.Now()
			list := p.s.evidence.read(now, p.s.behind(now))
			if len(list) != 1 || len(list[0].Providers) != 1 {
				t.Fatalf("%s: evidence %+v", when, list)
			}
			e := list[0]
			x := e.Denial(now)
			if e.Providers[0].Waiting != 30 || e.Messages > 20 || x.Messages != 30 || x.Attempts < 30 || x.Refused < 30 || x.Providers[0].Messages != 30 {
				t.Errorf("%s: %+v becomes %+v", when, e, x)
			}
		}
		p.pass(10 * time.Second)
		sees("at first")
		for range 20 {
			p.pass(time.Minute)
			sees("later")
		}
	})
}
