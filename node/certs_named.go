package node

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"postern/node/trouble"
)

// Bounds of a directory of certificates.
const (
	maxPairs    = 2000
	maxPairFile = 256 << 10 // bytes of one file
)

// namedCerts are the certificates of tenants' own host names: the pairs of a
// directory, chosen by the name a client asks for (RFC 6066 §3). Each pair is read
// again when it changes; one that is broken stays as it was, and no other suffers.
type namedCerts struct {
	dir string
	bad *trouble.Log[string]

	by atomic.Pointer[map[string][]*tls.Certificate] // by lower-case name; the one that ends last is first

	mu      sync.Mutex // guards all below
	checked time.Time
	pairs   map[string]*namedPair // by certificate file
}

type namedPair struct {
	key   string // file
	stamp [2]fileStamp
	cert  *tls.Certificate // nil while none was ever read
}

// fileStamp changes with a file's contents, as far as anybody can tell: a renamed
// symbolic link may lead to an older file.
type fileStamp struct {
	changed time.Time
	size    int64
}

func newNamedCerts(dir string, log *slog.Logger) *namedCerts {
	n := &namedCerts{dir: dir, pairs: map[string]*namedPair{},
		bad: trouble.New[string](log, slog.LevelError, "certificate of a host name not read, what was there before stays", "cert")}
	n.by.Store(&map[string][]*tls.Certificate{})
	n.look()
	return n
}

// get is what TLS asks with the client's hello. Nil is the node's own certificate.
func (n *namedCerts) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	n.look()
	by := *n.by.Load()
	name := strings.TrimSuffix(strings.ToLower(hello.ServerName), ".")
	_, above, _ := strings.Cut(name, ".")
	for _, name := range [2]string{name, "*." + above} {
		for _, c := range by[name] {
			if hello.SupportsCertificate(c) == nil {
				return c, nil
			}
		}
	}
	return nil, nil
}

// ends is when the first of them ends; zero without any.
func (n *namedCerts) ends() (first time.Time) {
	n.look()
	for _, all := range *n.by.Load() {
		if at := all[0].Leaf.NotAfter; first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// look reads what has changed, if the last look was long enough ago and nobody
// else is at it: a slow disk holds up one handshake, not all.
func (n *namedCerts) look() {
	if !n.mu.TryLock() {
		return
	}
	defer n.mu.Unlock()
	if time.Since(n.checked) < certRecheck {
		return
	}
	n.checked = time.Now()
	files, err := findPairs(n.dir)
	if err != nil {
		n.bad.Bad(n.dir, "err", err)
		return
	}
	n.bad.Well(n.dir)
	changed := false
	for cert := range n.pairs {
		if _, ok := files[cert]; !ok {
			delete(n.pairs, cert)
			changed = true
		}
	}
	for cert, key := range files {
		p := n.pairs[cert]
		if p == nil {
			p = &namedPair{key: key}
			n.pairs[cert] = p
		}
		changed = n.read(cert, p) || changed
	}
	if changed {
		n.by.Store(byName(n.pairs))
	}
}

// read reads a pair whose files have changed; it says whether there is a new one.
func (n *namedCerts) read(cert string, p *namedPair) bool {
	var stamp [2]fileStamp // taken before reading, so that a change in between is seen
	for i, name := range [2]string{cert, p.key} {
		if fi, err := os.Stat(name); err == nil {
			stamp[i] = fileStamp{fi.ModTime(), fi.Size()}
		}
	}
	if stamp == p.stamp {
		return false
	}
	c, err := readPair(cert, p.key)
	if err != nil {
		n.bad.Bad(cert, "err", err) // and again at the next look
		return false
	}
	n.bad.Well(cert)
	p.stamp, p.cert = stamp, c
	return true
}

func byName(pairs map[string]*namedPair) *map[string][]*tls.Certificate {
	by := map[string][]*tls.Certificate{}
	for _, p := range pairs {
		if p.cert == nil {
			continue
		}
		for _, name := range p.cert.Leaf.DNSNames {
			name = strings.ToLower(name)
			by[name] = append(by[name], p.cert)
		}
	}
	for _, all := range by {
		slices.SortFunc(all, func(a, b *tls.Certificate) int {
			return cmp.Or(b.Leaf.NotAfter.Compare(a.Leaf.NotAfter), bytes.Compare(a.Leaf.Raw, b.Leaf.Raw))
		})
	}
	return &by
}

// findPairs lists the certificates of a directory with their keys: NAME.crt beside
// NAME.key, and NAME/fullchain.pem beside NAME/privkey.pem as certbot's live/ has
// them. What lacks a key is in the list; reading it says so.
func findPairs(dir string) (map[string]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("look for certificates: %w", err)
	}
	defer d.Close()
	entries, err := d.ReadDir(4 * maxPairs)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("look for certificates: %w", err)
	}
	pairs := map[string]string{}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if stem, ok := strings.CutSuffix(path, ".crt"); ok {
			pairs[path] = stem + ".key"
			continue
		}
		if cert := filepath.Join(path, "fullchain.pem"); exists(cert) {
			pairs[cert] = filepath.Join(path, "privkey.pem")
		}
	}
	if len(pairs) > maxPairs {
		return nil, fmt.Errorf("look for certificates: %s holds more than %d", dir, maxPairs)
	}
	return pairs, nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
}

var errNoNames = errors.New("it names no host: get one with the names in it (SAN)")

// readPair reads one pair, with bounds.
func readPair(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := readBounded(certFile)
	if err != nil {
		return nil, err
	}
	key, err := readBounded(keyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	if len(pair.Leaf.DNSNames) == 0 {
		return nil, fmt.Errorf("read certificate: %w", errNoNames)
	}
	return &pair, nil
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPairFile+1))
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	if len(b) > maxPairFile {
		return nil, fmt.Errorf("read certificate: %s is larger than 256 KB", name)
	}
	return b, nil
}
