package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"postern/node/lab"
)

// node: from here on the script asks a real node, a process, which asks a
// pretend Internet: that has sources 127.77.1.11 and .12 as out-1 and out-2, and
// the domain shop.test, which lets both send.
func realNode(ts *testscript.TestScript, _ bool, _ []string) {
	w := lab.World{Names: map[string]lab.Name{}}
	for i := range byte(2) {
		w.AddSource(netip.AddrFrom4([4]byte{127, 77, 1, 11 + i}), fmt.Sprintf("out-%d.relay.test", i+1))
	}
	w.AddSender("shop.test", "mx.shop.test", netip.MustParsePrefix("127.77.1.8/29"))
	world, err := lab.New(lab.Config{World: w})
	ts.Check(err)
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- world.Run(ctx) }()
	ts.Defer(func() {
		end()
		<-done
	})
	ts.Setenv("LAB", world.API())

	ports := make([]string, 2)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ports[i] = l.Addr().String()
		defer l.Close()
		ts.Check(l.Close())
	}
	config := ts.MkAbs("node.yaml")
	ts.Check(os.WriteFile(config, fmt.Appendf(nil, "name: n1\nhostname: smtp.relay.test\ndir: state\nbootstrap: true\nsubmission: ['%s']\nsubmission_tls: []\nadmin: %s\nresolvers: ['%s']\n",
		ports[0], ports[1], world.DNS()), 0o600))
	self, err := os.Executable()
	ts.Check(err)
	var log bytes.Buffer
	p := exec.Command(self, "serve", "--config", config)
	p.Env, p.Stderr = append(os.Environ(), asPostern+"=1"), &log
	ts.Check(p.Start())
	ended := make(chan struct{})
	go func() { _ = p.Wait(); close(ended) }()
	ts.Defer(func() {
		_ = p.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = p.Process.Kill()
			<-ended
		}
	})
	ts.Setenv("POSTERN_API", "http://"+ports[1])
	ts.Setenv("POSTERN_TOKEN_FILE", ts.MkAbs("state/operator.token"))
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if r, err := http.Get("http://" + ports[1] + "/readyz"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ended:
			ts.Fatalf("the node ended:\n%s", &log)
		default:
		}
	}
	ts.Fatalf("the node does not get ready")
}

// dns NAME RECORD...: what the pretend Internet says of a name; a single word is
// an rcode.
func setDNS(ts *testscript.TestScript, _ bool, args []string) {
	n := lab.Name{Records: args[1:]}
	if len(args) == 2 && !strings.Contains(args[1], " ") {
		n = lab.Name{RCode: args[1]}
	}
	body, err := json.Marshal(map[string]lab.Name{args[0]: n})
	ts.Check(err)
	r, err := http.NewRequest(http.MethodPut, "http://"+ts.Getenv("LAB")+"/dns", bytes.NewReader(body))
	ts.Check(err)
	answer, err := (&http.Client{Timeout: 10 * time.Second}).Do(r)
	ts.Check(err)
	answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		ts.Fatalf("set %s: %s", args[0], answer.Status)
	}
}

// zonehas RECORD...: what was last written is a zone file that has these.
func zoneHas(ts *testscript.TestScript, _ bool, args []string) {
	var all []string
	z := dns.NewZoneParser(strings.NewReader(ts.ReadFile("stdout")), "", "")
	z.SetDefaultTTL(60)
	for rr, ok := z.Next(); ok; rr, ok = z.Next() {
		all = append(all, strings.Join(strings.Fields(rr.String()), " "))
	}
	ts.Check(z.Err())
	for _, want := range args {
		if !slices.Contains(all, want) {
			ts.Fatalf("%q is not in\n%s", want, strings.Join(all, "\n"))
		}
	}
}

func TestTXTStrings(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "v=spf1 -all": `"v=spf1 -all"`, `a"b\c`: `"a\"b\\c"`, "\x00é": `"\000\195\169"`,
		strings.Repeat("x", 300): `"` + strings.Repeat("x", 255) + `" "` + strings.Repeat("x", 45) + `"`,
	} {
		if got := txtStrings(text); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}
