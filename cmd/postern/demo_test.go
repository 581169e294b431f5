package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postern/node/admin"
)

// eventually polls until ok or the deadline, and fails the test then.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: no %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// demoRun is a demo as a process.
type demoRun struct {
	t   *testing.T
	cmd *exec.Cmd
	dir string

	mu    sync.Mutex // guards lines
	lines []string
	ended chan struct{}
	err   error
}

func startDemo(t *testing.T, dir string, args ...string) *demoRun {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &demoRun{t: t, dir: dir, ended: make(chan struct{})}
	r.cmd = exec.Command(exe, append([]string{"demo", "--dir", dir}, args...)...)
	r.cmd.Env = append(os.Environ(), asPostern+"=1")
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd.Stderr = r.cmd.Stdout
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			r.mu.Lock()
			r.lines = append(r.lines, sc.Text())
			r.mu.Unlock()
		}
		r.err = r.cmd.Wait()
	}()
	t.Cleanup(func() {
		r.end()
		if t.Failed() {
			t.Logf("the demo said:\n%s", r.said())
		}
	})
	return r
}

func (r *demoRun) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

// end tells the demo to end and waits for it.
func (r *demoRun) end() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.ended:
	case <-time.After(time.Minute):
		_ = r.cmd.Process.Kill()
		<-r.ended
		r.t.Error("the demo did not end when told to")
	}
}

func (r *demoRun) waitLine(within time.Duration, part string) {
	r.t.Helper()
	eventually(r.t, within, fmt.Sprintf("line with %q", part), func() bool { return strings.Contains(r.said(), part) })
}

func (r *demoRun) json() (j demoJSON, err error) {
	b, err := os.ReadFile(filepath.Join(r.dir, "demo.json"))
	if err != nil {
		return j, err
	}
	return j, json.Unmarshal(b, &j)
}

// waitJSON waits for a demo.json that ok likes.
func (r *demoRun) waitJSON(what string, ok func(demoJSON) bool) demoJSON {
	r.t.Helper()
	var j demoJSON
	eventually(r.t, time.Minute, "demo.json with "+what, func() bool {
		select {
		case <-r.ended:
			r.t.Fatalf("the demo ended: %v", r.err)
		default:
		}
		var err error
		j, err = r.json()
		return err == nil && ok(j)
	})
	return j
}

// send submits one message with the standard library's client.
func (r *demoRun) send(addr, user, password, to string) error {
	pem, err := os.ReadFile(filepath.Join(r.dir, "ca.pem"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}); err != nil {
		return err
	}
	if err := c.Auth(smtp.PlainAuth("", user, password, "127.0.0.1")); err != nil {
		return err
	}
	if err := c.Mail(user); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "From: <%s>\r\nTo: <%s>\r\nSubject: hello\r\n\r\nHello!\r\n", user, to)
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// sendSoon is send to a node that may still be starting.
func (r *demoRun) sendSoon(addr, user, password, to string) {
	r.t.Helper()
	eventually(r.t, time.Minute, "250 to "+to, func() bool { return r.send(addr, user, password, to) == nil })
}

// owned says that the demo has asked the node where its tenants are; a busy one
// may answer late.
func owned(j demoJSON) bool {
	return !slices.ContainsFunc(j.Tenants, func(t demoJSONTenant) bool { return t.Owner == "" })
}

