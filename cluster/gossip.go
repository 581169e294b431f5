package cluster

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"postern/tenant"
)

const verbGossip = "gossip"

// gossipPace is what tests make faster.
type gossipPace struct {
	probe   time.Duration
	timeout time.Duration
	toDead  time.Duration
	first   time.Duration // between attempts to join, growing to
	rejoin  time.Duration
	adjust  func(*memberlist.Config) // tests put a network in between
}

// lanPace has memberlist's times for a local network, but for the answer to a
// probe, which a machine busy with TLS may give late.
func lanPace() gossipPace {
	return gossipPace{
		probe:   time.Second,
		timeout: time.Second,
		toDead:  30 * time.Second,
		first:   time.Second,
		rejoin:  30 * time.Second,
	}
}

// hints is what gossip says: who seems alive. Nothing may be decided by it.
type hints struct {
	living atomic.Pointer[map[string]struct{}]
	addr   atomic.Pointer[string] // host:port of this node's gossip
}

func (h *hints) alive(node string) bool {
	m := h.living.Load()
	if m == nil {
		return false
	}
	_, ok := (*m)[node]
	return ok
}

// gossipPlace is the answer to the question where a node gossips. It goes over
// the peer port: gossip has no certificates.
type gossipPlace struct {
	Addr string `json:"addr"`
}

func (p *port) answerGossip(ctx context.Context, from string, req []byte) ([]byte, error) {
	return answering(func(context.Context, string, struct{}) (gossipPlace, error) {
		if a := p.hints.addr.Load(); a != nil {
			return gossipPlace{*a}, nil
		}
		return gossipPlace{}, nil
	})(ctx, from, []byte("{}"))
}

// gossip takes part until ctx ends. That it cannot is no reason to end: hints
// are all that is lost.
func (p *port) gossip(ctx context.Context) {
	if p.peering.Gossip == "" {
		return
	}
	pause, last := p.pace.gossip.first, ""
	for {
		err := p.gossipOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != last {
			p.log.Warn("gossip not started", "node", p.name, "err", err)
			last = err.Error()
		}
		if !sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, p.pace.gossip.rejoin)
	}
}

// gossipOnce gossips until ctx ends; an error means that it did not begin.
func (p *port) gossipOnce(ctx context.Context) error {
	a := p.state().Authority()
	if a == nil || p.peering.Open == nil {
		return errors.New("the state has no gossip key yet")
	}
	key, err := p.peering.Open(sealGossip, a.SealedGossip)
	if err != nil {
		return fmt.Errorf("open gossip key: %w", err)
	}
	if len(key) != gossipKeySize {
		return fmt.Errorf("open gossip key: %d octets", len(key))
	}
	changed := make(chan struct{}, 1)
	config, err := p.gossipConfig(ctx, a, key, changed)
	if err != nil {
		return err
	}
	m, err := memberlist.Create(config)
	if err != nil {
		return fmt.Errorf("bind gossip: %w", err)
	}
	local := m.LocalNode()
	addr := net.JoinHostPort(local.Addr.String(), strconv.Itoa(int(local.Port)))
	p.hints.addr.Store(&addr)
	p.log.Info("gossip started", "node", p.name, "addr", addr)
	p.keepJoined(ctx, m, changed)
	p.hints.addr.Store(nil)
	p.hints.living.Store(nil)
	// So the others know at once; in vain if nobody hears it.
	_ = m.Leave(500 * time.Millisecond)
	if err := m.Shutdown(); err != nil {
		p.log.Warn("gossip not stopped", "err", err)
	}
	return nil
}

// gossipConfig is memberlist's configuration: keyed, labelled by the cluster.
func (p *port) gossipConfig(ctx context.Context, a *tenant.Authority, key []byte, changed chan struct{}) (*memberlist.Config, error) {
	host, portText, err := net.SplitHostPort(p.peering.Gossip)
	if err != nil {
		return nil, fmt.Errorf("bind gossip: %w", err)
	}
	n, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("bind gossip: port %.20q", portText)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	advertise, _, err := net.SplitHostPort(p.peering.Advertise)
	if err != nil {
		return nil, fmt.Errorf("bind gossip: %w", err)
	}
	ip, err := resolve(ctx, advertise)
	if err != nil {
		return nil, fmt.Errorf("bind gossip: %w", err)
	}
	c := memberlist.DefaultLANConfig()
	c.Name = p.name
	c.BindAddr, c.BindPort = host, int(n)
	c.AdvertiseAddr, c.AdvertisePort = ip.String(), int(n)
	c.Label = hex.EncodeToString(a.Cluster[:])
	c.SecretKey = key
	c.TCPTimeout = dialTime
	c.ProbeInterval, c.ProbeTimeout = p.pace.gossip.probe, p.pace.gossip.timeout
	c.GossipInterval = time.Second // there is little to tell, and an idle node should sleep
	c.SuspicionMult = 8            // of three nodes nobody can confirm a suspicion
	c.GossipToTheDeadTime = p.pace.gossip.toDead
	c.DeadNodeReclaimTime = 30 * time.Second // or a node that moved is refused for ever
	c.Delegate = gossipMeta{p}
	c.Events = gossipEvents{changed}
	c.Logger = log.New(gossipLog{p.log, &p.seldom}, "", 0)
	if p.pace.gossip.adjust != nil {
		p.pace.gossip.adjust(c)
	}
	return c, nil
}

