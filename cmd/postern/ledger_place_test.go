package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// place is where the machines of a rig are: addresses on loopback, or
// namespaces. A place is nobody else's, so the ports on it are always the same
// and free again when a node comes back.
type place struct {
	net   byte // third octet of everything, reserved
	octet [2]byte
	// enter is what to put before a command that is to run on a node.
	enter func(node string) []string
	// advertise is what other nodes dial, when it is not the peer port itself.
	advertise map[string]string
}

// Ports of every node.
const (
	portSubmission    = 2525
	portSubmission2   = 5870
	portSubmissionTLS = 4650
	portAdmin         = 8470
	portMetrics       = 8471
	portPeer          = 8472
	portGossip        = 8473
)

// loopback is a place on addresses of 127.96.X.0/24 of this machine.
func loopback(t *testing.T) *place {
	t.Helper()
	return &place{net: reserveNet(t), octet: [2]byte{127, 96}, enter: func(string) []string { return nil }}
}

// reserveNet takes one of 250 networks for as long as the test lives. Where
// locks cannot be had, the process id chooses.
func reserveNet(t *testing.T) byte {
	t.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("postern-test-nets.%d", os.Getuid()))
	if os.MkdirAll(dir, 0o700) != nil {
		return byte(1 + os.Getpid()%250)
	}
	for x := byte(1); x <= 250; x++ {
		f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(int(x))), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			t.Cleanup(func() { _ = f.Close() })
			return x
		}
		_ = f.Close()
	}
	t.Fatal("all networks of tests are taken")
	return 0
}

func (p *place) addr(last byte) netip.Addr {
	return netip.AddrFrom4([4]byte{p.octet[0], p.octet[1], p.net, last})
}

// The last octets of a place: 1 the lab, 11 to 13 the nodes, 50 to 64 the
// exchangers, 110 to 139 the sources.
func (p *place) lab() netip.Addr       { return p.addr(1) }
func (p *place) exchanger() netip.Addr { return p.addr(50) }
func (p *place) node(i int) netip.Addr { return p.addr(byte(11 + i)) }
func (p *place) source(i, k int) netip.Addr {
	return p.addr(byte(110 + 10*i + k))
}

func (p *place) at(i int, port int) string {
	return net.JoinHostPort(p.node(i).String(), strconv.Itoa(port))
}