func TestDemo(t *testing.T) {
	dir := t.TempDir()
	start := time.Now()
	r := startDemo(t, dir, "--nodes", "1", "--traffic", "5")
	j := r.waitJSON("tenants", func(j demoJSON) bool { return len(j.Tenants) == 6 && owned(j) })
	t.Logf("from start to demo.json: %v", time.Since(start).Round(time.Millisecond))
	n, first, small := j.Nodes[0], j.Tenants[0], j.Tenants[5]
	if n.PID == nil || first.Source != "127.77.1.11" || first.Owner != "n1" || j.OperatorToken == "" || j.Console != nil {
		t.Errorf("demo.json = %+v", j)
	}
	r.waitLine(time.Minute, "Ctrl-C ends the demo.")
	for _, line := range strings.Split(r.said(), "\n") {
		if len(line) > 80 && !strings.Contains(line, dir) {
			t.Errorf("a line of %d columns: %s", len(line), line)
		}
	}

	step := func(name string, do func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			whole := r.t
			r.t = t // waits fail the step they are in
			defer func() { r.t = whole }()
			do(t)
		})
	}
	step("first message", func(t *testing.T) {
		if err := r.send(n.Submission[0], first.Username, first.Password, "you@inbox.test"); err != nil {
			t.Fatal(err)
		}
		sent := time.Now()
		r.waitLine(time.Minute, "you@inbox.test: delivered from 127.77.1.11, EHLO out-1.relay.test, ")
		t.Logf("told after %v", time.Since(sent).Round(time.Millisecond))
	})
	step("intake", func(t *testing.T) {
		c, err := smtp.Dial(n.Intake)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Mail("x@far.test"); err != nil {
			t.Fatal(err)
		}
		if err := c.Rcpt("victim@inbox.test"); err == nil || !strings.Contains(err.Error(), "Relaying denied") {
			t.Errorf("a stranger's recipient: %v", err)
		}
		if err := c.Rcpt("abuse@smtp.relay.test"); err != nil {
			t.Errorf("abuse@: %v", err)
		}
	})
	step("greylisted", func(t *testing.T) {
		if err := r.send(n.Submission[1], first.Username, first.Password, "you@grey.test"); err != nil {
			t.Fatal(err)
		}
		r.waitLine(time.Minute, "you@grey.test: not yet: 451 4.7.1 Greylisted, please come again; next try in ")
	})
	step("bounced", func(t *testing.T) {
		if err := r.send(n.Submission[1], first.Username, first.Password, "you@nobody.test"); err != nil {
			t.Fatal(err)
		}
		r.waitLine(time.Minute, "you@nobody.test: bounced: 550 5.1.1 No such user here")
	})
	step("wrong password", func(t *testing.T) {
		err := r.send(n.Submission[0], first.Username, "not it", "you@inbox.test")
		if err == nil || !strings.HasPrefix(err.Error(), "535 ") {
			t.Errorf("got %v, want 535", err)
		}
	})
	step("small plan", func(t *testing.T) {
		var err error
		sent := 0
		for ; err == nil && sent < 20; sent++ {
			err = r.send(n.Submission[0], small.Username, small.Password, "you@inbox.test")
		}
		if err == nil || sent != 11 {
			t.Errorf("refused at message %d: %v; the plan has 10", sent, err)
		}
	})
	step("killed and started again", func(t *testing.T) { again(t, r, j) })
}

