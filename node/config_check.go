package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// resolverWait is how long a resolver may take to answer the check.
const resolverWait = 2 * time.Second

// CheckConfig reports everything that is wrong or doubtful about a file: what
// it says, and whether this machine can do it. It changes nothing that stays.
// The error is set only when the file cannot be read at all.
func CheckConfig(ctx context.Context, name string) ([]Finding, error) {
	c, at, found, err := readConfig(name)
	if err != nil {
		return nil, err
	}
	j := &judgement{at: at, found: found}
	c.tryDir(j)
	c.tryCertificate(j)
	c.tryNamed(j)
	c.tryFile(j, "secret_key_file", c.SecretKeyFile, func(b []byte) error { _, err := parseSecret(b); return err })
	c.tryFile(j, "operator_token_file", c.OperatorTokenFile, func(b []byte) error { _, err := parseToken(b); return err })
	c.tryPorts(ctx, j)
	c.tryResolvers(ctx, j)
	slices.SortStableFunc(j.found, func(a, b Finding) int { return a.Line - b.Line })
	return j.found, nil
}

func (c *Config) tryDir(j *judgement) {
	if c.Dir == "" {
		return
	}
	fi, err := os.Stat(c.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		above := filepath.Dir(c.Dir)
		for _, err := os.Stat(above); errors.Is(err, fs.ErrNotExist) && above != filepath.Dir(above); _, err = os.Stat(above) {
			above = filepath.Dir(above)
		}
		if unix.Access(above, unix.W_OK|unix.X_OK) != nil {
			j.bad("dir", "make it: install -d -m 700 -o USER "+c.Dir, "%s is missing and cannot be made", c.Dir)
		}
	case err != nil:
		j.bad("dir", "let this user reach it", "look at %s: %s", c.Dir, bare(err))
		return
	case !fi.IsDir():
		j.bad("dir", "name a directory", "%s is no directory", c.Dir)
		return
	case unix.Access(c.Dir, unix.R_OK|unix.W_OK|unix.X_OK) != nil:
		j.bad("dir", "chown it to the user the node runs as", "%s is not writable", c.Dir)
	case fi.Mode().Perm()&0o077 != 0:
		j.doubt("dir", "chmod 700 "+c.Dir, "%s is open to others", c.Dir)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, "raft")); !errors.Is(err, fs.ErrNotExist) || c.Bootstrap {
		return
	}
	switch form, err := c.form(); {
	case err != nil:
		j.bad("dir", "", "%s", err)
	case c.Peer.Listen == "":
		j.bad("bootstrap", "set bootstrap: true on the first node", "no state yet, and none is to be formed")
	case form == "":
		j.bad("peer", errNotFormed.Error(), "no state yet")
	}
}

