package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// nodeGrace is how long a node may take to end: open dots finish within 30 s.
const nodeGrace = 40 * time.Second

// nodeProcess is the node as a process of its own: this program again, with
// serve. The demo talks to it over its ports only.
type nodeProcess struct {
	config, logFile string

	pid   int
	ended chan struct{} // closed when the process is gone
	err   error         // valid after ended
}

// startNode starts the process. It gets SIGTERM when the demo itself is killed,
// and none of the terminal's signals: the demo ends it in its own order.
func startNode(config, logFile string) (*nodeProcess, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	n := &nodeProcess{config: config, logFile: logFile, ended: make(chan struct{})}
	cmd := exec.Command(exe, "serve", "--config", config)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error, 1)
	go func() {
		// Pdeathsig goes by the thread that started the process, so that
		// thread must live as long as the process does.
		runtime.LockOSThread()
		defer close(n.ended)
		defer out.Close()
		err := cmd.Start()
		if err == nil {
			n.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			n.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	return n, nil
}

// stop ends the process and waits for it.
func (n *nodeProcess) stop() error {
	_ = syscall.Kill(n.pid, syscall.SIGTERM)
	select {
	case <-n.ended:
		return n.err
	case <-time.After(nodeGrace):
		_ = syscall.Kill(n.pid, syscall.SIGKILL)
		<-n.ended
		return fmt.Errorf("stop node: it did not end within %v", nodeGrace)
	}
}

// waitReady asks /readyz until the node may say 250.
func (n *nodeProcess) waitReady(ctx context.Context, api string) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		if ready(ctx, client, api) {
			return nil
		}
		select {
		case <-n.ended:
			return fmt.Errorf("start node: it ended: %v\n%s", n.err, tail(n.logFile, 5))
		case <-ctx.Done():
			return fmt.Errorf("start node: not ready: %w\n%s", ctx.Err(), tail(n.logFile, 5))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func ready(ctx context.Context, c *http.Client, api string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+api+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := c.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// tail gives the last lines of a log for an error message.
func tail(name string, lines int) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 8 << 10
	if st, err := f.Stat(); err == nil && st.Size() > most {
		_, _ = f.Seek(st.Size()-most, 0)
	}
	b := make([]byte, most)
	k, _ := f.Read(b)
	all := strings.Split(strings.TrimSpace(string(b[:k])), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// writeConfig writes one node's configuration file. Several nodes have peer
// ports and are formed by init and join; one alone bootstraps itself.
func (d *demoDir) writeConfig(i int, resolver, listResolver string, mxPort uint16) (config string, err error) {
	name, p := nodeNamed(i), d.state.Nodes[i]
	if err := os.MkdirAll(d.file(name), 0o700); err != nil {
		return "", fmt.Errorf("make node directory: %w", err)
	}
	submission := []string{hostPort(p.Submission), hostPort(p.Submission2)}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by postern demo at each start.")
	line("name: %s", name)
	line("dir: %q", d.file(name, "state"))
	line("hostname: smtp.%s", demoDomain)
	if len(d.state.Nodes) == 1 {
		line("bootstrap: true")
	} else {
		submission = append(submission, nodeAddr(i, d.state.Ports.Any))
		line("peer:\n  listen: %q\n  advertise: %q\n  gossip: %q", nodeAddr(i, p.Peer), nodeAddr(i, p.Peer), nodeAddr(i, p.Gossip))
	}
	line("submission: [%s]", quoted(submission))
	line("submission_tls: [%q]", hostPort(p.SubmissionTLS))
	line("intake:\n  listen: [%q]\n  domains: [%q]", hostPort(p.Intake), "bounces."+demoDomain)
	line("admin: %q", hostPort(p.Admin))
	line("metrics: %q", hostPort(p.Metrics))
	line("tls:\n  cert: %q\n  key: %q", d.file("tls.crt"), d.file("tls.key"))
	line("operator_token_file: %q", d.file(name, "operator.token"))
	line("secret_key_file: %q", d.file(name, "secret.key"))
	line("resolvers: [%q]", resolver)
	line("dnsbl:\n  resolvers: [%q]", listResolver)
	line("delivery:\n  port: %d\n  retry: [%s]\n  allow_loopback: true", mxPort, d.retry)
	line("queue:\n  grace: 5s")
	line("log:\n  level: info\n  format: text")
	config = d.file(name, "postern.yaml")
	return config, replaceFile(config, []byte(b.String()))
}

func quoted(all []string) string {
	q := make([]string, len(all))
	for i, s := range all {
		q[i] = strconv.Quote(s)
	}
	return strings.Join(q, ", ")
}

func hostPort(port uint16) string {
	return net.JoinHostPort(demoHost.String(), strconv.Itoa(int(port)))
}

// nodeAddr is a port at node i's own address.
func nodeAddr(i int, port uint16) string {
	return net.JoinHostPort(nodeIP(i, 1).String(), strconv.Itoa(int(port)))
}
