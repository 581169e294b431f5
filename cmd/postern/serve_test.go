package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A node as a process, found by its configuration file: it gets ready, makes
// its secrets, outlives a hang-up and ends well when told to.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "n.yaml")
	api, free := unusedAddr(t), unusedAddr(t)
	text := fmt.Sprintf("name: n1\nhostname: smtp.relay.test\ndir: state\nbootstrap: true\nsubmission: ['%s']\nsubmission_tls: []\nadmin: %s\nresolvers: ['127.0.0.1:1']\nlog: {format: json}\n", free, api)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	p := exec.Command(self, "serve", "--config", config)
	p.Env = append(os.Environ(), asPostern+"=1")
	p.Stderr = &log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	t.Cleanup(func() { _ = p.Process.Kill() })
	awaitReady(t, api, ended)

	ask := func(want int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		a := newApp(strings.NewReader(""), &out, &errs)
		a.env = func(string) string { return "" }
		if code := a.run(append(args, "--config", config)); code != want {
			t.Fatalf("%v: %d, want %d\n%s%s", args, code, want, &out, &errs)
		}
		return out.String()
	}
	if text := ask(exitDone, "node", "list"); !strings.Contains(text, "n1") {
		t.Errorf("%s", text)
	}
	ask(exitDone, "source", "add", "127.77.1.11", "--node", "n1", "--ehlo", "out-1.relay.test")
	ask(exitDone, "tenant", "add", "acme", "--hostname", "acme.relay.test", "--home", "n1/127.77.1.11")
	if text := ask(exitDone, "tenant", "list", "--json"); !strings.Contains(text, `"owner": "n1"`) {
		t.Errorf("%s", text)
	}
	ask(exitRefused, "tenant", "show", "blue")
	// The ports are taken now, by the node itself.
	if text := ask(exitRefused, "serve", "--check"); !strings.Contains(text, free+" is in use") {
		t.Errorf("%s", text)
	}

	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		if err := p.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("%v\n%s", err, &log)
		}
	case <-time.After(time.Minute):
		t.Fatalf("it goes on\n%s", &log)
	}
	if !strings.Contains(log.String(), `"msg":"node ended"`) {
		t.Errorf("%s", &log)
	}
	for _, name := range []string{"operator.token", "secret.key"} {
		if fi, err := os.Stat(filepath.Join(dir, "state", name)); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, fi, err)
		}
	}
}

// unusedAddr finds a TCP port that stays free while a node is down: below those that
// systems give to outgoing connections, and marked for the test's duration by
// its UDP twin, so that no other test takes it.
func unusedAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))
		mark, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			mark.Close()
			continue
		}
		l.Close()
		t.Cleanup(func() { mark.Close() })
		return addr
	}
	t.Fatal("no free port")
	return ""
}

func awaitReady(t *testing.T, api string, ended <-chan error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		if resp, err := http.Get("http://" + api + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-ended:
			t.Fatalf("the node ended: %v", err)
		case <-tick.C:
		}
	}
	t.Fatal("the node does not get ready")
}
