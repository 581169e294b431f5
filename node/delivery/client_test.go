package delivery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"postern/node/queue"
)

var allExt = []string{"PIPELINING", "size 1000000", "8bitmime", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING"}

func letter(body queue.Body, rcpts ...string) outbound {
	m := outbound{From: "from@a.example", Body: body}
	for _, r := range rcpts {
		m.Rcpts = append(m.Rcpts, queue.Rcpt{Addr: r})
	}
	return m
}

func TestSendDeliversToEachRecipient(t *testing.T) {
	for _, ext := range [][]string{nil, allExt} {
		for _, body := range []string{"", "S: x\r\n\r\nhello\r\n", ".\r\n..\r\n.x\r\n", "no end", strings.Repeat("0123456789abcdef.\r\n.\r\n", 20000)} {
			for _, stream := range []bool{false, true} {
				s := startSink(t, &sink{ext: ext})
				c := dialTo(t, dialerConfig{}, s.addr)
				b := inMemory(body)
				if stream {
					b = streamed(body)
				}
				calls := 0
				r := c.Send(context.Background(), letter(b, "one@b.example", "two@b.example"), func() error { calls++; return nil })
				if r.Err != nil || r.Stage != stageDot || !r.DotSent || calls != 1 {
					t.Fatalf("ext %v, %d octets: %+v, before called %d times", ext, len(body), r, calls)
				}
				for _, p := range r.Replies {
					if p.Code != 250 || p.Enhanced != "2.0.0" || p.Text != "kept" {
						t.Fatalf("reply %+v", p)
					}
				}
				got := s.messages()
				want := body
				if want != "" && !strings.HasSuffix(want, "\r\n") {
					want += "\r\n"
				}
				if len(got) != 1 || string(got[0].body) != want || len(got[0].rcpts) != 2 {
					t.Fatalf("sink got %d messages, body equal %v", len(got), len(got) == 1 && string(got[0].body) == want)
				}
				if !c.Alive() {
					t.Fatal("session ended")
				}
			}
		}
	}
}

func TestDialogueShowsTheWholeAttempt(t *testing.T) {
	s := startSink(t, &sink{ext: allExt})
	c := dialTo(t, dialerConfig{}, s.addr)
	r := c.Send(context.Background(), letter(inMemory("hello\r\n"), "one@b.example"), yes)
	for _, want := range []string{
		"* connect 127.77.9.11 to " + s.addr.String(), "< 220 sink.test ESMTP", "> EHLO out-1.relay.test", "> MAIL FROM:<from@a.example> SIZE=7",
		"> RCPT TO:<one@b.example>", "> DATA", "< 250 2.1.5 ok", "* message (7 octets)", "> .", "< 250 2.0.0 kept",
	} {
		if !strings.Contains(r.Dialogue, want) {
			t.Errorf("no %q in\n%s", want, r.Dialogue)
		}
	}
	if p := c.Peer(); p.Banner != "sink.test ESMTP" || p.Addr != s.addr || p.Host != "mx.example" || p.TLS != "" {
		t.Errorf("peer %+v", p)
	}
}

func TestConnectionComesFromTheSource(t *testing.T) {
	s := startSink(t, &sink{})
	dialTo(t, dialerConfig{}, s.addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.conns[0].RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap(); got != testSource {
		t.Fatalf("connection came from %s", got)
	}
}

// Each case sends to three recipients and says what came of it.
func TestRepliesReachTheirRecipients(t *testing.T) {
	on := func(pairs ...string) func(string, string) string {
		return func(verb, line string) string {
			for i := 0; i < len(pairs); i += 2 {
				if strings.HasPrefix(verb+" "+line, pairs[i]) || strings.Contains(line, pairs[i]) {
					return pairs[i+1]
				}
			}
			return ""
		}
	}
	cases := []struct {
		name   string
		answer func(string, string) string
		codes  []int
		stage  stage
		dot    bool
		alive  bool
	}{
		{"mail refused", on("MAIL", "550 5.7.1 no"), []int{550, 550, 550}, stageMail, false, true},
		{"one rcpt refused", on("r2@", "550 5.1.1 unknown"), []int{250, 550, 250}, stageDot, true, true},
		{"all rcpts refused", on("RCPT", "450 4.2.1 later"), []int{450, 450, 450}, stageRcpt, false, true},
		{"all refused, data taken", on("RCPT", "550 5.1.1 no", "DATA-EMPTY", "354 go"), []int{550, 550, 550}, stageRcpt, false, true},
		{"data refused", on("r1@", "550 5.1.1 unknown", "DATA", "451 4.3.0 busy"), []int{550, 451, 451}, stageData, false, true},
		{"dot refused", on("r3@", "552 5.2.2 full", "DOT", "554 5.7.1 spam"), []int{554, 554, 552}, stageDot, true, true},
		{"421 to mail", on("MAIL", "421 4.3.2 closing"), []int{421, 421, 421}, stageMail, false, false},
		{"421 to second rcpt", on("r2@", "421 4.3.2 closing"), []int{421, 421, 421}, stageRcpt, false, false},
		{"421 to dot", on("DOT", "421 4.3.2 closing"), []int{421, 421, 421}, stageDot, true, false},
		{"250 to data", on("DATA", "250 ok"), []int{0, 0, 0}, stageData, false, false},
		{"354 to rcpt", on("r1@", "354 what"), []int{0, 0, 0}, stageRcpt, false, false},
		{"354 to dot", on("DOT", "354 more"), []int{0, 0, 0}, stageDot, true, false},
		{"100 to mail", on("MAIL", "100 hm"), []int{0, 0, 0}, stageMail, false, false},
		{"two codes in a reply", on("r1@", "250-one\r\n550 two"), []int{0, 0, 0}, stageRcpt, false, false},
	}
	for _, ext := range [][]string{nil, allExt} {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s, pipelining %v", c.name, ext != nil), func(t *testing.T) {
				srv := startSink(t, &sink{ext: ext, answer: c.answer})
				s := dialTo(t, dialerConfig{}, srv.addr)
				r := s.Send(context.Background(), letter(inMemory("hi\r\n"), "r1@b.example", "r2@b.example", "r3@b.example"), yes)
				var codes []int
				for _, p := range r.Replies {
					codes = append(codes, p.Code)
				}
				if !slices.Equal(codes, c.codes) || r.Stage != c.stage || r.DotSent != c.dot || s.Alive() != c.alive || r.Stale {
					t.Fatalf("codes %v, stage %d, dot %v, alive %v, stale %v\n%s", codes, r.Stage, r.DotSent, s.Alive(), r.Stale, r.Dialogue)
				}
				if !s.Alive() {
					return
				}
				// The session must still carry a whole transaction.
				srv.behave()
				if r := s.Send(context.Background(), letter(inMemory("again\r\n"), "r1@b.example"), yes); r.Replies[0].Code != 250 {
					t.Fatalf("second transaction: %+v", r)
				}
			})
		}
	}
}

