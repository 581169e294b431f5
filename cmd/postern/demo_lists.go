package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postern/node/admin"
	"postern/node/lab"
)

// demoList is one --dnsbl: a zone and who answers it. The same zone given
// several times is asked by one node at each.
type demoList struct {
	zone   string
	server netip.AddrPort
}

// The lab's own lists: one that moves tenants by itself, one that does not.
const (
	demoHeavyList = "zen.lab.test"
	demoLightList = "cop.lab.test"
	// One of domains, which moves nobody.
	demoDomainList = "dbl.lab.test"
)

// demoCodes are what lists of addresses answer in the demo.
const demoCodes = "127.0.0.2-254"

func parseDemoList(s string) (demoList, error) {
	zone, at, ok := strings.Cut(s, "@")
	server, err := netip.ParseAddrPort(at)
	if !ok || zone == "" || err != nil {
		return demoList{}, usagef("--dnsbl %q: write it like bl.example.org@127.0.0.1:5301", s)
	}
	return demoList{zone: strings.ToLower(strings.TrimSuffix(zone, ".")), server: server}, nil
}

// listView is the address at which the lab is a node's own resolver.
func listView(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 78, 1, byte(i + 1)}) }

func listViews() []netip.Addr {
	all := make([]netip.Addr, maxDemoNodes)
	for i := range all {
		all[i] = listView(i)
	}
	return all
}

// addLists gives the lab its lists and each node a resolver.
func (d *demo) addLists(c *lab.Config) {
	c.Views = map[string]netip.Addr{}
	for i := range d.dir.state.Nodes {
		c.Views[nodeNamed(i)] = listView(i)
	}
	if len(d.lists) == 0 {
		c.World.Lists, c.World.DomainLists = []string{demoHeavyList, demoLightList}, []string{demoDomainList}
		return
	}
	c.Forwards = map[string][]netip.AddrPort{}
	for _, l := range d.lists {
		c.Forwards[l.zone] = append(c.Forwards[l.zone], l.server)
	}
}

// zonesText is the zones file of the demo.
func (d *demo) zonesText() string {
	var b strings.Builder
	b.WriteString("zones:\n")
	zone := func(name, asks, codes string, weight int, means string) {
		fmt.Fprintf(&b, "  - name: %s\n    asks: [%s]\n    heavy: true\n    every: 5m\n    rate: 1000\n    delist: https://%s/?{}\n", name, asks, name)
		fmt.Fprintf(&b, "    codes: [{code: %s, weight: %d, means: %q}]\n", codes, weight, means)
	}
	if len(d.lists) == 0 {
		zone(demoHeavyList, "ipv4", demoCodes, 100, "spam source")
		zone(demoLightList, "ipv4", demoCodes, 50, "reported spam")
		zone(demoDomainList, "domain", "127.0.1.2", 50, "spam domain")
		return b.String()
	}
	zones := map[string]bool{}
	for _, l := range d.lists {
		zones[l.zone] = true
	}
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		zone(name, "ipv4", demoCodes, 100, "listed")
	}
	return b.String()
}

// applyLists makes the cluster judge by the demo's lists. A node that came in a
// moment ago may not have told yet what it knows.
func (d *demo) applyLists(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		_, err := ask(d, func(c *admin.Client) (admin.Lists, error) {
			return c.SetLists(ctx, admin.SetLists{Zones: d.zonesText(), Round: d.opt.round.String()})
		})
		var p *admin.Problem
		if err == nil {
			return nil
		} else if errors.As(err, &p) && p.Status == http.StatusUnprocessableEntity {
			return fmt.Errorf("apply DNS lists: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("apply DNS lists: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
