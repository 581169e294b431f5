package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/miekg/dns"
)

// TestMain looks for goroutines that nobody ended; those that end by a timeout
// of their own get the time.
func TestMain(m *testing.M) {
	code := m.Run()
	var leak error
	for end := time.Now().Add(30 * time.Second); code == 0 && time.Now().Before(end); {
		if leak = goleak.Find(); leak == nil {
			break
		}
	}
	if leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}

// startLab runs a lab for the test and ends it with it.
func startLab(t testing.TB, cfg Config) *Lab {
	t.Helper()
	if cfg.World.Names == nil {
		cfg.World = Usual()
	}
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return l
}

func (l *Lab) addrOf(t testing.TB, domain string) string {
	t.Helper()
	e := l.exchanger(domain)
	if e == nil {
		t.Fatalf("no exchanger for %s", domain)
	}
	return e.ln.Addr().String()
}

// chat plays an SMTP dialogue: "> " lines are said, "< " ones are prefixes of
// the next reply line; "! " says that the far end closes.
func chat(t *testing.T, addr string, script string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	for n, line := range strings.Split(strings.TrimSpace(script), "\n") {
		line = strings.TrimLeft(line, "\t ")
		switch {
		case strings.HasPrefix(line, "> "):
			if _, err := io.WriteString(c, strings.ReplaceAll(line[2:], `\n`, "\r\n")+"\r\n"); err != nil {
				t.Fatalf("line %d %q: %v", n, line, err)
			}
		case strings.HasPrefix(line, "< "):
			got, err := r.ReadString('\n')
			if err != nil || !strings.HasPrefix(got, line[2:]) {
				t.Fatalf("line %d: got %q %v, want %q", n, got, err, line[2:])
			}
		case strings.HasPrefix(line, "! "):
			if got, err := r.ReadString('\n'); err == nil {
				t.Fatalf("line %d: got %q, want the end", n, got)
			}
		}
	}
}

const hello = `
	< 220
	> EHLO out-1.relay.test
	< 250-mx.
	< 250-PIPELINING
	< 250-8BITMIME
	< 250-SMTPUTF8
	< 250-ENHANCEDSTATUSCODES
	< 250 SIZE
`

