package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// spaces are nodes in network namespaces of their own, joined by a bridge. The
// test and the lab stand on the bridge and reach every node, whatever is cut
// between the nodes.
type spaces struct {
	*place
	t *testing.T
	n int
}

// namespaces makes a place of n namespaces, or skips the test where that cannot
// be done: it takes root, and ip and nft from Debian's iproute2 and nftables.
func namespaces(t *testing.T, n int) *spaces {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("network namespaces need %s (Debian: iproute2, nftables): %v", tool, err)
		}
	}
	s := &spaces{t: t, n: n}
	s.place = &place{net: reserveNet(t), octet: [2]byte{11, 213}} // nobody answers there, and delivery takes it for public
	s.enter = func(node string) []string { return []string{"ip", "netns", "exec", s.space(node)} }
	s.remove() // what a test left that was killed
	t.Cleanup(s.remove)
	if out, err := exec.Command("ip", "netns", "add", s.space("n1")).CombinedOutput(); err != nil {
		t.Skipf("no namespaces here: %v: %s", err, out)
	}
	s.bridge()
	for i := range n {
		s.attach(i)
	}
	return s
}

func (s *spaces) space(node string) string { return fmt.Sprintf("postern-%d-%s", s.net, node) }
func (s *spaces) bridgeName() string       { return fmt.Sprintf("pob%d", s.net) }

// bridge stands for the world: the lab's addresses are on it.
func (s *spaces) bridge() {
	b := s.bridgeName()
	s.run("ip", "link", "add", b, "type", "bridge")
	s.run("ip", "link", "set", b, "up")
	s.run("ip", "addr", "add", s.lab().String()+"/24", "dev", b)
	for last := s.exchanger(); last != s.addr(64); last = last.Next() { // the last one stays dead
		s.run("ip", "addr", "add", last.String()+"/24", "dev", b)
	}
}

// attach gives a node its namespace, its address and its sources.
func (s *spaces) attach(i int) {
	space, veth := s.space(fmt.Sprintf("n%d", i+1)), fmt.Sprintf("pov%dn%d", s.net, i+1)
	if i > 0 {
		s.run("ip", "netns", "add", space)
	}
	// The kernel takes its time to forget the pair of a namespace that has gone.
	add := []string{"ip", "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", space}
	eventually(s.t, time.Minute, "the name "+veth, func() bool { return exec.Command(add[0], add[1:]...).Run() == nil })
	s.run("ip", "link", "set", veth, "master", s.bridgeName())
	s.run("ip", "link", "set", veth, "up")
	s.run("ip", "-n", space, "link", "set", "lo", "up")
	s.run("ip", "-n", space, "addr", "add", s.node(i).String()+"/24", "dev", "eth0")
	for k := range 4 {
		s.run("ip", "-n", space, "addr", "add", s.source(i, k).String()+"/24", "dev", "eth0")
	}
	s.run("ip", "-n", space, "link", "set", "eth0", "up")
	s.nft(i, "add table inet faults; add chain inet faults in { type filter hook input priority 0; }")
}

func (s *spaces) remove() {
	for i := range s.n {
		_ = exec.Command("ip", "netns", "del", s.space(fmt.Sprintf("n%d", i+1))).Run()
	}
	_ = exec.Command("ip", "link", "del", s.bridgeName()).Run()
}

func (s *spaces) run(args ...string) {
	s.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (s *spaces) nft(i int, rules string) {
	s.t.Helper()
	s.run("ip", "netns", "exec", s.space(fmt.Sprintf("n%d", i+1)), "nft", rules)
}

// deaf makes node i drop what comes from node from; other packets pass.
func (s *spaces) deaf(i, from int) {
	s.t.Helper()
	s.nft(i, fmt.Sprintf("add rule inet faults in ip saddr %s drop", s.node(from)))
}

// lossy makes node i drop that share of what comes from the other nodes.
func (s *spaces) lossy(i, percent int) {
	s.t.Helper()
	for from := range s.n {
		if from != i {
			s.nft(i, fmt.Sprintf("add rule inet faults in ip saddr %s numgen random mod 100 < %d drop", s.node(from), percent))
		}
	}
}

// cut separates two nodes in both directions.
func (s *spaces) cut(a, b int) {
	s.t.Helper()
	s.deaf(a, b)
	s.deaf(b, a)
}

// alone separates node i from all others.
func (s *spaces) alone(i int) {
	s.t.Helper()
	for other := range s.n {
		if other != i {
			s.cut(i, other)
		}
	}
}

// heal takes back every rule of every node.
func (s *spaces) heal() {
	s.t.Helper()
	for i := range s.n {
		s.nft(i, "flush chain inet faults in")
	}
}

// TestSpacesCut: the tool itself. What is cut does not pass, the rest does.
func TestSpacesCut(t *testing.T) {
	s := namespaces(t, 2)
	reaches := func(from, to int) bool {
		l := fmt.Sprintf("n%d", from+1)
		// Without a listener the answer is a refusal, at once; without a way there is none.
		out, err := exec.Command("ip", "netns", "exec", s.space(l), "timeout", "1", "bash", "-c",
			fmt.Sprintf("exec 3<>/dev/tcp/%s/9", s.node(to))).CombinedOutput()
		return err == nil || strings.Contains(string(out), "refused")
	}
	fromHere := func(to int) bool {
		c, err := net.Dial("tcp", s.at(to, 9))
		if err == nil {
			_ = c.Close()
		}
		return err == nil || strings.Contains(err.Error(), "refused")
	}
	// A busy machine may not start the asking process within its second.
	open := func(when string) {
		t.Helper()
		eventually(t, patience, "all ways open "+when, func() bool { return reaches(0, 1) && reaches(1, 0) && fromHere(0) && fromHere(1) })
	}
	open("before anything was cut")
	s.deaf(0, 1)
	if reaches(1, 0) || reaches(0, 1) { // one direction is enough to keep TCP from forming
		t.Error("a connection formed although one side is deaf")
	}
	if !fromHere(0) || !fromHere(1) {
		t.Error("the test itself was cut off")
	}
	s.heal()
	open("when healed")
	s.alone(1)
	if reaches(1, 0) || reaches(0, 1) {
		t.Error("a connection formed with a node that is alone")
	}
}
