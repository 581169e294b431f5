package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/node/admin"
)

// machine is one node's configuration, and its process while it runs.
type machine struct {
	t            *testing.T
	name, config string
	api          string
	p            *exec.Cmd
	ended        chan error
	log          *bytes.Buffer
}

func newMachine(t *testing.T, name string) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{t: t, name: name, config: filepath.Join(dir, "n.yaml"), api: unusedAddr(t)}
	peer := unusedAddr(t)
	text := fmt.Sprintf("name: %s\nhostname: smtp.relay.test\ndir: state\npeer: {listen: '%s', advertise: '%s'}\n"+
		"submission: ['%s']\nsubmission_tls: []\nadmin: %s\nresolvers: ['127.0.0.1:1']\n", name, peer, peer, unusedAddr(t), m.api)
	if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	return m
}

func (m *machine) start() {
	m.t.Helper()
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	m.log, m.ended = &bytes.Buffer{}, make(chan error, 1)
	m.p = exec.Command(self, "serve", "--config", m.config)
	m.p.Env = append(os.Environ(), asPostern+"=1")
	m.p.Stderr = m.log
	if err := m.p.Start(); err != nil {
		m.t.Fatal(err)
	}
	p, ended := m.p, m.ended
	go func() {
		ended <- p.Wait()
		close(ended) // who asks later learns that it is gone
	}()
}

// stop ends the process as an operator would, and is safe to repeat.
func (m *machine) stop() {
	if m.p == nil {
		return
	}
	_ = m.p.Process.Signal(syscall.SIGTERM)
	select {
	case <-m.ended:
	case <-time.After(time.Minute):
		_ = m.p.Process.Kill()
		<-m.ended
		m.t.Errorf("node %s did not end when told to", m.name)
	}
	m.p = nil
	if m.t.Failed() {
		m.t.Logf("node %s: %s", m.name, lastLines(m.log.String(), 15))
	}
}

func lastLines(text string, n int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}

// ask runs a verb with the machine's configuration.
func (m *machine) ask(want int, args ...string) string {
	m.t.Helper()
	var out, errs bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &errs)
	a.env = func(string) string { return "" }
	if code := a.run(append(args, "--config", m.config)); code != want {
		m.t.Fatalf("%s: %v: %d, want %d\n%s%s", m.name, args, code, want, &out, &errs)
	}
	return out.String() + errs.String()
}

// token asks for a join token in JSON and gives it.
func (m *machine) token(args ...string) string {
	m.t.Helper()
	var v struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(m.ask(exitDone, append(args, "--json")...)), &v); err != nil || v.Token == "" {
		m.t.Fatalf("no token: %v", err)
	}
	return v.Token
}

func (m *machine) awaitNodes(what string, ok func([]admin.Node) bool) {
	m.t.Helper()
	eventually(m.t, patience, what, func() bool {
		var out, errs bytes.Buffer
		a := newApp(strings.NewReader(""), &out, &errs)
		a.env = func(string) string { return "" }
		if a.run([]string{"node", "list", "--json", "--config", m.config}) != exitDone {
			return false
		}
		var page admin.Page[admin.Node]
		return json.Unmarshal(out.Bytes(), &page) == nil && ok(page.Items)
	})
}

// all says whether there are so many nodes, all up and deciding.
func all(n int) func([]admin.Node) bool {
	return func(nodes []admin.Node) bool {
		for _, x := range nodes {
			if x.State != "up" || (x.Role != "voter" && x.Role != "leader") {
				return false
			}
		}
		return len(nodes) == n
	}
}

// The verbs of a cluster's life, on real processes: init, join, backup, the loss
// of the majority, recover, join again, restore.
func TestFormingAndRecovering(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes")
	}
	n1, n2, n3 := newMachine(t, "n1"), newMachine(t, "n2"), newMachine(t, "n3")
	first := n1.token("init")
	n1.start()
	awaitReady(t, n1.api, n1.ended)
	n1.ask(exitRefused, "init")
	n1.ask(exitRefused, "recover", "--look") // it runs

	n2.ask(exitDone, "join", "--token", first)
	n2.start()
	awaitReady(t, n2.api, n2.ended)
	bound := n2.token("node", "token", "--node", "n3") // any node makes one
	n2.ask(exitRefused, "join", "--token", bound)      // it runs
	n3.ask(exitDone, "join", "--token", bound)
	n3.ask(exitRefused, "join", "--token", bound) // once is enough
	n3.start()
	awaitReady(t, n3.api, n3.ended)
	n3.awaitNodes("three voters", all(3))

	// A token that was taken back at one node opens no other.
	taken := n2.token("node", "token")
	n3.ask(exitDone, "node", "tokens", "--revoke-all")
	n4 := newMachine(t, "n4")
	if text := n4.ask(exitRefused, "join", "--token", taken); !strings.Contains(text, "token is not known") {
		t.Errorf("%s", text)
	}
	n3.awaitNodes("three nodes still", all(3))

	// What one node is told, another one knows.
	n1.ask(exitDone, "source", "add", "127.77.1.12", "--node", "n1", "--ehlo", "out-1.relay.test", "--shared")
	n2.ask(exitDone, "source", "add", "127.77.2.12", "--node", "n2", "--ehlo", "out-2.relay.test", "--shared")
	n3.ask(exitDone, "tenant", "add", "acme", "--hostname", "acme.relay.test", "--home", "n1", "--backup", "n2")
	eventually(t, patience, "tenant at n2", func() bool { return strings.Contains(n2.ask(exitDone, "tenant", "list"), "acme") })
	eventually(t, patience, "armed backup", func() bool {
		return strings.Contains(n2.ask(exitDone, "tenant", "show", "acme"), "armed        yes")
	})
	n3.ask(exitDone, "tenant", "move", "acme", "--to", "n2")
	eventually(t, patience, "handover", func() bool {
		return strings.Contains(n1.ask(exitDone, "tenant", "show", "acme"), "owner        n2,")
	})
	file := filepath.Join(t.TempDir(), "state.backup")
	n2.ask(exitDone, "backup", file)

	// The majority is lost for good; the third goes on.
	n1.stop()
	n3.stop()
	n2.stop()
	if text := n2.ask(exitDone, "recover", "--look", "--json"); !strings.Contains(text, `"tenants": 1`) {
		t.Errorf("%s", text)
	}
	n2.ask(exitDone, "recover", "--yes")
	n2.start()
	awaitReady(t, n2.api, n2.ended)
	again := n2.token("node", "token")
	n1.ask(exitRefused, "join", "--token", again) // it has a state
	n1.ask(exitDone, "join", "--token", again, "--again")
	n1.start()
	awaitReady(t, n1.api, n1.ended)
	n3.ask(exitDone, "join", "--token", again, "--again")
	n3.start()
	awaitReady(t, n3.api, n3.ended)
	n1.awaitNodes("three voters again", all(3))
	eventually(t, patience, "tenant that sends again", func() bool {
		return strings.Contains(n3.ask(exitDone, "tenant", "list"), "acme    sending")
	})

	// And the same from the file.
	for _, m := range []*machine{n3, n1, n2} {
		m.stop()
	}
	n1.ask(exitRefused, "restore", n1.config, "--yes") // it is no backup
	n1.ask(exitDone, "restore", file, "--yes")
	n1.start()
	awaitReady(t, n1.api, n1.ended)
	if text := n1.ask(exitDone, "tenant", "list"); !strings.Contains(text, "acme") {
		t.Errorf("%s", text)
	}
}
