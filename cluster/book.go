package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"

	"postern/tenant"
)

// maxPeers bounds an address book.
const maxPeers = 256

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
	seen  uint64 // index last compared
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

// addrs lists where a node may be, best first. While a start replays its log,
// what was written down is newer than the state.
func (b *book) addrs(s *tenant.State, node string) []string {
	b.mu.Lock()
	written, index := b.pages.Peers[node], b.pages.Index
	b.mu.Unlock()
	said := ""
	if n := s.NodeByName(node); n != nil {
		said = n.Peer
	}
	list := []string{said, written}
	if index > s.Index() {
		list = []string{written, said}
	}
	list = slices.DeleteFunc(list, func(a string) bool { return a == "" })
	return slices.Compact(list)
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

// validPeer reports whether s can be dialed: host:port with both, the port a
// number.
func validPeer(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || len(s) > 262 {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