func TestBeforeStopsTheDot(t *testing.T) {
	for _, body := range []queue.Body{inMemory("x\r\n"), inMemory(strings.Repeat("x\r\n", 50000)), streamed("x\r\n")} {
		srv := startSink(t, &sink{ext: allExt})
		s := dialTo(t, dialerConfig{}, srv.addr)
		no := errors.New("no lease")
		r := s.Send(context.Background(), letter(body, "a@b.example"), func() error { return no })
		if !errors.Is(r.Err, no) || r.DotSent || r.Stage != stageBody || r.Replies[0].Code != 0 || s.Alive() {
			t.Fatalf("%+v", r)
		}
		if len(srv.messages()) != 0 {
			t.Fatal("message arrived")
		}
	}
}

func TestWhatTheHostCannotTakeIsNotSent(t *testing.T) {
	cases := []struct {
		name string
		ext  []string
		m    outbound
		want string
	}{
		{"8bit", []string{"PIPELINING"}, outbound{EightBit: true}, "5.6.3"},
		{"utf8", []string{"8BITMIME"}, outbound{UTF8: true}, "5.6.7"},
		{"utf8 address", []string{"8BITMIME"}, outbound{From: "dörte@a.example"}, "5.6.7"},
		{"size", []string{"SIZE 3"}, outbound{}, "5.3.4"},
		{"bare LF", nil, outbound{Body: inMemory("a\nb\r\n")}, "5.6.0"},
		{"bare CR", nil, outbound{Body: inMemory("a\rb\r\n")}, "5.6.0"},
		{"bare CR in a large body", nil, outbound{Body: inMemory(strings.Repeat("abc\r\n", 20000) + "\r")}, "5.6.0"},
		{"sender injection", nil, outbound{From: "a@b.example>\r\nRCPT TO:<c@d.example"}, "5.1.7"},
		{"recipient injection", nil, outbound{Rcpts: []queue.Rcpt{{Addr: "a\r\nDATA@b.example"}}}, "5.1.3"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			srv := startSink(t, &sink{ext: c.ext})
			s := dialTo(t, dialerConfig{}, srv.addr)
			if c.m.Body == nil {
				c.m.Body = inMemory("hello\r\n")
			}
			if c.m.Rcpts == nil {
				c.m.Rcpts = []queue.Rcpt{{Addr: "x@b.example"}}
			}
			r := s.Send(context.Background(), c.m, yes)
			if p := r.Replies[0]; p.Enhanced != c.want || p.Code < 550 {
				t.Fatalf("reply %+v", p)
			}
			if !s.Alive() {
				t.Fatal("session ended")
			}
			for _, l := range srv.said() {
				if !strings.HasPrefix(l, "EHLO") {
					t.Fatalf("said %q", l)
				}
			}
		})
	}
}

