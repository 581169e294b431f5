package admin

import "time"

// Page is one stretch of a list. Next, when not empty, is what to pass as
// "after" to read on.
type Page[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"Pass as after to read on; absent on the last page"`
	// Missing are nodes whose part is not in this page.
	Missing []string `json:"missing,omitempty" doc:"Nodes that gave no answer: what they own is missing here"`
}

// Status answers "is this node fine, and if not, what do I do".
type Status struct {
	Node    string   `json:"node"`
	Version string   `json:"version"`
	Ready   bool     `json:"ready" doc:"The node may say 250 now"`
	Reasons []Reason `json:"reasons" nullable:"false" doc:"Why it is not ready, or what needs care, each with its mend"`
	Tenants int      `json:"tenants"`
	Stopped int      `json:"stopped" doc:"Tenants and accounts that are held or paused"`
	Queued  int      `json:"queued" doc:"Recipients without an outcome, at this node"`
	InDoubt int      `json:"in_doubt" doc:"Attempts begun before a crash whose result is unknown"`
	Index   uint64   `json:"index" doc:"Index of the newest applied log entry"`
	Digest  string   `json:"digest,omitempty" doc:"Of the state at that index: nodes at the same index have the same; operator only"`
	Role    string   `json:"role" enum:"operator,tenant" doc:"Of the token this was asked with"`
	Tenant  string   `json:"tenant,omitempty" doc:"Of the token this was asked with"`
}

// Reason is one thing that is not fine, and what to do about it.
type Reason struct {
	Text string `json:"text"`
	Mend string `json:"mend,omitempty"`
	// Stops says that the node does not say 250 because of it.
	Stops bool `json:"stops"`
}

// Node is one machine of the cluster.
type Node struct {
	ID      uint64 `json:"id"`
	Name    string `json:"name"`
	Self    bool   `json:"self" doc:"It is the node that was asked"`
	Sources int    `json:"sources"`
	Tenants int    `json:"tenants" doc:"Owned now; twenty at most"`
	Peer    string `json:"peer,omitempty" doc:"Where other nodes reach it"`
	Role    string `json:"role" enum:"leader,voter,joining,unknown" doc:"In deciding; unknown when nobody could be asked"`
	State   string `json:"state" enum:"up,silent,down,draining,to join,maintenance" doc:"silent: no sign of life, but not declared down; maintenance: it may be away for a moment"`
	Witness bool   `json:"witness" doc:"It decides and may hold copies, but has no sources and owns nothing"`
	Version uint32 `json:"version" doc:"Newest command version its program knows"`
	// Down is since when it has no lease.
	Down *time.Time `json:"down,omitempty"`
	// Away is until when nothing moves because it has no lease.
	Away  *time.Time `json:"away,omitempty" doc:"Until when it may be away without its tenants moving"`
	RTTMS *float64   `json:"rtt_ms,omitempty" doc:"Round trip from the leader, or from the node that was asked"`
	Lag   *uint64    `json:"lag,omitempty" doc:"Log entries it has not applied yet; the leader knows"`
	Lease string     `json:"lease" enum:"held,none,unknown" doc:"The leader knows"`
}

// NewNode registers a node.
type NewNode struct {
	Name string `json:"name" minLength:"1" maxLength:"63"`
}

// Source is one outbound IP.
type Source struct {
	ID        uint64   `json:"id"`
	Addr      string   `json:"addr"`
	Node      string   `json:"node"`
	EHLO      string   `json:"ehlo"`
	Shared    bool     `json:"shared" doc:"Member of its node's pool; otherwise dedicated to one tenant"`
	Pool      string   `json:"pool,omitempty" enum:"mixed,transactional,bulk,probation" doc:"What it carries, when it is shared"`
	Tenants   []string `json:"tenants" nullable:"false" doc:"Tenants with their home or backup here"`
	WarmSince string   `json:"warm_since,omitempty" doc:"Day since which it has sent, by the operator's word"`
	// Enrolments at receivers, by the operator's word.
	Enrolments []Enrolment `json:"enrolments" nullable:"false" doc:"Enrolments at receivers, by the operator's word"`
}

// NewSource registers an outbound IP on a node.
type NewSource struct {
	Node   string `json:"node" minLength:"1" maxLength:"63"`
	Addr   string `json:"addr" minLength:"2" maxLength:"45" doc:"IPv4 or IPv6 address"`
	EHLO   string `json:"ehlo" minLength:"1" maxLength:"253" doc:"Name it greets with; its PTR must say the same"`
	Shared bool   `json:"shared,omitempty"`
	// WarmSince is a day: since then it has sent, on another server, say.
	WarmSince string `json:"warm_since,omitempty" maxLength:"10" doc:"Day since which it has sent, here or elsewhere, as 2023-04-01"`
}

// Place is a node and what a tenant leaves it by.
type Place struct {
	Node   string `json:"node" minLength:"1" maxLength:"63"`
	Source string `json:"source,omitempty" maxLength:"45" doc:"Address of a dedicated source; empty is the node's pool"`
}

// Route sends mail for a recipient domain to a fixed host instead of its MX.
type Route struct {
	Domain string `json:"domain" doc:"Lower case A-label; * is every domain without a route"`
	Host   string `json:"host"`
	Port   uint16 `json:"port"`
}

// SetRoute is the body of a route.
type SetRoute struct {
	Host string `json:"host" minLength:"1" maxLength:"253" doc:"Name or address"`
	Port uint16 `json:"port,omitempty" minimum:"0" maximum:"65535" doc:"25 when absent"`
}