// resolve gives one IP address of a host.
func resolve(ctx context.Context, host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("look up %s: %w", host, err)
	}
	return ips[0].Unmap(), nil
}

// keepJoined shows who is alive, and asks those who are not to gossip with us,
// again and again for ever: memberlist forgets the dead after a while and then
// never dials them.
func (p *port) keepJoined(ctx context.Context, m *memberlist.Memberlist, changed <-chan struct{}) {
	pause := p.pace.gossip.first
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			p.showLiving(m)
		case <-timer.C:
			p.showLiving(m)
			missing := p.missing()
			for _, node := range missing {
				p.joinGossip(ctx, m, node)
			}
			if pause = min(2*pause, p.pace.gossip.rejoin); len(missing) == 0 {
				pause = p.pace.gossip.first
			}
			timer.Reset(untilBeat(pause))
		}
	}
}

// showLiving reads names only: all else of a member changes under memberlist's
// own lock.
func (p *port) showLiving(m *memberlist.Memberlist) {
	living := map[string]struct{}{}
	for _, n := range m.Members() {
		living[n.Name] = struct{}{}
	}
	p.hints.living.Store(&living)
}

// missing lists the nodes of the state that gossip does not see.
func (p *port) missing() []string {
	var names []string
	for n := range p.state().Nodes() {
		if n.Name != p.name && n.Peer != "" && !p.hints.alive(n.Name) {
			names = append(names, n.Name)
		}
	}
	return names
}

func (p *port) joinGossip(ctx context.Context, m *memberlist.Memberlist, node string) {
	ctx, cancel := context.WithTimeout(ctx, p.pace.dial)
	defer cancel()
	var place gossipPlace
	if err := p.call(ctx, node, verbGossip, nil, &place); err != nil || place.Addr == "" {
		return // out of reach, or it does not gossip
	}
	if _, err := netip.ParseAddrPort(place.Addr); err != nil {
		p.log.Warn("gossip address not understood", "node", node, "err", err)
		return
	}
	if _, err := m.Join([]string{place.Addr}); err != nil {
		p.log.Debug("gossip not joined", "node", node, "err", err)
	}
}

// gossipEvents wakes the loop above. memberlist calls it under its locks, so
// it never waits; events that coincide are one.
type gossipEvents struct{ changed chan struct{} }

func (e gossipEvents) NotifyJoin(*memberlist.Node)   { e.wake() }
func (e gossipEvents) NotifyLeave(*memberlist.Node)  { e.wake() }
func (e gossipEvents) NotifyUpdate(*memberlist.Node) { e.wake() }

func (e gossipEvents) wake() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// gossipMeta tells the others our version and load.
type gossipMeta struct{ port *port }

func (g gossipMeta) NodeMeta(limit int) []byte {
	g.port.mu.Lock()
	conns := len(g.port.conns)
	g.port.mu.Unlock()
	b, err := json.Marshal(struct {
		Version uint32 `json:"version"`
		Conns   int    `json:"conns"`
	}{tenant.NewestVersion, conns})
	if err != nil || len(b) > limit {
		return nil
	}
	return b
}

func (gossipMeta) NotifyMsg([]byte)                {}
func (gossipMeta) GetBroadcasts(int, int) [][]byte { return nil }
func (gossipMeta) LocalState(bool) []byte          { return nil }
func (gossipMeta) MergeRemoteState([]byte, bool)   {}

// gossipLog carries memberlist's lines into slog, a step quieter: a node that
// does not answer is nothing an operator has to read of twice. Anybody can make
// memberlist complain of a packet, as often as he likes.
type gossipLog struct {
	log    *slog.Logger
	seldom *seldom
}

func (g gossipLog) Write(b []byte) (int, error) {
	line := strings.TrimSpace(string(b))
	level := slog.LevelDebug
	if strings.HasPrefix(line, "[ERR]") && g.seldom.now("gossip") {
		level = slog.LevelInfo
	}
	if _, rest, ok := strings.Cut(line, "] "); ok {
		line = rest
	}
	g.log.Log(context.Background(), level, "gossip", "line", line)
	return len(b), nil
}
