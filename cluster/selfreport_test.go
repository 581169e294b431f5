package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// TestReportRefused: a node whose report is refused, here an address that the
// state does not take, asks again after a pause and not with each state: its own
// refusal makes one.
func TestReportRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := newTrio(t, 3)
		name := x.follower().cfg.Name
		x.halt(name)
		set := x.set
		x.set = func(cfg *Config) { set(cfg); cfg.Peering.Advertise = "Not_A_Host:1" }
		x.start(name).awaitReady()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for range 20 {
			x.mustAdd("other") // what others do wakes it no earlier
		}
		before := x.awaitLeader().State().Index()
		<-ctx.Done()
		if grown := x.awaitLeader().State().Index() - before; grown > 4 {
			t.Errorf("%d entries in 5 s", grown)
		}
	})
}

// TestAloneReportsItself: a node without a peer port says what it knows, too, or
// a cluster of one would take no newer command for ever.
func TestAloneReportsItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := run(t, config(t, vfs.NewMem()), standard())
		r.awaitReady()
		r.do(tenant.AddNode{Name: r.cfg.Name})
		eventually(t, time.Minute, "its version", func() bool {
			return r.State().NodeByName(r.cfg.Name).Version == tenant.NewestVersion
		})
	})
}