func TestMoods(t *testing.T) {
	l := startLab(t, Config{})
	tests := []struct {
		domain, script string
		taken          int64
	}{
		{"inbox.test", hello + `
			> MAIL FROM:<a@shoes.test> SIZE=10\nRCPT TO:<b@inbox.test>\nDATA
			< 250 2.1.0
			< 250 2.1.5
			< 354
			> Subject: x\n\nhello\n..dot\n.
			< 250 2.0.0
			> QUIT
			< 221`, 1},
		{"grey.test", hello + `
			> MAIL FROM:<a@shoes.test>
			< 250
			> RCPT TO:<b@grey.test>
			< 451 4.7.1
			> RCPT TO:<b@grey.test>
			< 451 4.7.1`, 0},
		{"busy.test", hello + `
			> MAIL FROM:<a@shoes.test>
			< 250
			> RCPT TO:<b@busy.test>
			< 451 4.3.2
			> DATA
			< 554`, 0},
		{"nobody.test", hello + `
			> MAIL FROM:<a@shoes.test>
			< 250
			> RCPT TO:<b@nobody.test>
			< 550 5.1.1`, 0},
		{"full.test", hello + `
			> MAIL FROM:<a@shoes.test>
			< 250
			> RCPT TO:<b@full.test>
			< 452 4.2.2`, 0},
		{"blocked.test", hello + `
			> MAIL FROM:<a@shoes.test>
			< 550 5.7.1`, 0},
		{"hangup.test", hello + `
			> MAIL FROM:<a@shoes.test>\nRCPT TO:<b@hangup.test>\nDATA
			< 250
			< 250
			< 354
			> Message-ID: <1@x>\n\nhello\n.
			! closed`, 0},
		{"forgetful.test", hello + `
			> MAIL FROM:<a@shoes.test>\nRCPT TO:<b@forgetful.test>\nDATA
			< 250
			< 250
			< 354
			> Message-ID: <1@x>\n\nhello\n.
			! closed`, 1},
		{"inbox.test", `
			< 220
			> MAIL FROM:<a@shoes.test>
			< 503
			> RCPT TO:<x@y>
			< 503
			> STARTTLS
			< 502
			> HELO x
			< 250
			> MAIL FROM:<>
			< 250
			> MAIL FROM:<>
			< 503
			> RCPT TO:<"a>b"@y.test>
			< 250
			> NONSENSE
			< 500`, 1},
	}
	for _, tt := range tests {
		t.Run(tt.domain, func(t *testing.T) {
			chat(t, l.addrOf(t, tt.domain), tt.script)
			if got := l.exchanger(tt.domain).tally().Taken; got != tt.taken {
				t.Errorf("%d taken, want %d", got, tt.taken)
			}
		})
	}
	mails, total := l.Messages(Filter{To: "b@inbox.test"})
	if total != 2 || len(mails) != 1 || mails[0].EHLO != "out-1.relay.test" || mails[0].From != "a@shoes.test" ||
		!strings.HasSuffix(mails[0].Text, "hello\r\n.dot\r\n") || mails[0].Bare != 0 {
		t.Errorf("Messages = %+v, %d", mails, total)
	}
	t.Run("second try after hanging up", func(t *testing.T) {
		chat(t, l.addrOf(t, "hangup.test"), hello+`
			> MAIL FROM:<a@shoes.test>\nRCPT TO:<b@hangup.test>\nDATA
			< 250
			< 250
			< 354
			> Message-ID: <1@x>\n\nhello\n.
			< 250`)
	})
	t.Run("greylisting ends", func(t *testing.T) {
		if err := l.SetMood("mx.grey.test", Mood{Kind: Greylist, Wait: time.Nanosecond}); err != nil {
			t.Fatal(err)
		}
		chat(t, l.addrOf(t, "grey.test"), hello+`
			> MAIL FROM:<a@shoes.test>
			< 250
			> RCPT TO:<b@grey.test>
			< 250`)
	})
}

