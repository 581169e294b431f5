package delivery

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// trivial is a host that does as little as it can: it looks for the end of each
// group in what one read gives and answers it in one write.
func trivial(b *testing.B) netip.AddrPort {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.Write([]byte("220 x\r\n"))
				buf, n := make([]byte, 128<<10), 0
				for {
					m, err := c.Read(buf[n:])
					if err != nil {
						return
					}
					n += m
					switch got := buf[:n]; {
					case bytes.HasPrefix(got, []byte("EHLO")):
						c.Write([]byte("250-x\r\n250-PIPELINING\r\n250-SIZE 0\r\n250 8BITMIME\r\n"))
					case bytes.HasPrefix(got, []byte("MAIL")):
						c.Write([]byte("250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"))
					case bytes.HasPrefix(got, []byte("QUIT")):
						return
					case bytes.HasSuffix(got, []byte("\r\n.\r\n")):
						c.Write([]byte("250 2.0.0 Ok: queued as 4ABCDEF\r\n"))
					default:
						continue
					}
					n = 0
				}
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func benchmarkSend(b *testing.B, size int) {
	addr := trivial(b)
	body := inMemory(strings.Repeat("The quick brown fox jumps over the lazy dog, and once more, 0123456789.\r\n", size/73))
	d := newDialer(dialerConfig{})
	b.SetBytes(body.size)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		s, err := d.Dial(context.Background(), testSource, "out-1.relay.test", at(addr))
		if err != nil {
			b.Error(err)
			return
		}
		defer s.Close()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		m := letter(body, "somebody@b.example")
		for pb.Next() {
			if r := s.Send(ctx, m, yes); r.Replies[0].Code != 250 {
				b.Errorf("%+v", r)
				return
			}
		}
	})
}

func BenchmarkSend5KB(b *testing.B)   { benchmarkSend(b, 5<<10) }
func BenchmarkSend100KB(b *testing.B) { benchmarkSend(b, 100<<10) }

func BenchmarkDial(b *testing.B) {
	addr := trivial(b)
	d := newDialer(dialerConfig{})
	b.ReportAllocs()
	for b.Loop() {
		s, err := d.Dial(context.Background(), testSource, "out-1.relay.test", at(addr))
		if err != nil {
			b.Fatal(err)
		}
		s.(*smtpSession).kill()
	}
}

func BenchmarkStuff5KB(b *testing.B) {
	body := []byte(strings.Repeat("The quick brown fox jumps over the lazy dog, and once more, 0123456789.\r\n", 70))
	dst := make([]byte, 0, 8<<10)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		var f stuffer
		if _, err := f.add(dst, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSiteFromCache(b *testing.B) {
	r := newResolver(resolverConfig{})
	r.sites.entries["a.test"] = cached[*site]{value: &site{Hosts: []host{{Name: "mx"}}}, until: time.Now().Add(time.Hour)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Site(context.Background(), "a.test"); err != nil {
			b.Fatal(err)
		}
	}
}