// again kills the node, ends the demo, and starts it anew in its directory.
func again(t *testing.T, r *demoRun, was demoJSON) {
	if err := syscall.Kill(*was.Nodes[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.waitLine(time.Minute, "signal: killed")
	r.waitLine(time.Minute, "To start it again")
	r.waitJSON("no pid", func(j demoJSON) bool { return j.Nodes[0].PID == nil })
	r.end()
	if r.err != nil {
		t.Errorf("the demo ended with %v", r.err)
	}
	if !strings.Contains(r.said(), "lost 0") {
		t.Error("no last footer, or something was lost")
	}

	r = startDemo(t, r.dir, "--traffic", "0", "--restart", "200ms", "--relay-from", "127.0.0.9/32", "--route", "routed.test=127.78.0.10:"+portOf(was.Lab.MX))
	old := *was.Nodes[0].PID
	j := r.waitJSON("another pid", func(j demoJSON) bool { return j.Nodes[0].PID != nil && *j.Nodes[0].PID != old && owned(j) })
	a, b := j, was
	a.Nodes[0].PID, b.Nodes[0].PID = nil, nil
	for i := range a.Tenants { // what a pool leaves by is only known after a delivery
		a.Tenants[i].Source, b.Tenants[i].Source = "", ""
	}
	if x, y := asText(t, a), asText(t, b); !bytes.Equal(x, y) {
		t.Errorf("resumed as %s, was %s", x, y)
	}
	first := j.Tenants[0]
	r.sendSoon(j.Nodes[0].Submission[0], first.Username, first.Password, "me@routed.test")
	r.waitLine(time.Minute, "me@routed.test: delivered from 127.77.1.11")

	j = r.waitJSON("a pid", func(j demoJSON) bool { return j.Nodes[0].PID != nil })
	pid := *j.Nodes[0].PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	j = r.waitJSON("a third pid", func(j demoJSON) bool { return j.Nodes[0].PID != nil && *j.Nodes[0].PID != pid })
	r.sendSoon(j.Nodes[0].Submission[0], first.Username, first.Password, "two@inbox.test")
	r.waitLine(time.Minute, "two@inbox.test: delivered")
	r.end()
	if err := syscall.Kill(*j.Nodes[0].PID, 0); err == nil {
		t.Error("the node is still there")
	}
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

func asText(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A program that starts the demo reads one document.
func TestDemoSpeaksJSON(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes")
	}
	r := startDemo(t, filepath.Join(t.TempDir(), "d"), "--json", "--nodes", "1", "--tenants", "1", "--traffic", "0")
	var j demoJSON
	eventually(t, time.Minute, "whole document", func() bool { return json.Unmarshal([]byte(r.said()), &j) == nil })
	if len(j.Nodes) != 1 || len(j.Tenants) != 1 || j.Tenants[0].Password == "" || j.OperatorToken == "" {
		t.Errorf("%+v", j)
	}
	r.end()
	if err := json.Unmarshal([]byte(r.said()), &j); err != nil {
		t.Errorf("said more than one document: %v", err)
	}
}

func TestDemoRefusesWhatItCannotDo(t *testing.T) {
	for _, tt := range []struct {
		o    demoOptions
		want string
	}{
		{demoOptions{nodes: 8, tenants: 6}, "1 to 7"},
		{demoOptions{nodes: 1}, "at least 1"},
		{demoOptions{nodes: 1, tenants: 1, routes: []string{"x.test"}}, "write it like"},
		{demoOptions{nodes: 1, tenants: 1, routes: []string{"x.test=h:0"}}, "write it like"},
		{demoOptions{nodes: 1, tenants: 1, relayFrom: []string{"10.0.0.1"}}, "write it like"},
		{demoOptions{nodes: 1, tenants: 1, restart: -1}, "negative"},
		{demoOptions{nodes: 1, tenants: 1, traffic: -1}, "0 to 1000"},
		{demoOptions{nodes: 1, tenants: 1}, "--round"},
		{demoOptions{nodes: 1, tenants: 1, round: time.Second, dnsbl: []string{"bl.test"}}, "write it like"},
	} {
		if _, _, _, err := tt.o.check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("check(%+v) = %v, want %q", tt.o, err, tt.want)
		}
	}
	r, n, l, err := demoOptions{nodes: 1, tenants: 1, round: time.Second, routes: []string{"X.test=[::1]:25"}, relayFrom: []string{"127.0.0.9/8"},
		dnsbl: []string{"BL.test.@127.0.0.1:5301"}}.check()
	if err != nil || r[0] != (demoRoute{"x.test", "::1", 25}) || n[0].String() != "127.0.0.0/8" ||
		l[0] != (demoList{"bl.test", netip.MustParseAddrPort("127.0.0.1:5301")}) {
		t.Errorf("check = %v %v %v %v", r, n, l, err)
	}
}

func TestDemoDirIsForOneDemo(t *testing.T) {
	path := t.TempDir()
	a, err := openDemoDir(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openDemoDir(path, 1); err == nil || !strings.Contains(err.Error(), "another demo") {
		t.Errorf("a second demo got in: %v", err)
	}
	ports := a.state
	a.close()
	b, err := openDemoDir(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if !reflect.DeepEqual(b.state, ports) {
		t.Errorf("ports %+v, were %+v", b.state, ports)
	}
}

func TestDemosKeepOffEachOthersPorts(t *testing.T) {
	a, err := openDemoDir(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := openDemoDir(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	// Neither has taken a port yet, and still they differ.
	if x, y := a.state.Nodes[0], b.state.Nodes[0]; x.Submission == y.Submission || x.Admin == y.Admin || a.state.Ports.MX == b.state.Ports.MX {
		t.Errorf("ports %+v and %+v", x, y)
	}
	a.close()
	again, err := openDemoDir(a.path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.close()
	if !reflect.DeepEqual(again.state, a.state) {
		t.Errorf("ports %+v, were %+v", again.state.Ports, a.state.Ports)
	}
}

func TestDemoTellsTheEnd(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	out := admin.Outcome{Rcpt: "a@b.test", Result: "delivered"}
	tr := admin.Trace{Message: admin.Message{Arrived: at}, Attempts: []admin.Attempt{
		{N: 1, At: at, Millis: 5, Source: "127.77.1.11", EHLO: "out-1.relay.test", Outcomes: []admin.Outcome{{Rcpt: "a@b.test", Result: "deferred"}}},
		{N: 2, At: at.Add(30 * time.Millisecond), Millis: 11, Source: "127.77.1.11", EHLO: "out-1.relay.test", TLS: "TLS1.3", Outcomes: []admin.Outcome{out}},
	}}
	if got := endOf(tr, out); got != "delivered from 127.77.1.11, EHLO out-1.relay.test, 41 ms, TLS, try 2" {
		t.Errorf("endOf = %q", got)
	}
	out.Result, out.Reply = "bounced", admin.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such user"}
	if got := endOf(tr, out); got != "bounced: 550 5.1.1 No such user" {
		t.Errorf("endOf = %q", got)
	}
}
