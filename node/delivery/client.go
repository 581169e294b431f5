package delivery

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"postern/node/queue"
)

// timeouts of one session (RFC 5321 §4.5.3.2, in places stricter). Tests
// shrink them.
type timeouts struct {
	Connect time.Duration // to one address
	Greet   time.Duration // banner
	Command time.Duration // EHLO, MAIL, RCPT: one reply
	TLS     time.Duration // the handshake
	Data    time.Duration // the reply to DATA
	Block   time.Duration // writing one block, rolling
	Dot     time.Duration // the reply to the final dot
	Quit    time.Duration
	Open    time.Duration // cap of one Dial over all addresses
	Total   time.Duration // cap of one transaction
}

func (t timeouts) withDefaults() timeouts {
	return timeouts{
		Connect: cmp.Or(t.Connect, 30*time.Second),
		Greet:   cmp.Or(t.Greet, 5*time.Minute),
		Command: cmp.Or(t.Command, 5*time.Minute),
		TLS:     cmp.Or(t.TLS, time.Minute),
		Data:    cmp.Or(t.Data, 2*time.Minute),
		Block:   cmp.Or(t.Block, 3*time.Minute),
		Dot:     cmp.Or(t.Dot, 10*time.Minute),
		Quit:    cmp.Or(t.Quit, time.Second),
		Open:    cmp.Or(t.Open, 10*time.Minute),
		Total:   cmp.Or(t.Total, time.Hour),
	}
}

// dialerConfig of an smtpDialer. Zero values mean the default in brackets.
type dialerConfig struct {
	Timeouts timeouts
	// Policy says what a host must offer [opportunistic for all].
	Policy func(h host) tlsPolicy
	// Present says whether an address is on this machine [asks the kernel].
	Present func(netip.Addr) (bool, error)
}

// smtpDialer opens SMTP sessions from our sources.
type smtpDialer struct {
	cfg     dialerConfig
	tickets tls.ClientSessionCache
	bufs    sync.Pool // *[]byte of smallBody capacity, for stuffed bodies
	blocks  sync.Pool // *blocks
}

var _ dialer = (*smtpDialer)(nil)

func newDialer(cfg dialerConfig) *smtpDialer {
	cfg.Timeouts = cfg.Timeouts.withDefaults()
	if cfg.Policy == nil {
		cfg.Policy = func(host) tlsPolicy { return tlsMay }
	}
	if cfg.Present == nil {
		cfg.Present = onThisMachine
	}
	return &smtpDialer{
		cfg:     cfg,
		tickets: tls.NewLRUClientSessionCache(512),
		bufs:    sync.Pool{New: func() any { b := make([]byte, 0, smallBody+smallBody/8); return &b }},
		blocks: sync.Pool{New: func() any {
			return &blocks{make([]byte, blockSize), make([]byte, 0, blockSize+blockSize/8)}
		}},
	}
}

// Dial opens a session from src to the first address of h that greets us.
func (d *smtpDialer) Dial(ctx context.Context, src netip.Addr, ehlo string, h host) (session, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeouts.Open)
	defer cancel()
	src = src.Unmap()
	o := opening{d: d, src: src, ehlo: ehlo, host: h, policy: d.cfg.Policy(h)}
	o.talk.reset(time.Now())
	if err := d.checkSource(src, ehlo); err != nil {
		return nil, o.fault(stageConnect, "4.3.5", "source address is not usable on this machine", err, true)
	}
	var last *hostError
	for _, a := range h.Addrs {
		if a = a.Unmap(); a.Is4() != src.Is4() {
			continue
		}
		s, err := o.open(ctx, netip.AddrPortFrom(a, h.Port))
		if err == nil {
			return s, nil
		}
		last = err
		// A refusal for good, or a fault of ours, is the same at the next address.
		if err.Ours || err.Reply.Code >= 500 || ctx.Err() != nil {
			break
		}
	}
	if last == nil {
		return nil, o.fault(stageConnect, "4.4.4", "host has no address of the source's kind (IPv4 or IPv6)", nil, false)
	}
	return nil, last
}

// checkSource makes sure that binding src means leaving by src. With
// ip_nonlocal_bind the kernel would let us bind an address that is elsewhere.
func (d *smtpDialer) checkSource(src netip.Addr, ehlo string) error {
	if !src.IsValid() || src.IsUnspecified() {
		return errors.New("source has no address")
	}
	if !validWord(ehlo) {
		return fmt.Errorf("EHLO name %q is not valid", ehlo)
	}
	ok, err := d.cfg.Present(src)
	if err != nil {
		return fmt.Errorf("list addresses of this machine: %w", err)
	}
	if !ok {
		return fmt.Errorf("address %s is not on this machine", src)
	}
	return nil
}

// onThisMachine asks the kernel each time: an address may go at any moment.
// 127.0.0.0/8 belongs to the machine as a whole and cannot leave it.
func onThisMachine(src netip.Addr) (bool, error) {
	if src.Is4() && src.IsLoopback() {
		return true, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == src.WithZone("") {
				return true, nil
			}
		}
	}
	return false, nil
}

// connect opens one TCP connection bound to src.
func (d *smtpDialer) connect(ctx context.Context, src netip.Addr, to netip.AddrPort) (net.Conn, error) {
	nd := net.Dialer{
		Timeout:   d.cfg.Timeouts.Connect,
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(src, 0)),
		Control:   bindWithoutPort,
	}
	conn, err := nd.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	if local, ok := conn.LocalAddr().(*net.TCPAddr); !ok || local.AddrPort().Addr().Unmap() != src {
		conn.Close()
		return nil, fmt.Errorf("connection would leave from %s: %w", conn.LocalAddr(), syscall.EADDRNOTAVAIL)
	}
	return conn, nil
}

// bindWithoutPort lets the kernel choose the port at connect, so that one
// source can have more than 28,000 connections to different hosts.
func bindWithoutPort(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); e != nil {
		return e
	}
	return err
}

// ourFault reports errors that say something about this machine, not about the
// host: they must never bounce a message.
func ourFault(err error) bool {
	for _, e := range [...]error{
		syscall.EADDRNOTAVAIL, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.EPERM, syscall.EACCES, context.Canceled,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// describe puts an I/O error into words for the sender of a message.
func describe(err error) string {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed by the other side"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset by the other side"
	case errors.Is(err, context.Canceled):
		return "attempt cancelled"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return "timed out"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to the host"
	case errors.Is(err, errReplySize), errors.Is(err, errReplySyntax):
		return err.Error()
	}
	if timedOut(err) {
		return "timed out"
	}
	return "connection failed"
}

func timedOut(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// diagnosis is our own word where the other side said none.
func diagnosis(enhanced, text string) queue.Reply { return queue.Reply{Enhanced: enhanced, Text: text} }
