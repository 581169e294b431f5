package submission

import (
	"net"
	"net/netip"
	"syscall"
)

// talksEarly says whether a client has sent something before our greeting, as
// programs do that do not listen to replies. It looks once and does not wait.
func talksEarly(c net.Conn) bool {
	if b, ok := c.(*introduced); ok {
		if b.head != nil && b.head.Buffered() > 0 {
			return true
		}
		c = b.Conn
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	early := false
	_ = rc.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		early = err == nil && n > 0
	})
	return early
}

// addrOf is the client's address; invalid for what is not IP.
func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// networkOf is what one client is counted by: an IPv4 address, or the /64 of an
// IPv6 one, of which a client has as many addresses as it likes. Loopback is
// not counted: the zero address.
func networkOf(a netip.Addr) netip.Addr {
	switch {
	case !a.IsValid() || a.IsLoopback():
		return netip.Addr{}
	case a.Is4():
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}
