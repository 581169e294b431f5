package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"postern/node/admin"
	"postern/node/lab"
)

// demoJSON is demo.json: what tests and tools need of a running demo. What is
// not built yet, or not running now, is null.
type demoJSON struct {
	Nodes         []demoJSONNode   `json:"nodes"`
	Tenants       []demoJSONTenant `json:"tenants"`
	OperatorToken string           `json:"operator_token"`
	Console       *string          `json:"console"`
	Lab           demoJSONLab      `json:"lab"`
}

type demoJSONNode struct {
	Name          string   `json:"name"`
	PID           *int     `json:"pid"`
	Submission    []string `json:"submission"`
	SubmissionTLS string   `json:"submission_tls"`
	Intake        string   `json:"intake"`
	Admin         string   `json:"admin"`
	Metrics       string   `json:"metrics"`
	Sources       []string `json:"sources"`
}

type demoJSONTenant struct {
	Name     string  `json:"name"`
	Username string  `json:"username"`
	Password string  `json:"password"`
	Home     string  `json:"home"`
	Backup   *string `json:"backup"`
	Owner    string  `json:"owner"`
	Source   string  `json:"source"`
}

type demoJSONLab struct {
	DNS string `json:"dns"`
	MX  string `json:"mx"`
	API string `json:"api"`
}

// writeJSON replaces demo.json.
func (d *demo) writeJSON(ctx context.Context) error {
	d.lookPlaces(ctx)
	j := demoJSON{OperatorToken: d.token, Lab: demoJSONLab{DNS: d.lab.DNS(), API: d.lab.API(),
		MX: net.JoinHostPort(demoInbox.String(), strconv.Itoa(int(d.lab.MXPort())))}}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.nodes {
		n := demoJSONNode{Name: m.name, Submission: d.submission(m), SubmissionTLS: hostPort(m.ports.SubmissionTLS),
			Intake: hostPort(m.ports.Intake), Admin: hostPort(m.ports.Admin), Metrics: hostPort(m.ports.Metrics)}
		for _, s := range sourcesOf(m.i) {
			n.Sources = append(n.Sources, s.addr.String())
		}
		if m.proc != nil {
			n.PID = &m.proc.pid
		}
		j.Nodes = append(j.Nodes, n)
	}
	for _, t := range d.dir.state.Tenants {
		at := d.places[t.Name]
		row := demoJSONTenant{Name: t.Name, Username: t.Username, Password: t.Password, Home: at.home, Owner: at.owner, Source: at.source}
		if at.backup != "" {
			row.Backup = &at.backup
		}
		j.Tenants = append(j.Tenants, row)
	}
	d.stale = false
	return writeJSON(d.dir.file("demo.json"), j)
}

// tellFacts prints demo.json for a program that started the demo.
func (d *demo) tellFacts() error {
	if d.facts == nil {
		return nil
	}
	b, err := os.ReadFile(d.dir.file("demo.json"))
	if err != nil {
		return fmt.Errorf("read demo.json: %w", err)
	}
	if _, err := d.facts.Write(b); err != nil {
		return fmt.Errorf("print demo.json: %w", err)
	}
	return nil
}

// lookPlaces learns from the node where the tenants are. A pool's current
// source is the one the tenant's mail came from last.
func (d *demo) lookPlaces(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	page, err := ask(d, func(c *admin.Client) (admin.Page[admin.Tenant], error) {
		return c.Tenants(ctx, admin.List{Limit: 1000})
	})
	if err != nil {
		return // the last known places stay
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range page.Items {
		d.inQueue[t.Name] = 0
		if t.Queued != nil {
			d.inQueue[t.Name] = *t.Queued
		}
		at := d.places[t.Name]
		was := at
		at.home, at.owner, at.backup = t.Home.Node, t.Owner, ""
		if t.Backup != nil {
			at.backup = t.Backup.Node
		}
		at.source = sourceNow(t, at.source)
		if at != was {
			d.places[t.Name], d.stale = at, true
		}
	}
}

// sourceNow is what a tenant leaves by where it is owned: its dedicated source
// there, or one of the pool, the one it used last if that is of the same pool.
func sourceNow(t admin.Tenant, last string) string {
	place := t.Home
	if t.Backup != nil && t.Owner == t.Backup.Node {
		place = *t.Backup
	}
	if place.Source != "" && t.Owner == place.Node {
		return place.Source
	}
	pool := ""
	for _, s := range demoSources(maxDemoNodes) {
		if s.shared && nodeNamed(s.node) == t.Owner {
			if s.addr.String() == last {
				return last
			}
			if pool == "" {
				pool = s.addr.String()
			}
		}
	}
	return pool
}

// noteSource remembers where a tenant's mail came from.
func (d *demo) noteSource(m *lab.Mail) {
	_, domain, _ := strings.Cut(m.From, "@")
	name := strings.TrimSuffix(strings.ToLower(domain), ".test")
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, ok := d.places[name]; ok && at.source != m.Source {
		at.source = m.Source
		d.places[name], d.stale = at, true
	}
}

// follow keeps demo.json true.
func (d *demo) follow(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		d.lookPlaces(ctx)
		d.mu.Lock()
		stale := d.stale
		d.mu.Unlock()
		if !stale {
			continue
		}
		if err := d.writeJSON(ctx); err != nil {
			return fmt.Errorf("follow places: %w", err)
		}
	}
}