func TestBareLineEndsAreCountedAndEndNothing(t *testing.T) {
	l := startLab(t, Config{})
	c, err := net.Dial("tcp", l.addrOf(t, "inbox.test"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "HELO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@inbox.test>\r\nDATA\r\n")
	r := bufio.NewReader(c)
	for range 5 {
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintf(c, "A: b\r\n\r\none\n.\ntwo\r.\r\r\n\n.\r\nthree\r\n.\r\nQUIT\r\n")
	if got, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(got, "250") {
		t.Fatalf("got %q %v", got, err)
	}
	mails, _ := l.Messages(Filter{})
	if len(mails) != 1 || mails[0].Bare != 5 || !strings.Contains(mails[0].Text, "three") {
		t.Errorf("Messages = %+v, want one with 5 bare line ends", mails)
	}
}

func TestTarpitAndBlackHole(t *testing.T) {
	l := startLab(t, Config{})
	if err := l.SetMood("slow.test", Mood{Kind: Tarpit, Wait: 60 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	chat(t, l.addrOf(t, "slow.test"), "< 220\n> HELO x\n< 250\n> QUIT\n< 221")
	if d := time.Since(start); d < 120*time.Millisecond {
		t.Errorf("the tarpit took %v", d)
	}
	c, err := net.Dial("tcp", l.addrOf(t, "blackhole.test"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || !err.(net.Error).Timeout() {
		t.Errorf("the black hole said something: %d %v", n, err)
	}
	if err := l.SetMood("blackhole.test", Mood{Kind: Fine}); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the black hole's end gave %v, want EOF", err)
	}
}

func TestRing(t *testing.T) {
	r := newRing(3)
	for i := range 5 {
		r.add(&Mail{MX: fmt.Sprint(i), Rcpts: []string{"A@x.test"}})
	}
	for _, tt := range []struct {
		f    Filter
		want string
	}{
		{Filter{}, "[3 4 5]"},
		{Filter{Limit: 2}, "[4 5]"},
		{Filter{After: 3}, "[4 5]"},
		{Filter{After: 1, Limit: 1}, "[3]"},
		{Filter{To: "a@X.test", Limit: 1}, "[5]"},
		{Filter{To: "@x.test", Limit: 1}, "[5]"},
		{Filter{To: "@y.test"}, "[]"},
		{Filter{MX: "3"}, "[4]"},
	} {
		mails, total := r.list(tt.f)
		ns := []uint64{}
		for _, m := range mails {
			ns = append(ns, m.N)
		}
		if fmt.Sprint(ns) != tt.want || total != 5 {
			t.Errorf("list(%+v) = %v, %d; want %s", tt.f, ns, total, tt.want)
		}
	}
}

func TestHeadOfMail(t *testing.T) {
	var m Mail
	m.readHead([]byte("Received: by shoes.relay.test\r\n\twith ESMTPSA id 00-11-22; Sat, 1 Jan 2000 00:00:00 +0000\r\n" +
		"Received: from x by y id older;\r\nMessage-ID: <a@b>\r\nX-Relay-Ref: v1.a\r\nx-lab-id: " + UID{1}.String() + "\r\n\r\nMessage-ID: <body@b>\r\n"))
	if m.ReceivedID != "00-11-22" || m.MessageID != "<a@b>" || m.UID != (UID{1}).String() || m.Reference != "v1.a" {
		t.Errorf("readHead = %+v", m)
	}
}

func TestMoodJSON(t *testing.T) {
	for _, k := range Moods() {
		m, err := ParseMood(string(k))
		if err != nil {
			t.Fatal(err)
		}
		if k == Blocked {
			m.List = "zen.test"
		}
		b, _ := json.Marshal(m)
		var back Mood
		if err := json.Unmarshal(b, &back); err != nil || back != m {
			t.Errorf("%s came back as %+v, %v", b, back, err)
		}
	}
}

// FuzzSession talks to a live exchanger: it must stay up, end the session when
// the client does, and never take a message nobody sent.
func FuzzSession(f *testing.F) {
	f.Add([]byte("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nA: b\r\n\r\n..\r\n.\r\n.\r\nQUIT\r\n"))
	f.Add([]byte("DATA\r\n\x00\xff\r.\r\n"))
	l := startLab(f, Config{})
	addr := l.addrOf(f, "inbox.test")
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		go func() {
			_, _ = c.Write(in)
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		out, err := io.ReadAll(io.LimitReader(c, 64<<20))
		if err != nil && !strings.Contains(err.Error(), "reset") {
			t.Fatalf("session of %q did not end: %v", in, err)
		}
		if !strings.HasPrefix(string(out), "220 ") && len(out) > 0 {
			t.Fatalf("no banner but %q", out)
		}
	})
}

func FuzzDNS(f *testing.F) {
	z := newZones()
	for name, n := range Usual().Names {
		if err := z.set(name, &n); err != nil {
			f.Fatal(err)
		}
	}
	f.Add("inbox.test", uint16(15), "MX 10 x.test.")
	f.Fuzz(func(t *testing.T, name string, typ uint16, record string) {
		_, _ = parseName("x.test.", Name{Records: []string{record}})
		q := new(dns.Msg)
		q.Question = []dns.Question{{Name: name, Qtype: typ, Qclass: 1}}
		if m := z.answer(q, true, ""); m == nil || len(m.Answer) > maxRecords*maxChain {
			t.Errorf("answer to %q = %v", name, m)
		}
	})
}

// BenchmarkSink is what load and exchanger together cost a message.
func BenchmarkSink(b *testing.B) {
	ledger, run := NewLedger(1<<16), NewRunID()
	l := startLab(b, Config{Taken: func(m *Mail) { Book(ledger, run, m) }})
	b.ReportAllocs()
	b.ResetTimer()
	sum, err := Load{
		Addrs: []string{l.addrOf(b, "inbox.test")}, Senders: []Sender{{From: "a@shoes.test"}}, Domains: []string{"inbox.test"},
		Run: run, Sessions: 20, Count: int64(b.N), Sent: func(s *Submission) { Record(ledger, s) },
	}.Send(context.Background())
	if err != nil || sum.Accepted != int64(b.N) {
		b.Fatalf("%+v %v", sum, err)
	}
}
