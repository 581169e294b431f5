package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"postern/tenant"
)

const (
	// maxPeers bounds an address book.
	maxPeers = 256

	verbHere  = "here"
	herePause = time.Second
)

// pages is an address book as it is stored.
type pages struct {
	Index uint64            `json:"index"` // of the state it was learnt from
	Peers map[string]string `json:"peers"` // node name to host:port
}

// book knows where nodes are. What the state says is written down, so that a
// node that starts can dial before it has a state.
type book struct {
	pki pkiDir
	log *slog.Logger

	mu    sync.Mutex // guards what follows
	pages pages
	seen  uint64            // index last compared
	told  map[string]string // what nodes said of themselves since the start
}

func openBook(pki pkiDir, log *slog.Logger) (*book, error) {
	b := &book{pki: pki, log: log}
	err := pki.readJSON(filePeers, &b.pages)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open address book: %w", err)
	}
	if len(b.pages.Peers) > maxPeers {
		return nil, fmt.Errorf("open address book: %d nodes are over %d", len(b.pages.Peers), maxPeers)
	}
	return b, nil
}

// tell notes where a node says it is.
func (b *book) tell(node, addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.told == nil {
		b.told = map[string]string{}
	}
	b.told[node] = addr
}

// addrs lists where a node may be, best first. While a start replays its log,
// what was written down is newer than the state; what the node itself said is
// newer than both, and if it is not, another one of the list is right.
func (b *book) addrs(s *tenant.State, node string) []string {
	b.mu.Lock()
	told, written, index := b.told[node], b.pages.Peers[node], b.pages.Index
	b.mu.Unlock()
	said := ""
	if n := s.NodeByName(node); n != nil {
		said = n.Peer
	}
	if index > s.Index() {
		said, written = written, said
	}
	var list []string
	for _, a := range []string{told, said, written} {
		if a != "" && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// names lists the other nodes that the book or the state knows.
func (b *book) names(s *tenant.State, own string) []string {
	b.mu.Lock()
	known := maps.Clone(b.pages.Peers)
	index := b.pages.Index
	b.mu.Unlock()
	if known == nil {
		known = map[string]string{}
	}
	if s.Index() >= index && !noNodes(s) {
		clear(known)
	}
	for n := range s.Nodes() {
		known[n.Name] = n.Peer
	}
	delete(known, own)
	return slices.Sorted(maps.Keys(known))
}

// learn writes down what a newer state says. A failure is tried again with the
// next state; the state itself has it all.
func (b *book) learn(s *tenant.State, own string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.Index() <= b.seen || s.Index() < b.pages.Index {
		return
	}
	b.seen = s.Index()
	next := pages{Index: s.Index(), Peers: map[string]string{}}
	for n := range s.Nodes() {
		if n.Peer != "" && n.Name != own && len(next.Peers) < maxPeers {
			next.Peers[n.Name] = n.Peer
		}
	}
	if noNodes(s) || maps.Equal(next.Peers, b.pages.Peers) {
		return
	}
	if err := b.pki.writeJSON(filePeers, next); err != nil {
		b.log.Warn("address book not written", "err", err)
		return
	}
	b.pages = next
}

// hereRequest is what a node says of itself.
type hereRequest struct {
	Addr string `json:"addr"`
}

func (p *port) answerHere(ctx context.Context, from string, req []byte) ([]byte, error) {
	return answering(func(_ context.Context, from string, q hereRequest) (struct{}, error) {
		if !tenant.ValidPeer(q.Addr) {
			return struct{}{}, &tenant.Refused{Reason: "the address is not host:port"}
		}
		p.book.tell(from, q.Addr)
		return struct{}{}, nil
	})(ctx, from, req)
}

// sayHere tells the others where this node is for as long as the state says
// otherwise. The leader dials a node before the node can propose anything: one
// that moved while it was off would never be reached, and never hear a leader.
func (p *port) sayHere(ctx context.Context) {
	for {
		s := p.state()
		if n := s.NodeByName(p.name); n == nil || n.Peer != p.peering.Advertise {
			var group sync.WaitGroup
			for _, node := range p.book.names(s, p.name) {
				group.Go(func() {
					within, cancel := context.WithTimeout(ctx, p.pace.dial)
					defer cancel()
					if err := p.call(within, node, verbHere, hereRequest{p.peering.Advertise}, nil); err != nil && ctx.Err() == nil {
						p.log.Debug("address not told", "node", node, "err", err)
					}
				})
			}
			group.Wait()
		}
		if !sleep(ctx, untilBeat(herePause)) {
			return
		}
	}
}
