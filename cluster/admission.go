package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"postern/tenant"
)

const (
	// maxJoin bounds a request to join, maxJoined its answer.
	maxJoin   = 8 << 10
	maxJoined = 128 << 10
	// joinTime bounds one joining at the answering node.
	joinTime = 30 * time.Second
	// joinBurst and joinRate bound attempts: a secret cannot be guessed, but
	// each attempt costs a handshake and a look.
	joinBurst = 20
	joinRate  = 2 // a second
	// tokenGrace is how long an unknown token may be one that is on its way.
	tokenGrace = 2 * time.Second
	tokenPoll  = 20 * time.Millisecond
)

// joinRequest is what a joining node asks.
type joinRequest struct {
	Secret    []byte `json:"secret"`
	Name      string `json:"name"`
	Advertise string `json:"advertise"`
	Request   []byte `json:"request"` // PKCS #10: proves the key
	Version   uint32 `json:"version"`
}

// joinAnswer is what it gets. Refused is final; Later may be tried elsewhere
// or again.
type joinAnswer struct {
	Refused string            `json:"refused,omitempty"`
	Later   string            `json:"later,omitempty"`
	Chain   [][]byte          `json:"chain,omitempty"`
	Secret  []byte            `json:"secret,omitempty"`
	Peers   map[string]string `json:"peers,omitempty"`
	Index   uint64            `json:"index,omitempty"`
}

// readJoin reads a request and checks its form.
func readJoin(b []byte) (r joinRequest, err error) {
	if err := json.Unmarshal(b, &r); err != nil {
		return r, errors.New("the request cannot be read")
	}
	switch {
	case len(r.Secret) != secretSize:
		return r, errors.New("the token has no secret")
	case !tenant.ValidName(r.Name):
		return r, fmt.Errorf("%.80q is no node name: write 1 to 63 of a-z, 0-9 and hyphens", r.Name)
	case !tenant.ValidPeer(r.Advertise):
		return r, fmt.Errorf("%.80q is no address others can dial: write host:port", r.Advertise)
	}
	return r, nil
}

// bucket is how many attempts are left.
type bucket struct {
	mu   sync.Mutex // guards what follows
	left float64
	at   time.Time
}

func (b *bucket) fill(n float64) { b.left, b.at = n, time.Now() }

// take uses one up; false when there is none.
func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.left+now.Sub(b.at).Seconds()*joinRate, joinBurst)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// answerJoin serves one joining node, which has proved nothing yet.
func (p *port) answerJoin(ctx context.Context, c *peerConn) {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	if c.SetDeadline(time.Now().Add(p.pace.handshake)) != nil {
		return
	}
	b, err := readRecord(c, maxJoin)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			p.log.Debug("request to join not read", "addr", c.RemoteAddr().String(), "err", err)
		}
		return
	}
	a := p.admit(ctx, b)
	if a.Refused != "" || a.Later != "" {
		level := slog.LevelDebug // anybody can ask
		if p.seldom.now("join") {
			level = slog.LevelWarn
		}
		p.log.Log(ctx, level, "node not let in", "addr", c.RemoteAddr().String(), "reason", a.Refused+a.Later)
	}
	answer, err := json.Marshal(a)
	if err != nil || c.SetDeadline(time.Now().Add(p.pace.handshake)) != nil {
		return
	}
	_, _ = c.Write(sealed(answer)) // a node that went away asks again
}

// admit decides on a request.
func (p *port) admit(ctx context.Context, b []byte) joinAnswer {
	if !p.joins.take(time.Now()) {
		return joinAnswer{Later: "too many nodes ask to join; try again in a moment"}
	}
	r, err := readJoin(b)
	if err != nil {
		return joinAnswer{Refused: err.Error()}
	}
	public, key, err := readRequest(r.Request)
	if err != nil {
		return joinAnswer{Refused: err.Error()}
	}
	s := p.state()
	if p.propose == nil || s.Authority() == nil {
		return joinAnswer{Later: "the cluster is not formed yet"}
	}
	s = p.await(ctx, sha256.Sum256(r.Secret))
	t, err := p.fitting(s, r)
	if t == nil && err == nil {
		return joinAnswer{Later: "the cluster is not formed yet"}
	}
	if err != nil {
		return joinAnswer{Refused: err.Error()}
	}
	// The key is at hand before anything is committed.
	ca, err := p.authority(s)
	if err != nil {
		p.log.Error("authority not opened", "err", err)
		return joinAnswer{Later: "this node cannot sign"}
	}
	if s, err = p.propose(ctx, tenant.Join{
		Name: r.Name, Peer: r.Advertise, Key: key, Witness: t.Witness, Version: r.Version, Token: t.Hash,
	}); err != nil {
		var refused *tenant.Refused
		if errors.As(err, &refused) {
			return joinAnswer{Refused: refused.Reason}
		}
		return joinAnswer{Later: err.Error()}
	}
	leaf, err := ca.sign(public, roleNode, r.Name, life{now: p.now(), span: p.pace.span, since: s.Index()})
	if err != nil {
		return joinAnswer{Later: err.Error()}
	}
	a := joinAnswer{Chain: [][]byte{leaf, ca.cert.Raw}, Peers: map[string]string{}, Index: s.Index()}
	for n := range s.Nodes() {
		if n.Peer != "" && n.Name != r.Name && len(a.Peers) < maxPeers {
			a.Peers[n.Name] = n.Peer
		}
	}
	if p.peering.Secret != nil {
		if a.Secret, err = p.peering.Secret(); err != nil {
			p.log.Error("secret for a joining node not read", "err", err)
			return joinAnswer{Later: "this node cannot give the cluster's secret"}
		}
	}
	p.log.Info("node let in", "node", r.Name, "addr", r.Advertise, "witness", t.Witness)
	return a
}

// await gives a token that was made a moment ago at another node the time to
// arrive here.
func (p *port) await(ctx context.Context, hash [32]byte) *tenant.State {
	for until := time.Now().Add(p.pace.grace); ; {
		s := p.state()
		if s.JoinToken(hash) != nil || time.Now().After(until) || !sleep(ctx, tokenPoll) {
			return s
		}
	}
}

// fitting finds the token a request shows; neither token nor error when the
// first one is still on its way. The state's own check when the proposal is
// applied is the one that counts; this one has the better words.
func (p *port) fitting(s *tenant.State, r joinRequest) (*tenant.JoinToken, error) {
	t := s.JoinToken(sha256.Sum256(r.Secret))
	switch {
	case t == nil && p.unfinished():
		return nil, nil
	case t == nil:
		return nil, errors.New("the token is not known: it expired or was taken back")
	case !p.now().Before(t.Expires):
		return nil, fmt.Errorf("the token expired at %s", t.Expires.UTC().Format(time.RFC3339))
	case t.Node != "" && t.Node != r.Name:
		return nil, fmt.Errorf("the token is for node %s, not %s", t.Node, r.Name)
	case r.Name == p.name:
		return nil, fmt.Errorf("node %s is this node itself: give the new one another name", r.Name)
	}
	return t, nil
}

// authority opens the cluster's authority with its key: from the state, or
// from the directory of the founding node before the state has it.
func (p *port) authority(s *tenant.State) (*authority, error) {
	a := s.Authority()
	if a == nil {
		return p.pki.authority()
	}
	if p.peering.Open == nil {
		return nil, errors.New("open authority: no way to open what is sealed")
	}
	key, err := p.peering.Open(sealAuthority, a.SealedKey)
	if err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	return readAuthority(a.Cert, key)
}
