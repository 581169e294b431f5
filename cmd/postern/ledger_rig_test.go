package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/node/admin"
)

// rigName greets submission clients; the rig's certificate is for it.
const rigName = "smtp.relay.test"

// rigNode is one node of a rig: its files, and its process while it runs.
type rigNode struct {
	i       int
	name    string
	dir     string
	config  string
	logFile string
	api     *admin.Client

	pid    int
	ended  chan struct{} // closed when the process is gone; nil: never started
	err    error         // valid after ended
	killed bool          // its end was meant
}

// rig is some nodes as processes, each with a place of its own. It knows
// nothing of mail.
type rig struct {
	t     *testing.T
	place *place
	dir   string
	nodes []*rigNode
	roots *tls.Config
	token string

	resolver string // the lab's
	mxPort   uint16
}

// newRig makes directories, certificate and configuration of n nodes.
func newRig(t *testing.T, p *place, n int, resolver string, mxPort uint16) *rig {
	t.Helper()
	r := &rig{t: t, place: p, dir: t.TempDir(), resolver: resolver, mxPort: mxPort}
	r.certificate()
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		x := &rigNode{i: i, name: name, dir: filepath.Join(r.dir, name), logFile: filepath.Join(r.dir, name+".log")}
		x.config = filepath.Join(r.dir, name+".yaml")
		if err := os.WriteFile(x.config, []byte(r.yaml(x, n > 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		r.nodes = append(r.nodes, x)
	}
	t.Cleanup(r.stop)
	return r
}

func (r *rig) yaml(x *rigNode, peer bool) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	at := func(port int) string { return r.place.at(x.i, port) }
	line("name: %s\ndir: %q\nhostname: %s", x.name, x.dir, rigName)
	if peer {
		advertise := r.place.advertise[x.name]
		if advertise == "" {
			advertise = at(portPeer)
		}
		line("peer:\n  listen: %q\n  advertise: %q\n  gossip: %q", at(portPeer), advertise, at(portGossip))
	} else {
		line("bootstrap: true")
	}
	line("submission: [%q, %q]\nsubmission_tls: [%q]", at(portSubmission), at(portSubmission2), at(portSubmissionTLS))
	line("admin: %q\nmetrics: %q", at(portAdmin), at(portMetrics))
	line("tls:\n  cert: %q\n  key: %q", filepath.Join(r.dir, "tls.crt"), filepath.Join(r.dir, "tls.key"))
	line("resolvers: [%q]", r.resolver)
	line("delivery:\n  port: %d\n  retry: [1s, 2s, 5s, 15s]\n  allow_loopback: true", r.mxPort)
	line("queue:\n  grace: 3s")
	line("log:\n  level: info\n  format: text")
	return b.String()
}

// certificate makes one that all nodes show and the rig's clients trust.
func (r *rig) certificate() {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: rigName}, DNSNames: []string{rigName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		r.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		r.t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	r.roots = &tls.Config{RootCAs: pool, ServerName: rigName, MinVersion: tls.VersionTLS12}
	err = errors.Join(os.WriteFile(filepath.Join(r.dir, "tls.crt"), cert, 0o600),
		os.WriteFile(filepath.Join(r.dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	if err != nil {
		r.t.Fatal(err)
	}
}

// command is this test binary as postern, on a node.
func (r *rig) command(x *rigNode, args ...string) *exec.Cmd {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	all := append(append(r.place.enter(x.name), self), append(args, "--config", x.config)...)
	cmd := exec.Command(all[0], all[1:]...)
	cmd.Env = append(os.Environ(), asPostern+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // a frozen process hears nothing else
	return cmd
}

// verb runs one of postern's verbs on a node and returns what it printed.
func (r *rig) verb(x *rigNode, args ...string) []byte {
	r.t.Helper()
	var out, errs bytes.Buffer
	cmd := r.command(x, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	runtime.LockOSThread() // Pdeathsig goes by the thread
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("postern %v at %s: %v\n%s%s", args, x.name, err, out.Bytes(), errs.Bytes())
	}
	return out.Bytes()
}

// form makes the nodes one cluster and waits until each takes mail.
func (r *rig) form() {
	r.t.Helper()
	first := r.nodes[0]
	var made struct {
		Token string `json:"token"`
	}
	if len(r.nodes) > 1 {
		if err := json.Unmarshal(r.verb(first, "init", "--json"), &made); err != nil || made.Token == "" {
			r.t.Fatalf("init gave no token: %v", err)
		}
	}
	r.start(first)
	r.meet(first)
	for _, x := range r.nodes[1:] {
		r.verb(x, "join", "--token", made.Token)
		r.start(x)
		r.meet(x)
	}
}

// meet waits until a node that formed or joined is ready, and opens its API.
func (r *rig) meet(x *rigNode) {
	r.t.Helper()
	r.ready(x)
	token, err := os.ReadFile(filepath.Join(x.dir, "operator.token"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.token = strings.TrimSpace(string(token))
	if x.api, err = admin.NewClient(r.place.at(x.i, portAdmin), r.token); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(x.api.Close)
}

// start starts a node's process.
func (r *rig) start(x *rigNode) {
	r.t.Helper()
	out, err := os.OpenFile(x.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := r.command(x, "serve")
	cmd.Stdout, cmd.Stderr = out, out
	ended, started := make(chan struct{}), make(chan error, 1)
	go func() {
		// Pdeathsig goes by the thread that started the process.
		runtime.LockOSThread()
		defer close(ended)
		defer out.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			x.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		r.t.Fatal(err)
	}
	x.pid, x.ended, x.killed = cmd.Process.Pid, ended, false
}

// signal sends a signal to a node that must be running.
func (r *rig) signal(x *rigNode, s syscall.Signal) {
	r.t.Helper()
	if err := syscall.Kill(x.pid, s); err != nil {
		r.t.Fatalf("signal %v to %s: %v", s, x.name, err)
	}
}

// running reports that a node's process lives.
func (x *rigNode) running() bool {
	if x.ended == nil {
		return false
	}
	select {
	case <-x.ended:
		return false
	default:
		return true
	}
}

// kill ends a node like a power cut would, only that the disk lives on.
func (r *rig) kill(x *rigNode) {
	r.t.Helper()
	r.signal(x, syscall.SIGKILL)
	x.killed = true
	<-x.ended
}

// end ends a node in good order.
func (r *rig) end(x *rigNode) {
	r.t.Helper()
	x.killed = true
	r.signal(x, syscall.SIGTERM)
	select {
	case <-x.ended:
		if x.err != nil {
			r.t.Errorf("node %s ended with %v", x.name, x.err)
		}
	case <-time.After(rigGrace):
		r.t.Errorf("node %s did not end within %v of SIGTERM", x.name, rigGrace)
		r.kill(x)
	}
}

// rigGrace is how long a node may take to end: open dots finish within 30 s.
const rigGrace = 60 * time.Second

// stop ends every node at the test's end. One that is gone already without
// having been killed is a fault.
func (r *rig) stop() {
	for _, x := range r.nodes {
		if x.running() {
			x.killed = true
			_ = syscall.Kill(x.pid, syscall.SIGCONT)
			_ = syscall.Kill(x.pid, syscall.SIGTERM)
		}
	}
	deadline := time.Now().Add(rigGrace)
	for _, x := range r.nodes {
		if x.ended == nil {
			continue
		}
		select {
		case <-x.ended:
			if !x.killed {
				r.t.Errorf("node %s ended by itself: %v", x.name, x.err)
			}
		case <-time.After(time.Until(deadline)):
			_ = syscall.Kill(x.pid, syscall.SIGKILL)
			<-x.ended
			r.t.Errorf("node %s did not end within %v", x.name, rigGrace)
		}
	}
	r.keepLogs()
}

// keepLogs shows the ends of the nodes' logs after a failure, and keeps them
// whole where POSTERN_LOGS names a directory.
func (r *rig) keepLogs() {
	keep := os.Getenv("POSTERN_LOGS")
	for _, x := range r.nodes {
		if r.t.Failed() {
			r.t.Logf("log of %s:\n%s", x.name, tail(x.logFile, 15))
		}
		if keep == "" {
			continue
		}
		b, err := os.ReadFile(x.logFile)
		if err == nil {
			err = os.WriteFile(filepath.Join(keep, r.t.Name()+"-"+x.name+".log"), b, 0o600)
		}
		if err != nil {
			r.t.Logf("keep log: %v", err)
		}
	}
}

// ready waits until a node may say 250.
func (r *rig) ready(x *rigNode) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for !ready(ctx, client, r.place.at(x.i, portAdmin)) {
		select {
		case <-x.ended:
			r.t.Fatalf("node %s ended: %v\n%s", x.name, x.err, tail(x.logFile, 10))
		case <-ctx.Done():
			r.t.Fatalf("node %s is not ready:\n%s", x.name, tail(x.logFile, 20))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
