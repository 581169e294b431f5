// Package cluster makes the nodes agree: it carries tenant commands through
// raft into one replicated tenant.State.
//
// It hides raft, its log store on pebble, snapshots, membership, leases
// and the peer port.
//
// It must never decide anything about tenants, reach into node, or let a raft
// or pebble type out.
package cluster
