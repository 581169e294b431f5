package delivery

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"postern/node/queue"
)

var testTime = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// What leaves has no bare CR or LF and exactly one end of data, whatever the
// message is and however it is cut into pieces; what must not leave does not.
func TestBodyOnTheWire(t *testing.T) {
	piece := rapid.SampledFrom([]string{"\r\n", "\r", "\n", ".", "..", "\r\n.\r\n", "\r\n.", ".\r\n", "\n.\n", "\r.\r", "a", "bc", "\x00", "\xff", " ", "DATA", strings.Repeat("x", 300)})
	clean := rapid.SampledFrom([]string{"\r\n", "\r\n.\r\n", "\r\n.", ".", "..", ".\r\n", "a", "bc", "\x00", "\xff", "\r\n\r\n", strings.Repeat("y", 200)})
	rapid.Check(t, func(t *rapid.T) {
		gen := piece
		if rapid.Bool().Draw(t, "clean") {
			gen = clean
		}
		body := []byte(strings.Join(rapid.SliceOfN(gen, 0, 40).Draw(t, "body"), ""))
		n := rapid.IntRange(1, 17).Draw(t, "cut")
		var f stuffer
		var wire []byte
		var err error
		for rest := body; len(rest) > 0 && err == nil; rest = rest[min(n, len(rest)):] {
			wire, err = f.add(wire, rest[:min(n, len(rest))])
			if bytes.HasSuffix(wire, []byte("\r")) {
				t.Fatalf("a CR left before its LF was seen: %q", wire)
			}
		}
		if err == nil {
			wire, err = f.end(wire)
		}
		stripped := bytes.ReplaceAll(body, []byte("\r\n"), nil)
		if bad := bytes.ContainsAny(stripped, "\r\n"); bad != (err != nil) {
			t.Fatalf("body %q: %v", body, err)
		}
		if noLines := bytes.ReplaceAll(wire, []byte("\r\n"), nil); bytes.ContainsAny(noLines, "\r\n") {
			t.Fatalf("bare CR or LF left: %q", wire)
		}
		if err != nil {
			return
		}
		wire = append(wire, finalDot...)
		got, rest := unstuff(wire)
		if want := body; len(want) > 0 && !bytes.HasSuffix(want, []byte("\r\n")) {
			body = append(bytes.Clone(want), "\r\n"...)
		}
		if !bytes.Equal(got, body) || len(rest) != 0 {
			t.Fatalf("read back %q and %q, want %q", got, rest, body)
		}
	})
}

// unstuff is a reader of messages as plain as it can be: the oracle.
func unstuff(wire []byte) (body, rest []byte) {
	for {
		i := bytes.Index(wire, []byte("\r\n"))
		if i < 0 {
			return body, wire
		}
		line := wire[:i+2]
		wire = wire[i+2:]
		if string(line) == ".\r\n" {
			return body, wire
		}
		body = append(body, bytes.TrimPrefix(line, []byte("."))...)
	}
}

// A whole session: the sink is strict, so any octet out of place fails.
func TestSessionsOnTheWire(t *testing.T) {
	sinks := [2]*sink{startSink(t, &sink{ext: allExt}), startSink(t, &sink{})}
	dialers := newDialer(dialerConfig{Timeouts: patient})
	char := rapid.SampledFrom([]string{"a", "B", "9", ".", "@", "\"", "\\", " ", "<", ">", "\r\n", "\n", "\x00", ",", "ö", "+", "=", ";", "(", ":"})
	text := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(char, 0, 8).Draw(t, "chars"), "") })
	line := rapid.SampledFrom([]string{"hello\r\n", ".\r\n", "..x\r\n", "\r\n", strings.Repeat("z", 990) + "\r\n"})
	rapid.Check(t, func(rt *rapid.T) {
		srv := sinks[rapid.IntRange(0, 1).Draw(rt, "sink")]
		h, err := dialers.Dial(context.Background(), testSource, "out.test", at(srv.addr))
		if err != nil {
			rt.Fatal(err)
		}
		defer h.Close()
		for range rapid.IntRange(1, 3).Draw(rt, "messages") {
			body := strings.Repeat(strings.Join(rapid.SliceOfN(line, 0, 6).Draw(rt, "body"), ""), rapid.SampledFrom([]int{1, 1, 40}).Draw(rt, "times"))
			m := letter(inMemory(body), "good@b.example")
			if rapid.Bool().Draw(rt, "stream") {
				m.Body = &memory{stream: iotest.HalfReader(strings.NewReader(body)), size: int64(len(body))}
			}
			m.EnvID, m.Ret = text.Draw(rt, "envid"), rapid.SampledFrom([]string{"", "FULL", "HDRS", "x\r\n"}).Draw(rt, "ret")
			evil := text.Draw(rt, "local") + "@" + text.Draw(rt, "domain")
			m.Rcpts = append(m.Rcpts, queue.Rcpt{Addr: evil, ORcpt: text.Draw(rt, "orcpt"), Notify: queue.Notify(rapid.IntRange(0, 15).Draw(rt, "notify"))})
			before := len(srv.messages())
			r := h.Send(context.Background(), m, yes)
			if r.Err != nil {
				rt.Fatalf("%v\n%s", r.Err, r.Dialogue)
			}
			got := srv.messages()
			if r.Replies[0].Code == 250 {
				if len(got) != before+1 || string(got[before].body) != body {
					rt.Fatalf("%d messages more; body equal %v", len(got)-before, len(got) > before && string(got[before].body) == body)
				}
			} else if len(got) != before || r.Replies[0].Enhanced != "5.6.7" {
				rt.Fatalf("reply %+v, %d messages more", r.Replies[0], len(got)-before)
			}
		}
	})
}

