package admin

import (
	"context"
	"net/http"
	"time"
)

// Status says whether the node is fine, and if not, what to do.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, http.MethodGet, path("status"), nil)
}

// Nodes lists the nodes.
func (c *Client) Nodes(ctx context.Context, l List) (Page[Node], error) {
	return ask[Page[Node]](ctx, c, http.MethodGet, path("nodes")+l.query(), nil)
}

// AddNode registers a node.
func (c *Client) AddNode(ctx context.Context, n NewNode) (Node, error) {
	return ask[Node](ctx, c, http.MethodPost, path("nodes"), n)
}

// Sources lists outbound IPs; node "" means of all nodes.
func (c *Client) Sources(ctx context.Context, node string, l List) (Page[Source], error) {
	return ask[Page[Source]](ctx, c, http.MethodGet, path("sources")+l.query("node", node), nil)
}

// Enrol notes how far a source's enrolment in a receiver's programme is.
func (c *Client) Enrol(ctx context.Context, addr, programme string, s SetEnrolment) (Source, error) {
	return ask[Source](ctx, c, http.MethodPut, path("sources", addr, "enrolments", programme), s)
}

// AddSource registers an outbound IP.
func (c *Client) AddSource(ctx context.Context, n NewSource) (Source, error) {
	return ask[Source](ctx, c, http.MethodPost, path("sources"), n)
}

// RemoveSource takes away an outbound IP that no place names.
func (c *Client) RemoveSource(ctx context.Context, addr string) error {
	return c.do(ctx, http.MethodDelete, path("sources", addr), nil, nil)
}

// Tenants lists the tenants.
func (c *Client) Tenants(ctx context.Context, l List) (Page[Tenant], error) {
	return ask[Page[Tenant]](ctx, c, http.MethodGet, path("tenants")+l.query(), nil)
}

// Tenant shows one tenant.
func (c *Client) Tenant(ctx context.Context, name string) (Tenant, error) {
	return ask[Tenant](ctx, c, http.MethodGet, path("tenants", name), nil)
}

// AddTenant registers a tenant.
func (c *Client) AddTenant(ctx context.Context, n NewTenant) (Tenant, error) {
	return ask[Tenant](ctx, c, http.MethodPost, path("tenants"), n)
}

// RemoveTenant takes away a tenant with its accounts and domains.
func (c *Client) RemoveTenant(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("tenants", name), nil, nil)
}

// PlaceTenant changes home and backup.
func (c *Client) PlaceTenant(ctx context.Context, name string, p SetPlace) (Tenant, error) {
	return ask[Tenant](ctx, c, http.MethodPut, path("tenants", name, "place"), p)
}

// HoldTenant holds a tenant; an empty reason releases it.
func (c *Client) HoldTenant(ctx context.Context, name, reason string) (Tenant, error) {
	return stop[Tenant](ctx, c, path("tenants", name, "hold"), reason)
}

// SuspendTenant holds a tenant and tells it why; an empty class ends that.
func (c *Client) SuspendTenant(ctx context.Context, name string, x Suspend) (Tenant, error) {
	return suspend[Tenant](ctx, c, path("tenants", name, "suspension"), x)
}

// SuspendAccount holds an account and tells it why; an empty class ends that.
func (c *Client) SuspendAccount(ctx context.Context, username string, x Suspend) (Account, error) {
	return suspend[Account](ctx, c, path("accounts", username, "suspension"), x)
}

func suspend[T any](ctx context.Context, c *Client, path string, x Suspend) (T, error) {
	if x.Class == "" {
		return ask[T](ctx, c, http.MethodDelete, path, nil)
	}
	return ask[T](ctx, c, http.MethodPut, path, x)
}

// PauseTenant pauses a tenant; an empty reason resumes it.
func (c *Client) PauseTenant(ctx context.Context, name, reason string) (Tenant, error) {
	return stop[Tenant](ctx, c, path("tenants", name, "pause"), reason)
}

