package delivery

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// errDNS is what no server answered in a usable way; always temporary.
var errDNS = errors.New("no usable answer")

// dnsClient asks recursive resolvers. The answer of the first server that
// gives a final one counts; a server that answered well is asked first next
// time, so that a dead one costs its timeout once and not with each question.
type dnsClient struct {
	servers atomic.Pointer[[]netip.AddrPort]
	timeout time.Duration // for one question to one server
	tries   int           // rounds over all servers
	next    atomic.Uint32 // index of the server to begin with
	dial    net.Dialer
}

func (c *dnsClient) setServers(all []netip.AddrPort) {
	all = slices.Clone(all)
	c.servers.Store(&all)
}

// errGuesses says that many answers came that do not match the question.
var errGuesses = errors.New("answers do not match the question")

const (
	// maxGuesses is how many answers that do not match are waited through
	// before the question goes to TCP, where nobody can guess (RFC 5452 §9.2).
	maxGuesses = 10
	// ednsSize avoids fragments on every path (DNS flag day 2020).
	ednsSize = 1232
	// udpBuffer takes what a server sends in spite of ednsSize.
	udpBuffer = 4096
)

// ask puts one question. from shifts the server to begin with, so that a
// second opinion comes from another server where there is one. It returns only
// NOERROR and NXDOMAIN answers; anything else is an error wrapping errDNS.
func (c *dnsClient) ask(ctx context.Context, name string, qtype uint16, from int) (*dns.Msg, error) {
	servers := *c.servers.Load()
	if len(servers) == 0 {
		return nil, fmt.Errorf("ask %s: no resolver configured: %w", name, errDNS)
	}
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), qtype)
	q.SetEdns0(ednsSize, false)
	first := int(c.next.Load()) + from
	var last error
	for i := range c.tries * len(servers) {
		at := (first + i) % len(servers)
		m, err := c.askServer(ctx, servers[at], q)
		if err == nil {
			if from == 0 && i > 0 {
				c.next.Store(uint32(at))
			}
			return m, nil
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("ask %s %s: %w", name, dns.TypeToString[qtype], last)
}

// askServer asks one server by UDP, and by TCP when the answer was cut or
// somebody is guessing at it.
func (c *dnsClient) askServer(ctx context.Context, server netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	m, err := c.exchange(ctx, "udp", server, q)
	if err == nil && m.Truncated || errors.Is(err, errGuesses) {
		m, err = c.exchange(ctx, "tcp", server, q)
	}
	if err == nil && m.Rcode == dns.RcodeFormatError && q.IsEdns0() != nil {
		// A server that does not know EDNS says FORMERR (RFC 6891 §7).
		plain := q.Copy()
		plain.Extra = nil
		return c.askServer(ctx, server, plain)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("server %s: %w: %w", server, errDNS, err)
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("server %s said %s: %w", server, rcodeName(m.Rcode), errDNS)
	}
	return m, nil
}

func rcodeName(rcode int) string {
	if s, ok := dns.RcodeToString[rcode]; ok {
		return s
	}
	return fmt.Sprintf("RCODE%d", rcode)
}

// exchange sends q under a fresh id from a fresh socket, so that id and port
// are both random, and waits for the answer that matches.
func (c *dnsClient) exchange(ctx context.Context, network string, server netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn, err := c.dial.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	q.Id = dns.Id()
	wire, err := q.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack question: %w", err)
	}
	if network == "tcp" {
		return exchangeTCP(conn, wire, q)
	}
	if _, err := conn.Write(wire); err != nil {
		return nil, err
	}
	buf := make([]byte, udpBuffer)
	for range maxGuesses {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		// What does not match is another's guess or a late answer: keep waiting
		// for the real one, the deadline bounds it.
		if m, err := readAnswer(buf[:n], q); err == nil {
			return m, nil
		}
	}
	return nil, errGuesses
}

func exchangeTCP(conn net.Conn, wire []byte, q *dns.Msg) (*dns.Msg, error) {
	framed := make([]byte, 2, 2+len(wire))
	binary.BigEndian.PutUint16(framed, uint16(len(wire)))
	if _, err := conn.Write(append(framed, wire...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil, err
	}
	return readAnswer(buf, q)
}

// readAnswer unpacks one message and checks that it answers q (RFC 5452 §9.1).
func readAnswer(b []byte, q *dns.Msg) (*dns.Msg, error) {
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		// A cut message may end inside a record; its header still says so.
		if !m.Truncated || m.Id != q.Id || !m.Response {
			return nil, fmt.Errorf("unpack answer: %w", err)
		}
		return m, nil
	}
	switch {
	case m.Id != q.Id || !m.Response || m.Opcode != dns.OpcodeQuery:
		return nil, errors.New("answer to another question")
	case len(m.Question) == 1:
		a, b := m.Question[0], q.Question[0]
		if a.Qtype != b.Qtype || a.Qclass != b.Qclass || !strings.EqualFold(a.Name, b.Name) {
			return nil, errors.New("answer to another question")
		}
	case len(m.Question) != 0 || m.Rcode != dns.RcodeFormatError:
		return nil, errors.New("answer without its question")
	}
	return m, nil
}
