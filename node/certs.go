package node

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certRecheck is how often a handshake looks whether the files changed.
const certRecheck = 2 * time.Second

// certs serves the certificate of two PEM files and reads them again when they
// change. A broken new pair is reported and the old one stays in use.
type certs struct {
	log   *slog.Logger
	named *namedCerts // of tenants' host names; nil: the pair is for all

	mu      sync.Mutex // guards what follows
	files   [2]string  // of certificate and key
	config  *tls.Config
	stamp   [2]time.Time
	checked time.Time
}

func newCerts(certFile, keyFile, dir string, log *slog.Logger) (*certs, error) {
	c := &certs{files: [2]string{certFile, keyFile}, log: log}
	if dir != "" {
		c.named = newNamedCerts(dir, log)
	}
	stamp, err := c.stat()
	if err != nil {
		return nil, err
	}
	if err := c.load(stamp); err != nil {
		return nil, err
	}
	return c, nil
}

// TLS returns the configuration to use for the next handshake.
func (c *certs) TLS() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < certRecheck {
		return c.config
	}
	c.checked = time.Now()
	stamp, err := c.stat()
	if err == nil && stamp != c.stamp {
		err = c.load(stamp)
	}
	if err != nil {
		c.log.Error("certificate not reloaded, the old one stays", "cert", c.files[0], "err", err)
	}
	return c.config
}

// ends is when the certificate in use ends.
func (c *certs) ends() time.Time {
	return c.TLS().Certificates[0].Leaf.NotAfter
}

func (c *certs) stat() (stamp [2]time.Time, err error) {
	for i, name := range c.files {
		fi, err := os.Stat(name)
		if err != nil {
			return stamp, fmt.Errorf("look at certificate: %w", err)
		}
		stamp[i] = fi.ModTime()
	}
	return stamp, nil
}

// load reads the pair. The stamp was taken before reading, so a change in
// between is seen at the next look.
func (c *certs) load(stamp [2]time.Time) error {
	pair, err := tls.LoadX509KeyPair(c.files[0], c.files[1])
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	c.serve(pair)
	c.stamp = stamp
	return nil
}

func (c *certs) serve(pair tls.Certificate) {
	c.config = &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
	}
	if c.named != nil {
		c.config.GetCertificate = c.named.get
	}
}

// use serves the pair that another one has read.
func (c *certs) use(other *certs) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files, c.stamp = other.files, other.stamp
	c.serve(other.config.Certificates[0])
}

// openCerts serves the file's certificate; a reload may name another one.
func (n *Node) openCerts(dir string) (*certs, error) {
	c, err := newCerts(n.cfg.TLS.Cert, n.cfg.TLS.Key, dir, n.log)
	if err == nil {
		n.certs = append(n.certs, c)
	}
	return c, err
}
