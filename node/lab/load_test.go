package lab

import (
	"context"
	"crypto/tls"
	"sync"
	"testing"
	"time"
)

// relay stands between load and ledger: it hands on what the lab took, but
// loses or doubles what it is told to.
type relay struct {
	mu   sync.Mutex
	n    int
	lose int
	dup  int
	tamp int
	run  RunID
}

func (r *relay) pass(l *Ledger, m *Mail) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.n++; r.n {
	case r.lose:
		return
	case r.dup:
		Book(l, r.run, m)
	case r.tamp:
		m.Body[0]++
	}
	Book(l, r.run, m)
}

func TestLoadAgainstLedger(t *testing.T) {
	for _, tt := range []struct {
		name            string
		lose, dup, tamp int
		want            Counts
	}{
		{"sound", 0, 0, 0, Counts{Accepted: 600, Delivered: 600}},
		{"one lost", 77, 0, 0, Counts{Accepted: 600, Delivered: 598, Lost: 2}},
		{"one doubled", 0, 78, 0, Counts{Accepted: 600, Delivered: 600, Twice: 2}},
		{"one altered", 0, 0, 79, Counts{Accepted: 600, Delivered: 600, Altered: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ledger := NewLedger(0)
			r := &relay{lose: tt.lose, dup: tt.dup, tamp: tt.tamp, run: NewRunID()}
			l := startLab(t, Config{Taken: func(m *Mail) { r.pass(ledger, m) }})
			sum, err := Load{
				Addrs: []string{l.addrOf(t, "inbox.test")}, Senders: []Sender{{From: "a@shoes.test"}},
				Domains: []string{"inbox.test", "secure.test"}, Rcpts: 2, Sessions: 4, PerConn: 20, Count: 300, Size: 2000, Run: r.run,
				Sent: func(s *Submission) { Record(ledger, s) },
			}.Send(context.Background())
			if err != nil || sum.Accepted != 300 || sum.Sent != 300 || sum.P99 <= 0 || sum.P50 > sum.P99 {
				t.Fatalf("Send = %+v, %v", sum, err)
			}
			if got := ledger.Final(); got != tt.want {
				t.Errorf("Final() = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestLoadVerdicts(t *testing.T) {
	l := startLab(t, Config{})
	for _, tt := range []struct {
		domain string
		want   LoadSum
	}{
		{"nobody.test", LoadSum{Sent: 3, Refused: 3}},
		{"busy.test", LoadSum{Sent: 3, Postponed: 3}},
		{"forgetful.test", LoadSum{Sent: 3, Unknown: 3}},
		{"blocked.test", LoadSum{Sent: 3, Refused: 3}},
	} {
		sum, err := Load{
			Addrs: []string{l.addrOf(t, tt.domain)}, Senders: []Sender{{From: "a@shoes.test"}},
			Domains: []string{tt.domain}, Count: 3, Backoff: time.Millisecond,
		}.Send(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		sum.Elapsed, sum.P50, sum.P99 = 0, 0, 0
		if sum != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.domain, sum, tt.want)
		}
	}
}

func TestLoadOverTLSAtARate(t *testing.T) {
	l := startLab(t, Config{})
	start := time.Now()
	sum, err := Load{
		Addrs: []string{l.addrOf(t, "secure.test")}, TLS: &tls.Config{InsecureSkipVerify: true},
		Senders: []Sender{{From: "a@shoes.test"}}, Domains: []string{"secure.test"}, Sessions: 2, Count: 11, Rate: 100,
	}.Send(context.Background())
	if err != nil || sum.Accepted != 11 {
		t.Fatalf("Send = %+v, %v", sum, err)
	}
	if d := time.Since(start); d < 95*time.Millisecond {
		t.Errorf("11 messages at 100/s took %v", d)
	}
	mails, _ := l.Messages(Filter{})
	if len(mails) != 11 || mails[0].TLS != "TLS 1.3" || mails[0].Text != "" || mails[0].Early {
		t.Errorf("%d mails, first %+v", len(mails), mails[0])
	}
}

func TestLoadStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	sum, err := Load{Addrs: []string{"127.78.255.1:1"}, Senders: []Sender{{From: "a@b"}}, Domains: []string{"x"}}.Send(ctx)
	if err != nil || sum.Sent != 0 {
		t.Errorf("Send = %+v, %v", sum, err)
	}
}

// TestLoadGoesElsewhere: a client with a list of servers leaves one that says 4xx.
func TestLoadGoesElsewhere(t *testing.T) {
	for elsewhere, want := range map[bool]LoadSum{true: {Sent: 10, Accepted: 9, Postponed: 1}, false: {Sent: 10, Postponed: 10}} {
		l := startLab(t, Config{})
		got, err := Load{
			Addrs: []string{l.addrOf(t, "busy.test"), l.addrOf(t, "inbox.test")}, Senders: []Sender{{From: "a@shoes.test"}},
			Domains: []string{"inbox.test"}, Count: 10, Backoff: time.Millisecond, Elsewhere: elsewhere,
		}.Send(context.Background())
		if err != nil || got.Sent != want.Sent || got.Accepted != want.Accepted || got.Postponed != want.Postponed {
			t.Errorf("elsewhere %v: Send = %+v, %v, want %+v", elsewhere, got, err, want)
		}
	}
}