func TestStreamThatEndsEarlyIsNotDelivered(t *testing.T) {
	for name, body := range map[string]*memory{
		"short":   {stream: strings.NewReader("x\r\n"), size: 500},
		"long":    {stream: strings.NewReader("x\r\ny\r\n"), size: 3},
		"error":   {stream: io.MultiReader(strings.NewReader("x\r\n"), iotest.ErrReader(io.ErrClosedPipe)), size: 3},
		"bare LF": {stream: strings.NewReader("x\ny\r\n"), size: 5},
	} {
		t.Run(name, func(t *testing.T) {
			srv := startSink(t, &sink{ext: allExt})
			s := dialTo(t, dialerConfig{}, srv.addr)
			r := s.Send(context.Background(), letter(body, "a@b.example"), yes)
			if r.DotSent || r.Err == nil || s.Alive() || len(srv.messages()) != 0 {
				t.Fatalf("%+v", r)
			}
			if want := map[bool]string{true: "5.6.0", false: "4.3.0"}[name == "bare LF"]; r.Replies[0].Enhanced != want {
				t.Errorf("reply %+v", r.Replies[0])
			}
		})
	}
}

func TestCommandsOnTheWire(t *testing.T) {
	cases := []struct {
		name string
		m    outbound
		want []string
	}{
		{"null sender", outbound{}, []string{"MAIL FROM:<> SIZE=3", "RCPT TO:<a@b.example>"}},
		{"8bit and utf8", outbound{From: "dörte@a.example", EightBit: true, UTF8: true},
			[]string{"MAIL FROM:<dörte@a.example> SIZE=3 BODY=8BITMIME SMTPUTF8"}},
		{"dsn", outbound{From: "x@a.example", Ret: "HDRS", EnvID: "a+b=c d", Rcpts: []queue.Rcpt{
			{Addr: "a@b.example", Notify: queue.NotifySuccess | queue.NotifyDelay, ORcpt: "rfc822;A+x@b.example"},
			{Addr: "n@b.example", Notify: queue.NotifyNever, ORcpt: "utf-8;ö@b.example"},
			{Addr: "p@b.example", ORcpt: "broken"},
		}}, []string{"MAIL FROM:<x@a.example> SIZE=3 RET=HDRS ENVID=a+2Bb+3Dc+20d",
			"RCPT TO:<a@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;A+2Bx@b.example",
			`RCPT TO:<n@b.example> NOTIFY=NEVER ORCPT=utf-8;\x{F6}@b.example`, "RCPT TO:<p@b.example>"}},
		{"quoting", outbound{From: "a b@a.example", Rcpts: []queue.Rcpt{
			{Addr: `"already quoted"@b.example`}, {Addr: `victim@bank.example> NOTIFY=NEVER x@b.example`}, {Addr: `a"b\c@b.example`}, {Addr: "a..b@[192.0.2.1]"},
		}}, []string{`MAIL FROM:<"a b"@a.example> SIZE=3`, `RCPT TO:<"already quoted"@b.example>`,
			`RCPT TO:<"victim@bank.example> NOTIFY=NEVER x"@b.example>`, `RCPT TO:<"a\"b\\c"@b.example>`, `RCPT TO:<"a..b"@[192.0.2.1]>`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			srv := startSink(t, &sink{ext: allExt})
			s := dialTo(t, dialerConfig{}, srv.addr)
			c.m.Body = inMemory("x\r\n")
			if c.m.Rcpts == nil {
				c.m.Rcpts = []queue.Rcpt{{Addr: "a@b.example"}}
			}
			if r := s.Send(context.Background(), c.m, yes); r.Replies[0].Code != 250 || !r.DSN {
				t.Fatalf("%+v", r)
			}
			for i, want := range c.want {
				if got := srv.said()[i+1]; got != want {
					t.Errorf("said %q, want %q", got, want)
				}
			}
		})
	}
}

func FuzzPath(f *testing.F) {
	f.Add("a@b.example", false)
	f.Add("\"x\\\"@b@c", true)
	f.Add("a\r\nb@c", true)
	f.Fuzz(func(t *testing.T, addr string, intl bool) {
		out, err := appendPath(nil, addr, intl)
		if err != nil {
			return
		}
		if out[0] != '<' || out[len(out)-1] != '>' {
			t.Fatalf("%q", out)
		}
		quoted := false
		for i := 1; i < len(out)-1; i++ {
			switch c := out[i]; {
			case c < ' ' || c == 0x7f || c >= 0x80 && !intl:
				t.Fatalf("octet %#x in %q", c, out)
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case !quoted && (c == '<' || c == '>' || c == ' '):
				t.Fatalf("%q ends early", out)
			}
		}
		if quoted {
			t.Fatalf("open quotes in %q", out)
		}
	})
}