func (c *Config) tryCertificate(j *judgement) {
	if c.TLS.Cert == "" || c.TLS.Key == "" {
		return
	}
	readable := true
	for _, f := range []struct{ key, name string }{{"tls.cert", c.TLS.Cert}, {"tls.key", c.TLS.Key}} {
		if err := unix.Access(f.name, unix.R_OK); err != nil {
			j.bad(f.key, "put the PEM file there, readable for the node's user", "read %s: %s", f.name, err)
			readable = false
		}
	}
	if !readable {
		return
	}
	pair, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
	if err != nil {
		j.bad("tls.cert", "take certificate and key of the same pair, both PEM", "%s", err)
		return
	}
	now := time.Now()
	switch {
	case now.After(pair.Leaf.NotAfter):
		j.bad("tls.cert", "renew the certificate", "it ended on %s", pair.Leaf.NotAfter.Format(time.DateOnly))
	case now.AddDate(0, 0, 14).After(pair.Leaf.NotAfter):
		j.doubt("tls.cert", "renew the certificate", "it ends on %s", pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	if c.Hostname != "" && pair.Leaf.VerifyHostname(c.Hostname) != nil {
		j.doubt("tls.cert", "get a certificate that names it; clients check", "it is not for %s", c.Hostname)
	}
}

// tryNamed looks at the certificates of tenants' host names. None of them stops
// the node.
func (c *Config) tryNamed(j *judgement) {
	if c.TLS.Dir == "" {
		return
	}
	pairs, err := findPairs(c.TLS.Dir)
	if err != nil {
		j.doubt("tls.dir", "make it, readable for the node's user: NAME.crt with NAME.key, or certbot's live", "%s", bare(err))
		return
	}
	now := time.Now()
	for _, cert := range slices.Sorted(maps.Keys(pairs)) {
		p, err := readPair(cert, pairs[cert])
		switch {
		case err != nil:
			j.doubt("tls.dir", "put certificate and key of the same pair there, readable for the node's user", "%s: %s", cert, bare(err))
		case now.After(p.Leaf.NotAfter):
			j.doubt("tls.dir", "renew the certificate", "%s ended on %s", cert, p.Leaf.NotAfter.Format(time.DateOnly))
		case now.AddDate(0, 0, 14).After(p.Leaf.NotAfter):
			j.doubt("tls.dir", "renew the certificate", "%s ends on %s", cert, p.Leaf.NotAfter.Format(time.DateOnly))
		}
	}
}

// tryFile looks at a secret's file. One that is missing will be made.
func (c *Config) tryFile(j *judgement, key, name string, parse func([]byte) error) {
	if name == "" {
		return
	}
	fi, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		above := filepath.Dir(name)
		if _, err := os.Stat(above); errors.Is(err, fs.ErrNotExist) && above == c.Dir {
			return // the node makes its directory
		}
		if unix.Access(above, unix.W_OK|unix.X_OK) != nil {
			j.bad(key, "name a place the node's user may write", "%s is missing and cannot be made", name)
		}
		return
	}
	b, err := readSecretFile(name)
	if err == nil {
		err = parse(b)
	}
	switch {
	case err != nil:
		j.bad(key, "mend or remove it; a missing one is made new", "read %s: %s", name, bare(err))
	case fi.Mode().Perm()&0o077 != 0:
		j.doubt(key, "chmod 600 "+name, "%s is open to others", name)
	}
}

func (c *Config) tryPorts(ctx context.Context, j *judgement) {
	for _, p := range c.ports() {
		if isListen(p.addr) != nil {
			continue
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", p.addr)
		switch {
		case err == nil:
			_ = l.Close()
		case errors.Is(err, syscall.EADDRINUSE):
			j.bad(p.key, "stop what listens there (this node itself?), or choose another", "%s is in use", p.addr)
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			j.bad(p.key, "add the address to the machine, or choose another", "%s is not on this machine", p.addr)
		case errors.Is(err, syscall.EACCES):
			j.bad(p.key, "give the program CAP_NET_BIND_SERVICE", "%s needs a right this user lacks", p.addr)
		default:
			j.bad(p.key, "", "listen on %s: %s", p.addr, bare(err))
		}
	}
}

// tryResolvers asks each for the root's name servers. A resolver may well come
// up later than this check, so silence is a doubt only.
func (c *Config) tryResolvers(ctx context.Context, j *judgement) {
	all := make([]error, len(c.Resolvers))
	var g errgroup.Group
	for i, text := range c.Resolvers {
		if addr, err := resolverAddr(text); err == nil {
			g.Go(func() error { all[i] = askResolver(ctx, addr); return nil })
		}
	}
	_ = g.Wait() // none fails
	for i, err := range all {
		if err != nil {
			j.doubt(fmt.Sprintf("resolvers[%d]", i), "start it, or name one that runs; unbound on 127.0.0.1 does", "%s gives no answer", c.Resolvers[i])
		}
	}
}

func askResolver(ctx context.Context, addr netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, resolverWait)
	defer cancel()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr.String())
	}}
	_, err := r.LookupNS(ctx, ".")
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return nil // it answered
	}
	return err
}

// bare drops what an os error repeats: the operation and the file's name.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var oe *net.OpError
	if errors.As(err, &oe) {
		return oe.Err
	}
	return err
}