func TestSourceThatIsNotHereIsOurFault(t *testing.T) {
	srv := startSink(t, &sink{})
	for _, src := range []string{"192.0.2.7", "0.0.0.0", "2001:db8::7"} {
		_, err := newDialer(dialerConfig{}).Dial(context.Background(), netip.MustParseAddr(src), "out.test", at(srv.addr))
		he, ok := errors.AsType[*hostError](err)
		if !ok || !he.Ours || he.Reply.Code != 0 {
			t.Errorf("source %s: %+v", src, err)
		}
	}
	if srv.connections() != 0 {
		t.Error("a connection was made")
	}
	// The check may be behind the kernel: then bind says it.
	cfg := dialerConfig{Present: func(netip.Addr) (bool, error) { return true, nil }}
	_, err := newDialer(cfg).Dial(context.Background(), netip.MustParseAddr("192.0.2.7"), "out.test", at(srv.addr))
	if he, ok := errors.AsType[*hostError](err); !ok || !he.Ours || !errors.Is(he.Err, syscall.EADDRNOTAVAIL) {
		t.Errorf("bind: %+v", err)
	}
}

func TestOutOfDescriptorsIsOurFault(t *testing.T) {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, context.Canceled} {
		if !ourFault(fmt.Errorf("dial: %w", &net.OpError{Err: e})) {
			t.Errorf("%v is not ours", e)
		}
	}
	if ourFault(syscall.ECONNREFUSED) || ourFault(context.DeadlineExceeded) {
		t.Error("the host's fault counted as ours")
	}
}

func TestAddressesOfTheOtherFamilyAreSkipped(t *testing.T) {
	srv := startSink(t, &sink{})
	h := at(srv.addr)
	h.Addrs = []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("127.77.9.99"), srv.addr.Addr()}
	s, err := newDialer(dialerConfig{}).Dial(context.Background(), testSource, "out.test", h)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	h.Addrs = h.Addrs[:1]
	_, err = newDialer(dialerConfig{}).Dial(context.Background(), testSource, "out.test", h)
	if he, ok := errors.AsType[*hostError](err); !ok || he.Ours || he.Reply.Enhanced != "4.4.4" {
		t.Errorf("%+v", err)
	}
}
