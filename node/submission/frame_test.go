package submission

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/node/queue"
	"postern/tenant"
)

func testOpening() *opening {
	return &opening{id: newTransactionID(time.Now()), tenant: 1, account: 1, from: address{"mail", "shop.test"}, utf8: true,
		ret: "HDRS", envID: "x+y", size: 100, how: howESMTP | howTLS, tls: "TLS 1.3 X", quiet: time.Second}
}

func TestTransactionID(t *testing.T) {
	now := time.UnixMilli(0x0102_0304_0506)
	id := newTransactionID(now)
	if !bytes.Equal(id[:6], []byte{1, 2, 3, 4, 5, 6}) || id == newTransactionID(now) {
		t.Errorf("%x", id)
	}
}

func TestFrameBounds(t *testing.T) {
	whole := appendFrame(nil, kindPiece, bytes.Repeat([]byte("x"), maxPiece))
	if k, p, n, err := cutFrame(whole); k != kindPiece || len(p) != maxPiece || n != len(whole) || n > readSmall || err != nil {
		t.Errorf("largest piece: %d %d %v", k, n, err)
	}
	for i := range whole[:200] {
		bad := bytes.Clone(whole)
		bad[i] ^= 1
		if _, _, n, err := cutFrame(bad); err == nil && n > 0 {
			t.Errorf("octet %d changed unseen", i)
		}
	}
	for _, c := range []struct {
		k    kind
		size int
	}{{kindPiece, maxPiece + 1}, {kindBegin, maxWords + 1}, {kindAnswer, maxWords + 1}, {kindEnd, 1}, {kindReset, 1}, {kindLast + 1, 0}, {0, 0}} {
		if _, _, _, err := cutFrame(appendFrame(nil, c.k, make([]byte, c.size))); err != errFrame {
			t.Errorf("%+v taken", c)
		}
	}
}

// FuzzFrames: what is taken for a frame is one, and says the same when it is
// made again.
func FuzzFrames(f *testing.F) {
	f.Add(appendFrame(nil, kindBegin, appendBegin(nil, 3, testOpening())), false)
	f.Add(appendFrame(nil, kindRcpt, appendRcpt(nil, queue.Rcpt{Addr: "a@example.test", Notify: queue.NotifyNever, ORcpt: "rfc822;x"})), true)
	f.Add(appendFrame(nil, kindAsk, appendAsk(nil, question{1, 2, [16]byte{3}, queue.ID{Tenant: 2, Epoch: 4, Seq: 5}})), false)
	f.Add(appendFrame(nil, kindAnswer, appendAnswer(nil, answer{tag: 1, outcome: saysNo, reply: errFull})), false)
	f.Add(appendFrame(nil, kindAnswer, appendAnswer(nil, answer{tag: 1, outcome: saysKept, id: "1-2-3"})), false)
	f.Fuzz(func(t *testing.T, in []byte, utf8 bool) {
		k, p, n, err := cutFrame(in)
		if err == nil && n > 0 && !bytes.Equal(appendFrame(nil, k, p), in[:n]) {
			t.Fatalf("%x: frame %d %x", in, k, p)
		}
		if n == 0 { // a wrong sum hides the payload: look into it all the same
			if p = in; len(p) > frameHead {
				p = p[frameHead:]
			}
		}
		if tag, o, ok := parseBegin(p); ok {
			tag2, again, ok := parseBegin(appendBegin(nil, tag, o))
			if !ok || tag2 != tag || !reflect.DeepEqual(o, again) {
				t.Fatalf("%x: begin %+v, again %+v", p, o, again)
			}
		}
		if rc, ok := parseRcpt(p, utf8); ok {
			if again, ok := parseRcpt(appendRcpt(nil, rc), utf8); !ok || again != rc {
				t.Fatalf("%x: rcpt %+v, again %+v", p, rc, again)
			}
		}
		if a, ok := parseAnswer(p); ok {
			if again, ok := parseAnswer(appendAnswer(nil, a)); !ok || !reflect.DeepEqual(a, again) {
				t.Fatalf("%x: answer %+v, again %+v", p, a, again)
			}
			if a.reply != nil && strings.ContainsAny(a.reply.line()[:len(a.reply.line())-2], "\r\n") {
				t.Fatalf("%x: reply %q", p, a.reply.line())
			}
		}
	})
}

// framed makes frames of fuzzed octets: kind, length, payload; raw when they do
// not fit.
func framed(in []byte) (out []byte) {
	for len(in) >= 3 {
		k, n := kind(in[0]%byte(kindLast+2)), min(int(in[1])<<8|int(in[2]), len(in)-3)
		if in[0] >= 0xf0 {
			return append(out, in...)
		}
		out = appendFrame(out, k, in[3:3+n])
		in = in[3+n:]
	}
	return out
}

// spoken is the other way round, to begin with.
func spoken(parts ...any) (out []byte) {
	for i := 0; i < len(parts); i += 2 {
		p := parts[i+1].([]byte)
		out = append(append(out, byte(parts[i].(kind)), byte(len(p)>>8), byte(len(p))), p...)
	}
	return out
}

