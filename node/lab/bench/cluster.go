package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"postern/node/admin"
)

// clusterSize is how many nodes a measured cluster has.
const clusterSize = 3

// cluster is three real nodes, each a process of the binary under test, on this
// machine's cores and disk: every message is synced twice.
type cluster struct {
	nodes    []*postern
	sink     *sink
	password string     // of the account that also sends without one
	others   []identity // accounts of further tenants, whose homes are nodes 2 and 3
}

// startCluster is a cluster whose nodes have a tenant each.
func startCluster(ctx context.Context, dir, bin string, prof bool) (*cluster, error) {
	c, err := startNodes(ctx, dir, bin, prof)
	if err != nil {
		return c, err
	}
	if err := c.provision(ctx); err != nil {
		return c, err
	}
	return c, c.settled(ctx)
}

func startNodes(ctx context.Context, dir, bin string, prof bool) (*cluster, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	c := &cluster{}
	var err error
	if c.sink, err = startSink(ctx); err != nil {
		return c, err
	}
	token, key := randomHex(20), randomHex(32)
	for i := range clusterSize {
		p := &postern{name: fmt.Sprintf("n%d", i+1), bin: bin, sink: c.sink, profile: prof && i < 2}
		p.dir = filepath.Join(dir, p.name)
		if err := os.MkdirAll(p.dir, 0o700); err != nil {
			return c, err
		}
		if p.peer, err = freeAddr(); err != nil {
			return c, err
		}
		if err := p.configure(token, key); err != nil {
			return c, err
		}
		c.nodes = append(c.nodes, p)
	}
	return c, c.form(ctx)
}

// form makes the nodes one cluster, as an operator would.
func (c *cluster) form(ctx context.Context) error {
	out, err := c.nodes[0].verb(ctx, "init", "--json")
	if err != nil {
		return err
	}
	var made struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(out, &made); err != nil || made.Token == "" {
		return fmt.Errorf("init gave no token: %w", errors.Join(err, errors.New(string(out))))
	}
	for i, p := range c.nodes {
		if i > 0 {
			if _, err := p.verb(ctx, "join", "--token", made.Token); err != nil {
				return err
			}
		}
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// verb runs one of postern's verbs with the node's configuration.
func (p *postern) verb(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.bin, append(args, "--config", p.config)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("postern %s at %s: %w: %s", args[0], p.name, err, said.String())
	}
	return out.Bytes(), nil
}

// provision makes a tenant a node; each one's backup is the next node.
func (c *cluster) provision(ctx context.Context) error {
	api := c.nodes[0].api
	addr := func(node, k int) string { return fmt.Sprintf("127.77.%d.%d", node+1, 11+k) }
	for i, p := range c.nodes {
		for k := range 2 {
			s := admin.NewSource{Node: p.name, Addr: addr(i, k), EHLO: fmt.Sprintf("out-%d-%d.relay.test", i+1, k+1)}
			if _, err := api.AddSource(ctx, s); err != nil {
				return err
			}
		}
	}
	if err := c.nodes[0].route(ctx, "*", c.sink.addr); err != nil {
		return err
	}
	for i, p := range c.nodes {
		next := (i + 1) % clusterSize
		t := admin.NewTenant{
			Name: tenantName, Hostname: "bench.relay.test",
			Home: admin.Place{Node: p.name, Source: addr(i, 0)}, Backup: &admin.Place{Node: c.nodes[next].name, Source: addr(next, 1)},
		}
		a := admin.NewAccount{Username: sender, Networks: []string{"127.0.0.0/8"}}
		if i > 0 {
			t.Name, a = fmt.Sprintf("bench%d", i+1), admin.NewAccount{Username: fmt.Sprintf("news@bench%d.test", i+1)}
			t.Hostname = t.Name + ".relay.test"
		}
		a.Tenant = t.Name
		if _, err := api.AddTenant(ctx, t); err != nil {
			return err
		}
		_, domain, _ := strings.Cut(a.Username, "@")
		if _, err := api.SetDomain(ctx, t.Name, domain, admin.SetDomain{}); err != nil {
			return err
		}
		made, err := api.AddAccount(ctx, a)
		if err != nil {
			return err
		}
		if i == 0 {
			c.password = made.Password
		} else {
			c.others = append(c.others, identity{a.Username, made.Password})
		}
	}
	return nil
}

// settleWait is how long a cluster may take until every second copy is whole.
const settleWait = 3 * time.Minute

// settled waits until all nodes are ready and vote, and every tenant has two
// whole copies.
func (c *cluster) settled(ctx context.Context) error {
	for _, p := range c.nodes {
		if err := p.ready(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	for {
		page, err := c.nodes[0].api.Tenants(ctx, admin.List{Limit: 100})
		whole := err == nil && len(page.Items) > 0
		for _, t := range page.Items {
			whole = whole && t.Mirror != nil && t.Mirror.Known && t.Mirror.Synced && t.Mirror.Node != ""
		}
		nodes, nodesErr := c.nodes[0].api.Nodes(ctx, admin.List{})
		whole, err = whole && nodesErr == nil, errors.Join(err, nodesErr)
		for _, n := range nodes.Items {
			whole = whole && (n.Role == "leader" || n.Role == "voter") && n.State == "up"
		}
		if whole {
			return nil
		}
		if pause(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("a node does not vote, or a tenant has no whole second copy: %w", errors.Join(err, ctx.Err()))
		}
	}
}

func (c *cluster) Name() string     { return "Postern" }
func (c *cluster) Plain() string    { return c.nodes[0].plain }
func (c *cluster) TLS() string      { return c.nodes[0].plain }
func (c *cluster) Password() string { return c.password }
func (c *cluster) Sink() *sink      { return c.sink }

func (c *cluster) Pause(ctx context.Context) error               { return c.nodes[0].Pause(ctx) }
func (c *cluster) Resume(ctx context.Context) (time.Time, error) { return c.nodes[0].Resume(ctx) }
func (c *cluster) Profile(ctx context.Context, n string) func() {
	return c.nodes[0].Profile(ctx, "cluster-"+n)
}

// Usage is that of all nodes together.
func (c *cluster) Usage() (usage, error) {
	var sum usage
	for _, p := range c.nodes {
		u, err := p.Usage()
		if err != nil {
			return sum, err
		}
		sum.cpu += u.cpu
		sum.peak += u.peak
	}
	return sum, nil
}

func (c *cluster) Stop() {
	for _, p := range c.nodes {
		p.terminate()
	}
	if c.sink != nil {
		c.sink.Stop()
	}
}