func stop[T any](ctx context.Context, c *Client, path, reason string) (T, error) {
	if reason == "" {
		return ask[T](ctx, c, http.MethodDelete, path, nil)
	}
	return ask[T](ctx, c, http.MethodPut, path, Stop{Reason: reason})
}

// MakeToken makes the tenant's API token, shown once.
func (c *Client) MakeToken(ctx context.Context, name string) (Token, error) {
	return ask[Token](ctx, c, http.MethodPost, path("tenants", name, "token"), nil)
}

// RemoveToken ends the tenant's API token.
func (c *Client) RemoveToken(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, path("tenants", name, "token"), nil, nil)
}

// Domains lists a tenant's sender domains.
func (c *Client) Domains(ctx context.Context, tenant string, l List) (Page[Domain], error) {
	return ask[Page[Domain]](ctx, c, http.MethodGet, path("tenants", tenant, "domains")+l.query(), nil)
}

// SetDomain proves a sender domain and sets or clears its DKIM key.
func (c *Client) SetDomain(ctx context.Context, tenant, domain string, d SetDomain) (Domain, error) {
	return ask[Domain](ctx, c, http.MethodPut, path("tenants", tenant, "domains", domain), d)
}

// SetBounce names the subdomain that bounces of a sender domain's mail come back
// to; with "" they go to the senders.
func (c *Client) SetBounce(ctx context.Context, tenant, domain, bounce string) (Domain, error) {
	return ask[Domain](ctx, c, http.MethodPut, path("tenants", tenant, "domains", domain, "bounce"), SetBounce{Bounce: bounce})
}

// RemoveDomain takes back a sender domain.
func (c *Client) RemoveDomain(ctx context.Context, tenant, domain string) error {
	return c.do(ctx, http.MethodDelete, path("tenants", tenant, "domains", domain), nil, nil)
}

// Accounts lists accounts; tenant "" means of all.
func (c *Client) Accounts(ctx context.Context, tenant string, l List) (Page[Account], error) {
	return ask[Page[Account]](ctx, c, http.MethodGet, path("accounts")+l.query("tenant", tenant), nil)
}

// Account shows one account.
func (c *Client) Account(ctx context.Context, username string) (Account, error) {
	return ask[Account](ctx, c, http.MethodGet, path("accounts", username), nil)
}

// AddAccount registers an account; its password is in the answer, once.
func (c *Client) AddAccount(ctx context.Context, n NewAccount) (Credential, error) {
	return ask[Credential](ctx, c, http.MethodPost, path("accounts"), n)
}

// SetAccount changes what is not nil.
func (c *Client) SetAccount(ctx context.Context, username string, s SetAccount) (Account, error) {
	return ask[Account](ctx, c, http.MethodPatch, path("accounts", username), s)
}

// RemoveAccount takes away an account.
func (c *Client) RemoveAccount(ctx context.Context, username string) error {
	return c.do(ctx, http.MethodDelete, path("accounts", username), nil, nil)
}

// HoldAccount holds an account; an empty reason releases it.
func (c *Client) HoldAccount(ctx context.Context, username, reason string) (Account, error) {
	return stop[Account](ctx, c, path("accounts", username, "hold"), reason)
}

// SetHash lets an account keep the password it had elsewhere.
func (c *Client) SetHash(ctx context.Context, username, hash string) (Account, error) {
	return ask[Account](ctx, c, http.MethodPut, path("accounts", username, "password"), NewHash{hash})
}

// MakePassword makes a new password; the one before ends.
func (c *Client) MakePassword(ctx context.Context, username string) (Credential, error) {
	return ask[Credential](ctx, c, http.MethodPost, path("accounts", username, "password"), nil)
}

// Routes lists the static routes.
func (c *Client) Routes(ctx context.Context, l List) (Page[Route], error) {
	return ask[Page[Route]](ctx, c, http.MethodGet, path("routes")+l.query(), nil)
}

