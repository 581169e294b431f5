package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"postern/node/admin"
)

// member is one node of the demo.
type member struct {
	i       int
	name    string
	ports   nodePorts
	config  string // its file
	logFile string
	tokens  string // file of the operator's token
	api     *admin.Client

	proc *nodeProcess // guarded by demo.mu; nil: not running
}

// submission is where the node takes mail.
func (d *demo) submission(m *member) []string {
	all := []string{hostPort(m.ports.Submission), hostPort(m.ports.Submission2)}
	if len(d.nodes) > 1 {
		all = append(all, nodeAddr(m.i, d.dir.state.Ports.Any))
	}
	return all
}

// makeMembers writes every node's file and makes the client of its API.
func (d *demo) makeMembers() error {
	if err := d.dir.certificates(); err != nil {
		return err
	}
	for i, p := range d.dir.state.Nodes {
		m := &member{i: i, name: nodeNamed(i), ports: p, logFile: d.dir.file(nodeNamed(i), "node.log"),
			tokens: d.dir.file(nodeNamed(i), "operator.token")}
		var err error
		if m.config, err = d.dir.writeConfig(i, d.lab.DNS(), d.lab.View(nodeNamed(i)), d.lab.MXPort()); err != nil {
			return err
		}
		if i == 0 { // the others get both by joining
			if d.token, err = d.dir.secret(20, m.name, "operator.token"); err != nil {
				return err
			}
			if _, err = d.dir.secret(32, m.name, "secret.key"); err != nil {
				return err
			}
		}
		if m.api, err = admin.NewClient(hostPort(p.Admin), d.token); err != nil {
			return err
		}
		d.nodes = append(d.nodes, m)
	}
	d.api = d.nodes[0].api
	return nil
}

// startAll forms what is not formed yet and starts every node.
func (d *demo) startAll(ctx context.Context) error {
	first := d.nodes[0]
	token := ""
	if len(d.nodes) > 1 && !d.formed(first) {
		var did struct {
			Token string `json:"token"`
		}
		if err := d.verb(ctx, &did, "init", "--config", first.config); err != nil {
			return err
		}
		token = did.Token
	}
	if err := d.start(first); err != nil {
		return err
	}
	for _, m := range d.nodes[1:] {
		if d.formed(m) { // resumed: most of them must run before any is ready
			if err := d.start(m); err != nil {
				return err
			}
		}
	}
	if err := first.proc.waitReady(ctx, hostPort(first.ports.Admin)); err != nil {
		return err
	}
	for _, m := range d.nodes[1:] {
		if !d.formed(m) {
			var err error
			if token, err = d.join(ctx, m, token); err != nil {
				return err
			}
		}
	}
	for _, m := range d.nodes[1:] {
		if err := m.proc.waitReady(ctx, hostPort(m.ports.Admin)); err != nil {
			return fmt.Errorf("node %s: %w", m.name, err)
		}
	}
	return nil
}

// join brings a node in as an operator would, and starts it.
func (d *demo) join(ctx context.Context, m *member, token string) (string, error) {
	if token == "" { // the first run was cut short, or nodes are added
		t, err := d.api.MakeJoinToken(ctx, admin.NewJoinToken{Hours: 1})
		if err != nil {
			return "", fmt.Errorf("make join token: %w", err)
		}
		token = t.Token
	}
	if err := d.verb(ctx, nil, "join", "--config", m.config, "--token", token); err != nil {
		return "", err
	}
	return token, d.start(m)
}

func (d *demo) formed(m *member) bool {
	_, err := os.Stat(d.dir.file(m.name, "state", "formed"))
	return err == nil
}

func (d *demo) start(m *member) error {
	n, err := startNode(m.config, m.logFile)
	if err != nil {
		return err
	}
	d.setNode(m, n)
	return nil
}

// verb runs this program with a verb and reads its JSON.
func (d *demo) verb(ctx context.Context, answer any, args ...string) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("run postern %s: %w", args[0], err)
	}
	ctx, cancel := context.WithTimeout(ctx, joinWait+10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, exe, append(args, "--json")...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = errors.New(strings.TrimSpace(string(exit.Stderr)))
		}
		return fmt.Errorf("run postern %s: %w", args[0], err)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(out, answer); err != nil {
		return fmt.Errorf("run postern %s: %w", args[0], err)
	}
	return nil
}

// stopAll ends every node, all at once: one after the other, the last ones
// would wait for a majority that is gone.
func (d *demo) stopAll() {
	done := make(chan struct{})
	running := 0
	for _, m := range d.nodes {
		if n := d.current(m); n != nil {
			running++
			go func() {
				_ = n.stop()
				done <- struct{}{}
			}()
		}
	}
	for range running {
		<-done
	}
}

func (d *demo) setNode(m *member, n *nodeProcess) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m.proc = n
}

// current is the node's running process, or nil.
func (d *demo) current(m *member) *nodeProcess {
	d.mu.Lock()
	defer d.mu.Unlock()
	return m.proc
}

// ask asks the nodes one after the other until one answers: any of them can.
func ask[T any](d *demo, do func(*admin.Client) (T, error)) (v T, err error) {
	for _, m := range d.nodes {
		if d.current(m) == nil && len(d.nodes) > 1 {
			err = fmt.Errorf("node %s does not run", m.name)
			continue
		}
		v, err = do(m.api)
		var gone *admin.Unreachable
		var p *admin.Problem
		if !errors.As(err, &gone) && !(errors.As(err, &p) && p.Status >= 500) {
			return v, err
		}
	}
	return v, err
}
