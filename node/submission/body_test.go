package submission

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"postern/tenant"
)

// scripted is a connection that gives its input in pieces of the given sizes,
// over and over, and drops what is written.
type scripted struct {
	in    []byte
	sizes []byte
	n     int
}

func (s *scripted) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	size := len(s.in)
	if len(s.sizes) > 0 {
		size = int(s.sizes[s.n%len(s.sizes)]) + 1
		s.n++
	}
	n := copy(p, s.in[:min(size, len(s.in))])
	s.in = s.in[n:]
	return n, nil
}

func (s *scripted) Write(p []byte) (int, error)      { return len(p), nil }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (s *scripted) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// readBody takes all of a body off a scripted connection.
func readBody(srv *Server, in, sizes []byte, start func(*body)) (out []byte, left []byte, eight bool, err error) {
	conn := &scripted{in: in, sizes: sizes}
	w := newWire(srv, conn, false)
	b := newBody(w)
	start(b)
	for {
		p, err := b.next()
		if err != nil {
			return out, append(append([]byte{}, w.buf[w.r:w.e]...), conn.in...), b.eight, err
		}
		out = append(out, p...)
	}
}

// reference reads a DATA body octet by octet, as the rules are written.
func reference(in []byte) (out []byte, bad, ended bool, used int) {
	start := true
	for i := 0; i < len(in); {
		if start && in[i] == '.' {
			if bytes.HasPrefix(in[i:], []byte(".\r\n")) {
				return out, bad, true, i + 3
			}
			i++
			start = false
			continue
		}
		switch {
		case bytes.HasPrefix(in[i:], []byte("\r\n")):
			out = append(out, '\r', '\n')
			i += 2
			start = true
			continue
		case in[i] == '\n':
			out = append(out, '\r', '\n')
		case in[i] == '\r' || in[i] == 0:
			bad = true
		default:
			out = append(out, in[i])
		}
		start = false
		i++
	}
	return out, bad, false, len(in)
}

func FuzzData(f *testing.F) {
	srv := bareServer(f)
	for _, m := range smuggles {
		f.Add([]byte("a: b\r\n\r\nouter"+m.seq+"x\r\n.\r\nQUIT\r\n"), []byte{3})
		f.Add([]byte("a: b\r\n\r\nouter\r\n"+m.seq+"x\r\n.\r\nQUIT\r\n"), []byte{0})
	}
	f.Add([]byte("a\r\r\n.\r\nrest"), []byte{0})
	f.Add([]byte(".\r\n"), []byte{})
	f.Add([]byte("..\r\n.x\r\n.\n.\r\n\xc3\xa9.\r\n.\r\n"), []byte{1, 0})
	f.Add(append(bytes.Repeat([]byte("x"), 40_000), "\r\n.\r\n"...), []byte{255})
	f.Add(append(bytes.Repeat([]byte("line of text\r\n"), 8_000), ".\r\n"...), []byte{})
	f.Fuzz(func(t *testing.T, in, sizes []byte) {
		want, bad, ended, used := reference(in)
		got, left, eight, err := readBody(srv, bytes.Clone(in), sizes, func(*body) {})
		var r *reply
		switch {
		case !ended:
			if !errors.Is(err, errGone) {
				t.Fatalf("cut off: %v", err)
			}
		case bad:
			if !errors.As(err, &r) || r.code != 550 {
				t.Fatalf("spoiled: %v", err)
			}
		case err != io.EOF:
			t.Fatalf("good: %v", err)
		case !bytes.Equal(got, want):
			t.Fatalf("got %q, want %q", got, want)
		case eight == ascii(want):
			t.Fatalf("eight %v of %q", eight, want)
		}
		if ended && !bytes.Equal(left, in[used:]) {
			t.Fatalf("left %q, want %q", left, in[used:])
		}
	})
}

// FuzzChunks cuts a message into chunks and the stream into reads.
func FuzzChunks(f *testing.F) {
	srv := bareServer(f)
	for _, m := range smuggles {
		f.Add([]byte("a: b\r\n\r\nouter"+m.seq+"x"), []byte{2, 7}, []byte{5})
	}
	f.Add([]byte("a\r"), []byte{}, []byte{})
	f.Add([]byte{}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, in, chunks, sizes []byte) {
		var stream []byte
		rest, first, size := in, int64(0), 0
		for i := 0; ; i++ {
			last := i >= len(chunks) || int(chunks[i]) >= len(rest)
			size = len(rest)
			if !last {
				size = int(chunks[i])
			}
			if i == 0 {
				first = int64(size)
			} else if last {
				stream = fmt.Appendf(stream, "BDAT %d LAST\r\n", size)
			} else {
				stream = fmt.Appendf(stream, "BDAT %d\r\n", size)
			}
			stream = append(stream, rest[:size]...)
			rest = rest[size:]
			if last {
				break
			}
		}
		only := first == int64(len(in)) && (len(chunks) == 0 || int(chunks[0]) >= len(in))
		got, left, _, err := readBody(srv, append(stream, "QUIT\r\n"...), sizes, func(b *body) { b.chunk(first, only) })
		want, bad := referenceChunks(in)
		var r *reply
		switch {
		case bad:
			if !errors.As(err, &r) || r.code != 550 {
				t.Fatalf("spoiled: %v", err)
			}
		case err != io.EOF:
			t.Fatalf("good: %v", err)
		case !bytes.Equal(got, want):
			t.Fatalf("got %q, want %q", got, want)
		case string(left) != "QUIT\r\n":
			t.Fatalf("left %q", left)
		}
	})
}

// referenceChunks is the message that chunks hold: dots are only dots.
func referenceChunks(in []byte) (out []byte, bad bool) {
	for i := 0; i < len(in); i++ {
		switch {
		case bytes.HasPrefix(in[i:], []byte("\r\n")):
			out = append(out, '\r', '\n')
			i++
		case in[i] == '\n':
			out = append(out, '\r', '\n')
		case in[i] == '\r' || in[i] == 0:
			bad = true
		default:
			out = append(out, in[i])
		}
	}
	if len(out) > 0 && !bytes.HasSuffix(out, crlf) {
		out = append(out, '\r', '\n')
	}
	return out, bad
}

// bareServer is a server that does not run.
func bareServer(t testing.TB) *Server {
	t.Helper()
	r := &rig{t: t, node: tNode, quota: &testQuota{}, pass: map[string]string{}}
	r.lead = r
	r.world()
	cfg, err := Config{Hostname: "in-1.relay.test", State: r.current, Node: func() tenant.NodeID { return tNode }, Quota: r.quota, MayAnswer: answerAlways}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	srv, err := newServer(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

func BenchmarkBody(b *testing.B) {
	srv := bareServer(b)
	in := append(bytes.Repeat([]byte("A line of text as long as mail programs like to make them, 72 octets.\r\n"), 1400), ".\r\n"...)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		w := newWire(srv, &scripted{in: in}, false)
		body := newBody(w)
		for {
			if _, err := body.next(); err != nil {
				break
			}
		}
		w.shrink()
	}
}