// SetRoute sends a recipient domain's mail to a fixed host.
func (c *Client) SetRoute(ctx context.Context, domain string, r SetRoute) (Route, error) {
	return ask[Route](ctx, c, http.MethodPut, path("routes", domain), r)
}

// RemoveRoute goes back to the domain's MX.
func (c *Client) RemoveRoute(ctx context.Context, domain string) error {
	return c.do(ctx, http.MethodDelete, path("routes", domain), nil, nil)
}

// Usage says what accounts used of their current windows; empty names mean all.
func (c *Client) Usage(ctx context.Context, tenant, account string, l List) (Page[Usage], error) {
	return ask[Page[Usage]](ctx, c, http.MethodGet, path("usage")+l.query("tenant", tenant, "account", account), nil)
}

// MonthUsage says what accounts used in a month, as 2026-10; tenant "" means all.
func (c *Client) MonthUsage(ctx context.Context, month, tenant string, l List) (MonthPage, error) {
	return ask[MonthPage](ctx, c, http.MethodGet, path("usage", "export")+l.query("month", month, "tenant", tenant), nil)
}

// Queue lists waiting messages, oldest first.
func (c *Client) Queue(ctx context.Context, m Match, l List) (Page[Message], error) {
	return ask[Page[Message]](ctx, c, http.MethodGet,
		path("queue")+l.query("tenant", m.Tenant, "account", m.Account, "domain", m.Domain), nil)
}

// Message shows one waiting message.
func (c *Client) Message(ctx context.Context, id string) (Message, error) {
	return ask[Message](ctx, c, http.MethodGet, path("queue", id), nil)
}

// Trace shows everything known of a message, also after it ended.
func (c *Client) Trace(ctx context.Context, id string) (Trace, error) {
	return ask[Trace](ctx, c, http.MethodGet, path("trace", id), nil)
}

// Flush makes matching messages due now.
func (c *Client) Flush(ctx context.Context, m Match) (Done, error) {
	return ask[Done](ctx, c, http.MethodPost, path("queue", "flush"), m)
}

// Purge ends matching messages without notices.
func (c *Client) Purge(ctx context.Context, m Match) (Done, error) {
	return ask[Done](ctx, c, http.MethodPost, path("queue", "purge"), m)
}

// Cancel ends one message without notices.
func (c *Client) Cancel(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, path("queue", id), nil, nil)
}

// Cluster says who leads and whether the node that is asked may act.
func (c *Client) Cluster(ctx context.Context) (Cluster, error) {
	return ask[Cluster](ctx, c, http.MethodGet, path("cluster"), nil)
}

// Node shows one node.
func (c *Client) Node(ctx context.Context, name string) (Node, error) {
	return ask[Node](ctx, c, http.MethodGet, path("nodes", name), nil)
}

// RemoveNode takes a node out of the cluster for good. Lost says that it is down
// and its disk is gone: the copies of queues it holds are given up.
func (c *Client) RemoveNode(ctx context.Context, name string, lost bool) error {
	p := path("nodes", name)
	if lost {
		p += "?lost=true"
	}
	return c.do(ctx, http.MethodDelete, p, nil, nil)
}

// DrainNode hands a node's tenants over to others; with on false it may have
// tenants again.
func (c *Client) DrainNode(ctx context.Context, name string, on bool) (Node, error) {
	verb := http.MethodPut
	if !on {
		verb = http.MethodDelete
	}
	return ask[Node](ctx, c, verb, path("nodes", name, "drain"), nil)
}

// MaintainNode lets a node be away for d, whole seconds and tenant.MaxAway at
// most, without its tenants moving; 0 ends that.
func (c *Client) MaintainNode(ctx context.Context, name string, d time.Duration) (Node, error) {
	if d == 0 {
		return ask[Node](ctx, c, http.MethodDelete, path("nodes", name, "maintenance"), nil)
	}
	return ask[Node](ctx, c, http.MethodPut, path("nodes", name, "maintenance"), Maintenance{Seconds: int((d + time.Second - 1) / time.Second)})
}

