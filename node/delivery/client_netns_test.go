package delivery

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// inNamespace runs the named test again in a network namespace of its own and
// reports whether this is that run.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "POSTERN_TEST_NAMESPACE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	for _, tool := range []string{"unshare", "ip", "sysctl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	if out, err := exec.Command("unshare", "-n", "true").CombinedOutput(); err != nil {
		t.Skipf("network namespaces are not allowed here: %s", out)
	}
	cmd := exec.Command("unshare", "-n", "-m", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("in the namespace: %v\n%s", err, out)
	}
	return false
}

func run(t *testing.T, line string) {
	t.Helper()
	words := strings.Fields(line)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// A machine with three outbound addresses, one of them the default: mail leaves
// from the one that was asked for, and from none once that one is gone.
func TestSourceInANamespace(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, line := range []string{
		"ip link set lo up",
		"ip addr add 192.0.2.1/24 dev lo", "ip addr add 192.0.2.11/24 dev lo", "ip addr add 192.0.2.12/24 dev lo",
		"ip -6 addr add 2001:db8::11/64 dev lo nodad",
		"ip addr add 198.51.100.25/32 dev lo", "ip -6 addr add 2001:db8:1::25/128 dev lo nodad",
	} {
		run(t, line)
	}
	from := make(chan netip.Addr, 10)
	var mx host
	for _, listen := range []string{"198.51.100.25:2525", "[2001:db8:1::25]:2525"} {
		ln, err := net.Listen("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		mx.Addrs = append(mx.Addrs, netip.MustParseAddrPort(listen).Addr())
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				from <- c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
				c.Write([]byte("220 x\r\n250 x\r\n"))
				defer c.Close()
			}
		}()
	}
	mx.Name, mx.Port = "mx.test", 2525
	d := newDialer(dialerConfig{Timeouts: patient})
	dial := func(src string) error {
		s, err := d.Dial(context.Background(), netip.MustParseAddr(src), "out.test", mx)
		if err == nil {
			s.Close()
		}
		return err
	}
	for _, src := range []string{"192.0.2.11", "192.0.2.12", "2001:db8::11"} {
		if err := dial(src); err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		if got := <-from; got.String() != src {
			t.Errorf("%s: arrived from %s", src, got)
		}
	}

	gone := func(src string) {
		t.Helper()
		he, ok := errors.AsType[*hostError](dial(src))
		if !ok || !he.Ours || he.Reply.Code != 0 {
			t.Errorf("%s is gone: %+v", src, he)
		}
		select {
		case got := <-from:
			t.Errorf("%s is gone, but a connection came from %s", src, got)
		default:
		}
	}
	run(t, "ip addr del 192.0.2.12/24 dev lo")
	gone("192.0.2.12")
	// The kernel can be told to bind what is not here: the trap.
	run(t, "sysctl -qw net.ipv4.ip_nonlocal_bind=1 net.ipv6.ip_nonlocal_bind=1")
	if ln, err := net.Listen("tcp", "192.0.2.12:0"); err != nil {
		t.Fatalf("the trap is not set: %v", err)
	} else {
		ln.Close()
	}
	gone("192.0.2.12")
	gone("2001:db8::12")
	if err := dial("192.0.2.11"); err != nil {
		t.Errorf("the remaining source: %v", err)
	} else if got := <-from; got.String() != "192.0.2.11" {
		t.Errorf("arrived from %s", got)
	}
}
