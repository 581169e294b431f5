package submission

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

func FuzzPath(f *testing.F) {
	for _, s := range []string{"<a@example.test>", "<>", `<"a b"@example.test> SIZE=1`, `<"victim@bank.test> NOTIFY=NEVER x"@ok.test>`,
		`<"a\"\\b"@x.test>`, "<@a,@b:c@d.test>", "<größe@bücher.test>", "<a@[127.0.0.1]>", "<a@b.test> BODY=8BITMIME", `<"">`, "<a@-b.test>", "<a\x00@b.test>"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, eai bool) {
		a, rest, err := parsePath(s, eai)
		if err != nil {
			return
		}
		text := a.String()
		if !strings.HasSuffix(s, rest) || rest != "" && rest[0] != ' ' {
			t.Fatalf("%q: rest %q", s, rest)
		}
		if len(text) > maxLocal+1+maxDomain || strings.ContainsAny(text, "\r\n\x00\x7f") {
			t.Fatalf("%q: address %q", s, text)
		}
		if !eai && !isASCII(text) {
			t.Fatalf("%q: %q without SMTPUTF8", s, text)
		}
		// What goes out between brackets is read as the same address.
		b, rest, err := parsePath("<"+text+">", eai)
		if err != nil || b != a || rest != "" {
			t.Fatalf("%q: %q read again is %+v %q %v", s, text, b, rest, err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	for _, s := range []string{"From: a@shop.test\nTo: b@example.test\nBcc: x\n y\nSubject: z\n", "Received: by shop.relay.test with ESMTPSA id 0123456789abcdef0123456789abcdef;\n\tMon, 02 Jan 2006 15:04:05 +0000\nFrom: <a@shop.test>\n",
		": x\n", "From : a@b.test\n", " From: a@b.test\n", "From: a@b.test, c@d.test\n", "From: =?utf-8?q?x?= <a@shop.test>\n", "X-Originating-IP: 1\nFrom: a@shop.test"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		head := bytes.ReplaceAll(bytes.ReplaceAll(in, []byte("\r"), nil), []byte("\n"), crlf)
		for bytes.Contains(head, []byte("\r\n\r\n")) {
			head = bytes.ReplaceAll(head, []byte("\r\n\r\n"), crlf)
		}
		head = bytes.TrimPrefix(head, crlf)
		if len(head) > 0 && !bytes.HasSuffix(head, crlf) {
			head = append(head, crlf...)
		}
		var l letter
		if err := inspect(head, tHost, &l); err != nil {
			return
		}
		var out []byte
		last := -1
		for _, s := range l.keep {
			if s[0] <= last || s[1] <= s[0] || s[1] > len(head) {
				t.Fatalf("%q: spans %v", head, l.keep)
			}
			last = s[1]
			out = append(out, head[s[0]:s[1]]...)
		}
		if !strings.Contains(l.from, ".") {
			t.Fatalf("%q: from %q", head, l.from)
		}
		if regexp.MustCompile(`(?im)^(bcc|return-path|x-originating-ip)[ \t]*:`).Match(out) {
			t.Fatalf("%q: kept %q", head, out)
		}
		// What was kept is kept whole the next time, and means the same.
		var again letter
		if err := inspect(out, tHost, &again); err != nil || len(again.keep) != 1 || again.keep[0] != [2]int{0, len(out)} || again.from != l.from {
			t.Fatalf("%q: again %+v %v", out, again, err)
		}
	})
}

// nowhere is a queue that takes everything and keeps nothing.
type nowhere struct{ put *int }

func (nowhere) Full() error                             { return nil }
func (n nowhere) NewMessage(tenant.ID) (message, error) { return n, nil }
func (nowhere) Write(p []byte) (int, error) {
	if !clean(string(p)) && !bytes.HasSuffix(p, []byte("\r")) && p[0] != '\n' {
		panic("unclean piece")
	}
	return len(p), nil
}
func (nowhere) Find(tenant.ID, [16]byte, queue.ID) (queue.ID, error) {
	return queue.ID{}, queue.ErrNotFound
}
func (nowhere) Deny(context.Context, tenant.ID, [16]byte, queue.ID) error { return nil }
func (nowhere) Secured(context.Context, queue.ID) error                   { return nil }
func (nowhere) Discard()                                                  {}
func (n nowhere) Put(_ context.Context, prefix []byte, e *queue.Envelope, _ []queue.Spend) (queue.ID, error) {
	if len(e.Rcpts) == 0 || !clean(string(prefix)) || !strings.HasSuffix(e.From, "@shop.test") {
		panic("bad envelope")
	}
	*n.put++
	return queue.ID{Tenant: 1, Epoch: 1, Seq: 1}, nil
}

func answerAlways(context.Context, tenant.ID, uint64) error { return nil }

// FuzzCommands sends anything to a live server. Whoever is not allowed to send
// never gets a message in; every reply is one; the connection always ends.
func FuzzCommands(f *testing.F) {
	f.Add([]byte("EHLO x.test\r\n"), []byte("MAIL FROM:<a@shop.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"), []byte("From: a@shop.test\r\n\r\nx\r\n.\r\nQUIT\r\n"), true)
	f.Add([]byte("EHLO x.test\r\n"), []byte("MAIL FROM:<a@shop.test>\r\nRCPT TO:<b@x.test>\r\nBDAT 21\r\nFrom: a@shop.test\r\n\r\nBDAT 1 LAST\r\nx"), []byte("QUIT\r\n"), true)
	f.Add([]byte("HELO x.test\r\n"), []byte("AUTH PLAIN AAAA\r\nSTARTTLS\r\n"), []byte("RSET\r\nVRFY x\r\n"), false)
	f.Add([]byte("EHLO x.test\r\n"), []byte("MAIL FROM:<a@shop.test> SMTPUTF8 RET=FULL\r\nRCPT TO:<\"b c\"@x.test> NOTIFY=NEVER\r\nDATA\r\n"), []byte(".\r\n"), true)
	srv := bareServer(f)
	put := 0
	srv.store = nowhere{&put}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.engine.Serve(srv.queue) }()
	f.Cleanup(func() {
		cancel()
		srv.queue.close()
		<-ended
	})
	reply := regexp.MustCompile(`^[2-5]\d\d[ -][ -~]*\r\n$`)
	f.Fuzz(func(t *testing.T, a, b, c []byte, known bool) {
		client, server := net.Pipe()
		w := newWire(srv, server, false)
		if known {
			w.peer = netip.MustParseAddr("127.0.0.9")
		} else {
			w.tls = "pretended" // so that AUTH can be tried
		}
		before := put
		srv.doors.enter(w.netKey)
		srv.drained.Add(1)
		srv.metrics.conns.Inc()
		if !srv.queue.put(ctx, w) {
			t.Fatal("server ended")
		}
		got := make(chan []byte, 1)
		go func() {
			all, _ := io.ReadAll(client)
			got <- all
		}()
		_ = client.SetWriteDeadline(time.Now().Add(5 * time.Second))
		for _, part := range [][]byte{a, b, c} {
			if _, err := client.Write(part); err != nil {
				break
			}
		}
		client.Close()
		srv.drained.Wait()
		for _, line := range bytes.SplitAfter(<-got, []byte("\n")) {
			if len(line) > 0 && bytes.HasSuffix(line, crlf) && !reply.Match(line) {
				t.Fatalf("reply %q", line)
			}
		}
		if !known && put != before {
			t.Fatalf("a stranger's message was taken")
		}
	})
}