// LogLevel says how much a node logs.
func (c *Client) LogLevel(ctx context.Context, node string) (LogLevel, error) {
	return ask[LogLevel](ctx, c, http.MethodGet, path("nodes", node, "log-level"), nil)
}

// SetLogLevel lets a node log at another level for a while, in whole seconds.
func (c *Client) SetLogLevel(ctx context.Context, node, level string, length time.Duration) (LogLevel, error) {
	return ask[LogLevel](ctx, c, http.MethodPut, path("nodes", node, "log-level"), SetLogLevel{Level: level, Seconds: int(length / time.Second)})
}

// EndLogLevel lets a node log as its configuration says.
func (c *Client) EndLogLevel(ctx context.Context, node string) (LogLevel, error) {
	return ask[LogLevel](ctx, c, http.MethodDelete, path("nodes", node, "log-level"), nil)
}

// ReloadNode lets a node read its configuration file again.
func (c *Client) ReloadNode(ctx context.Context, node string) (Reloaded, error) {
	return ask[Reloaded](ctx, c, http.MethodPost, path("nodes", node, "reload"), nil)
}

// JoinTokens lists the join tokens that are good now, without their secrets.
func (c *Client) JoinTokens(ctx context.Context, l List) (Page[OpenToken], error) {
	return ask[Page[OpenToken]](ctx, c, http.MethodGet, path("join-tokens")+l.query(), nil)
}

// RevokeJoinTokens takes all join tokens back.
func (c *Client) RevokeJoinTokens(ctx context.Context) (Done, error) {
	return ask[Done](ctx, c, http.MethodDelete, path("join-tokens"), nil)
}

// RevokeJoinToken takes one join token back, named by the beginning of its id.
func (c *Client) RevokeJoinToken(ctx context.Context, id string) (Done, error) {
	return ask[Done](ctx, c, http.MethodDelete, path("join-tokens", id), nil)
}

// MakeJoinToken makes a token that lets nodes join, shown once.
func (c *Client) MakeJoinToken(ctx context.Context, n NewJoinToken) (JoinToken, error) {
	return ask[JoinToken](ctx, c, http.MethodPost, path("join-tokens"), n)
}

// MoveTenant hands a tenant over to a node; an empty name takes that back.
func (c *Client) MoveTenant(ctx context.Context, name, to string) (Tenant, error) {
	if to == "" {
		return ask[Tenant](ctx, c, http.MethodDelete, path("tenants", name, "move"), nil)
	}
	return ask[Tenant](ctx, c, http.MethodPut, path("tenants", name, "move"), Move{To: to})
}

// Loss says what the loss of a node would move; nothing moves.
func (c *Client) Loss(ctx context.Context, node string) (Forecast, error) {
	return ask[Forecast](ctx, c, http.MethodGet, path("plan")+List{}.query("loss", node), nil)
}

// Drain says what a drain would move.
func (c *Client) Drain(ctx context.Context, node string) (Forecast, error) {
	return ask[Forecast](ctx, c, http.MethodGet, path("plan")+List{}.query("drain", node), nil)
}

// Listing says what a listing of a source would move.
func (c *Client) Listing(ctx context.Context, addr string) (Forecast, error) {
	return ask[Forecast](ctx, c, http.MethodGet, path("plan")+List{}.query("listing", addr), nil)
}

// Capacity says how many tenants the cluster carries.
func (c *Client) Capacity(ctx context.Context) (Capacity, error) {
	return ask[Capacity](ctx, c, http.MethodGet, path("capacity"), nil)
}

// Backup gives the cluster's whole state as a file's content.
func (c *Client) Backup(ctx context.Context) ([]byte, error) {
	var b []byte
	err := c.do(ctx, http.MethodGet, path("backup"), nil, &b)
	return b, err
}