// FuzzPeer says anything to an owner: it answers in frames, keeps nothing that
// is not clean, and the connection ends.
func FuzzPeer(f *testing.F) {
	rcpt := []byte(appendRcpt(nil, queue.Rcpt{Addr: "a@example.test"}))
	begin := []byte(appendBegin(nil, 1, testOpening()))
	text := []byte("From: mail@shop.test\r\n\r\nhi\r\n")
	none := []byte{}
	f.Add(spoken(kindBegin, begin, kindRcpt, rcpt, kindPiece, text, kindCheck, none, kindEnd, none))
	f.Add(spoken(kindBegin, begin, kindRcpt, rcpt, kindPiece, text[:21], kindPiece, text[21:], kindEnd, none, kindBegin, begin, kindReset, none))
	f.Add(spoken(kindAsk, []byte(appendAsk(nil, question{tag: 1, tenant: 1, transaction: [16]byte{1}})), kindBegin, begin, kindRcpt, rcpt, kindEnd, none))
	f.Add(spoken(kindBegin, begin, kindRcpt, rcpt, kindPiece, []byte("a\rb\n.\r\n"), kindEnd, none, kindAnswer, none))
	srv := bareServer(f)
	logs := &lockedBuffer{}
	srv.log = newMailLog(slog.New(slog.NewTextHandler(logs, nil)))
	put := 0
	srv.store = nowhere{&put}
	f.Fuzz(func(t *testing.T, in []byte) {
		here, there := net.Pipe()
		srv.peers.serve(srv, there, "node-2")
		got := make(chan []byte, 1)
		go func() {
			all, _ := io.ReadAll(here)
			got <- all
		}()
		_ = here.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, _ = here.Write(framed(in))
		here.Close()
		srv.peers.wg.Wait()
		for all := <-got; len(all) > 0; {
			k, p, n, err := cutFrame(all)
			if err != nil || n > 0 && k != kindAnswer {
				t.Fatalf("said %x", all)
			}
			if n == 0 {
				break // cut in its midst
			}
			if _, ok := parseAnswer(p); !ok {
				t.Fatalf("said %x", p)
			}
			all = all[n:]
		}
		if log := logs.String(); strings.Contains(log, "panicked") {
			t.Fatal(log)
		}
		if n := len(srv.pending.ids()); n != 0 {
			t.Fatalf("%d transactions left", n)
		}
	})
}

// FuzzOwner lets an owner say anything: the client gets proper replies, and an
// end, and never a 250 to a message without an id.
func FuzzOwner(f *testing.F) {
	say := func(a ...answer) (out []byte) {
		for _, a := range a {
			out = append(out, spoken(kindAnswer, []byte(appendAnswer(nil, a)))...)
		}
		return out
	}
	yes := answer{tag: 1, outcome: saysYes}
	f.Add(say(yes, yes, answer{tag: 1, outcome: saysKept, id: "1-1-1"}))
	f.Add(say(yes, yes, answer{tag: 1, outcome: saysNo, reply: errHeaderSender}))
	f.Add(say(answer{tag: 1, outcome: saysNo, reply: errFull}))
	f.Add(say(yes, answer{tag: 9, outcome: saysYes}, answer{tag: 1, outcome: saysElsewhere}))
	f.Add(say(yes, yes, yes, yes, yes))
	line := regexp.MustCompile(`^[2-5]\d\d[ -][^\x00-\x1f\x7f]*\r\n$`)
	srv := bareServer(f)
	srv.waits = waits{owner: time.Millisecond, word: time.Second, final: time.Second, lost: time.Millisecond, poll: time.Millisecond}
	srv.cfg.Node = func() tenant.NodeID { return tNode + 1 }
	said := make(chan []byte, 1)
	srv.links = newLinks(func(context.Context, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			select {
			case b := <-said:
				go func() { _, _ = io.Copy(io.Discard, there) }()
				_, _ = there.Write(b)
			default:
			}
		}()
		return here, nil
	})
	ended := make(chan error, 1)
	go func() { ended <- srv.engine.Serve(srv.queue) }()
	f.Cleanup(func() { srv.queue.close(); <-ended; srv.links.close() })
	f.Fuzz(func(t *testing.T, in []byte) {
		select {
		case <-said:
		default:
		}
		said <- framed(in)
		client, server := net.Pipe()
		w := newWire(srv, server, false)
		w.peer = netip.MustParseAddr("127.0.0.9")
		srv.doors.enter(w.netKey)
		srv.drained.Add(1)
		srv.metrics.conns.Inc()
		if !srv.queue.put(context.Background(), w) {
			t.Fatal("server ended")
		}
		got := make(chan []byte, 1)
		go func() {
			all, _ := io.ReadAll(client)
			got <- all
		}()
		_ = client.SetWriteDeadline(time.Now().Add(10 * time.Second))
		for _, part := range []string{"EHLO x.test\r\n", "MAIL FROM:<mail@shop.test>\r\nRCPT TO:<a@x.test>\r\nDATA\r\n", "From: mail@shop.test\r\n\r\nx\r\n.\r\n", "QUIT\r\n"} {
			if _, err := io.WriteString(client, part); err != nil {
				break
			}
		}
		client.Close()
		srv.drained.Wait()
		for _, l := range bytes.SplitAfter(<-got, []byte("\n")) {
			if len(l) > 0 && bytes.HasSuffix(l, crlf) && !line.Match(l) {
				t.Fatalf("reply %q", l)
			}
			if id, ok := strings.CutPrefix(string(l), "250 2.0.0 OK: queued as "); ok {
				if _, err := queue.ParseID(strings.TrimSpace(id)); err != nil {
					t.Fatalf("reply %q", l)
				}
			}
		}
	})
}
