package admin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"postern/tenant"
)

const (
	// headerPassedOn names the node that asks in a caller's name. Who sets it
	// gets this node's own answer and no other: that is all it does.
	headerPassedOn = "Postern-Passed-On"
	// headerAge is how old the state behind an answer may be, in seconds.
	headerAge = "Postern-Age"

	dialWait  = 3 * time.Second
	askWait   = 20 * time.Second // one request to another node
	countWait = 4 * time.Second  // numbers of all nodes: a screen waits for them
)

// peers asks other nodes' APIs, each over connections of the peer port that are
// kept for the next request.
type peers struct {
	self string
	http *http.Client
}

func newPeers(self string, dial func(context.Context, string) (net.Conn, error)) *peers {
	t := &http.Transport{
		Proxy: nil, // callers' tokens go to nodes and nowhere else
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialWait)
			defer cancel()
			node, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return dial(ctx, node)
		},
		ResponseHeaderTimeout: askWait,
		MaxIdleConnsPerHost:   4,
		MaxConnsPerHost:       64,
		IdleConnTimeout:       30 * time.Second,
	}
	return &peers{self: self, http: &http.Client{Transport: t, Timeout: askWait,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (p *peers) close() {
	if p != nil {
		p.http.CloseIdleConnections()
	}
}

// node is the client that asks a node in the caller's name.
func (p *peers) node(name string, who caller) *Client {
	return &Client{base: "http://" + name, token: who.token, from: p.self, as: who.name, http: p.http}
}

// errMoving answers a request that was passed on by a node with an older or
// newer state than this one's.
func errMoving(name string) *Problem {
	return problem(http.StatusServiceUnavailable, "try again in a few seconds", "tenant %q is changing its owner", clip(name))
}

// owner finds who must answer for a tenant's queue: nil is this node.
func (s *Server) owner(who caller, t *tenant.Tenant) (*Client, error) {
	name := nodeName(s.cfg.State(), t.Owner)
	switch {
	case name == s.cfg.Node || s.peers == nil:
		if s.cfg.Adopted != nil && !s.cfg.Adopted(t.ID) {
			return nil, problem(http.StatusServiceUnavailable, "try again in a few seconds", "node %s is taking over tenant %q", s.cfg.Node, t.Name)
		}
		return nil, nil
	case who.passedOn || name == "":
		return nil, errMoving(t.Name)
	}
	return s.peers.node(name, who), nil
}

// ownerOf is owner for what names a tenant by a message id: ids begin with the
// tenant's number.
func (s *Server) ownerOf(who caller, id string) (*Client, error) {
	number, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	t := s.cfg.State().Tenant(tenant.ID(n))
	if err != nil || t == nil {
		return nil, nil // perhaps of a tenant that was removed
	}
	if !who.may(t.ID) {
		return nil, absent("message", id)
	}
	return s.owner(who, t)
}

// passed gives what another node answered. Its refusal is this node's; its
// silence is told as what it is.
func passed[T any](v T, err error) (T, error) {
	var gone *Unreachable
	if errors.As(err, &gone) {
		node := strings.TrimPrefix(gone.Base, "http://")
		err = problem(http.StatusServiceUnavailable, "if it is down, its tenants' backups take over within seconds: try again",
			"node %s owns this and cannot be reached", node)
	}
	return v, err
}

// ownerNames are the other nodes that own tenants the caller may see.
func (s *Server) ownerNames(st *tenant.State, who caller) []string {
	if s.peers == nil || who.passedOn {
		return nil
	}
	var all []string
	for t := range st.Tenants() {
		name := nodeName(st, t.Owner)
		if who.may(t.ID) && name != s.cfg.Node && name != "" && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// gather asks other nodes at once and returns the names of those that gave no
// answer in time.
func (s *Server) gather(ctx context.Context, who caller, nodes []string, ask func(context.Context, *Client) error) (missing []string) {
	ctx, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	failed := make([]bool, len(nodes))
	var all sync.WaitGroup
	for i, name := range nodes {
		all.Go(func() { failed[i] = ask(ctx, s.peers.node(name, who)) != nil })
	}
	all.Wait()
	for i, name := range nodes {
		if failed[i] {
			missing = append(missing, name)
		}
	}
	return missing
}

// tellAge says how old the state behind an answer may be. A node that has no
// others is always up to date.
func (s *Server) tellAge(ctx huma.Context) {
	if s.cfg.Cluster == nil {
		ctx.SetHeader(headerAge, "0")
		return
	}
	if at := s.cfg.Cluster().Current; !at.IsZero() {
		ctx.SetHeader(headerAge, strconv.FormatFloat(max(time.Since(at), 0).Seconds(), 'f', 1, 64))
	} else {
		ctx.SetHeader(headerAge, "unknown")
	}
}

// read is a state with everything committed before the call.
func (s *Server) read(ctx context.Context) (*tenant.State, error) {
	if s.cfg.Read == nil {
		return s.cfg.State(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, proposeWait)
	defer cancel()
	st, err := s.cfg.Read(ctx)
	if err != nil {
		return nil, s.fail(ctx, "read state", err)
	}
	return st, nil
}
