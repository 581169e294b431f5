package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/cluster"
	"postern/node/admin"
)

// How a node came into its cluster: the one word in DIR/formed. It is written
// last, so that a forming cut short is done again from its start.
const (
	formedByInit = "init" // serve forms the cluster in an empty directory
	formedByJoin = "join" // serve waits for the others to take the node in
)

var (
	errNotFormed = errors.New("postern init forms a cluster here, postern join brings this node into one")
	errFormed    = errors.New("this node has a cluster already")
	errNoPeer    = errors.New("no peer port is configured: set peer.listen and peer.advertise")
	errRunning   = errors.New("the node is running: stop it first")
)

func (c *Config) formFile() string { return filepath.Join(c.Dir, "formed") }

// pkiDir is where the peer port's keys and certificates lie.
func (c *Config) pkiDir() string { return filepath.Join(c.Dir, "pki") }

func (c *Config) raftDir() string { return filepath.Join(c.Dir, "raft") }

// form says how the node came into its cluster; "" while it has none.
func (c *Config) form() (string, error) {
	b, err := readSecretFile(c.formFile())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read how the node was formed: %w", err)
	}
	switch word := strings.TrimSpace(string(b)); word {
	case formedByInit, formedByJoin:
		return word, nil
	}
	return "", fmt.Errorf("read how the node was formed: %s holds neither %s nor %s", c.formFile(), formedByInit, formedByJoin)
}

// mayBootstrap says whether serve forms the cluster in an empty directory. With
// a peer port only the node of postern init does: two nodes that both did would
// be two clusters.
func (c *Config) mayBootstrap() (bool, error) {
	if c.Peer.Listen == "" {
		return c.Bootstrap, nil
	}
	word, err := c.form()
	if err == nil && word == "" {
		err = errNotFormed
	}
	return word == formedByInit, err
}

// bootstrapped takes the right to bootstrap away once the cluster has formed:
// the first node, when its directory is lost, must not form a second one.
func (c *Config) bootstrapped() error {
	if word, err := c.form(); err != nil || word != formedByInit {
		return err
	}
	return replaceSecretFile(c.formFile(), []byte(formedByJoin+"\n"))
}

// Init makes this machine the first node of a cluster: secrets, authority, its
// own certificate. The next serve forms the cluster. The token lets other nodes
// join for the given time. A cluster of one that gets a peer port keeps its
// state.
func Init(cfg Config, good time.Duration) (token string, err error) {
	if err := cfg.mayForm(); err != nil {
		return "", fmt.Errorf("init cluster: %w", err)
	}
	if word, err := cfg.form(); err != nil {
		return "", fmt.Errorf("init cluster: %w", err)
	} else if word != "" {
		return "", fmt.Errorf("init cluster: %w; postern node token makes another token", errFormed)
	}
	if err := makeStateDir(vfs.Default, cfg.Dir); err != nil {
		return "", fmt.Errorf("init cluster: %w", err)
	}
	if err := cfg.makeSecrets(); err != nil {
		return "", fmt.Errorf("init cluster: %w", err)
	}
	fresh, err := cfg.freshPKI()
	if err != nil {
		return "", fmt.Errorf("init cluster: %w", err)
	}
	if token, err = cluster.Found(fresh, cfg.Name, cfg.Peer.Advertise, good); err != nil {
		return "", fmt.Errorf("init cluster: %w", err)
	}
	if err := cfg.settle(fresh, formedByInit); err != nil {
		return "", fmt.Errorf("init cluster: %w", err)
	}
	return token, nil
}

// JoinFrom says with what right, and from whom, a node comes in.
type JoinFrom struct {
	Token string
	Addrs []string // instead of those in the token
	// Again lets a node in that has a cluster's state: what it knew of the
	// cluster is moved aside, its queue stays.
	Again bool
}

// Join gets this machine a certificate from a cluster, and its secrets. The
// next serve takes part.
func Join(ctx context.Context, cfg Config, from JoinFrom) error {
	if err := cfg.join(ctx, from); err != nil {
		return fmt.Errorf("join cluster: %w", err)
	}
	return nil
}

func (c *Config) join(ctx context.Context, from JoinFrom) error {
	if err := c.mayForm(); err != nil {
		return err
	}
	word, err := c.form()
	if err != nil {
		return err
	}
	_, err = os.Stat(c.raftDir())
	known := err == nil
	if (word != "" || known) && !from.Again {
		return fmt.Errorf("%w; postern join --again keeps its mail and sets the rest aside", errFormed)
	}
	if err := makeStateDir(vfs.Default, c.Dir); err != nil {
		return err
	}
	fresh, err := c.freshPKI()
	if err != nil {
		return err
	}
	got, err := cluster.Join(ctx, cluster.JoinRequest{
		Token: from.Token, Name: c.Name, Advertise: c.Peer.Advertise, PKI: fresh, Addrs: from.Addrs,
	})
	if err != nil {
		return err
	}
	key, token, err := decodeSecret(got.Secret)
	if err != nil {
		return err
	}
	if err := keepSecret(c.SecretKeyFile, key, parseSecret); err != nil {
		return err
	}
	asToken := func(b []byte) ([]byte, error) { s, err := parseToken(b); return []byte(s), err }
	if err := keepSecret(c.OperatorTokenFile, token, asToken); err != nil {
		return err
	}
	if known {
		if _, err := setAside(c.raftDir()); err != nil {
			return err
		}
	}
	return c.settle(fresh, formedByJoin)
}

// mayForm refuses what forming would spoil.
func (c *Config) mayForm() error {
	if c.Peer.Listen == "" {
		return errNoPeer
	}
	return c.stopped()
}

// stopped refuses while the node's process has its stores open.
func (c *Config) stopped() error {
	for _, store := range []string{"raft", "queue"} {
		name := filepath.Join(c.Dir, store, "log", "LOCK")
		if _, err := os.Stat(name); err != nil {
			continue // never opened
		}
		lock, err := vfs.Default.Lock(name)
		if err != nil {
			return fmt.Errorf("%w (%s is locked)", errRunning, name)
		}
		if err := lock.Close(); err != nil {
			return fmt.Errorf("look whether the node runs: %w", err)
		}
	}
	return nil
}

// makeSecrets makes the secrets a first node starts with, where they are missing.
func (c *Config) makeSecrets() error {
	_, err := openSealer(c.SecretKeyFile)
	if err != nil {
		return err
	}
	b, err := secretFile(c.OperatorTokenFile, func() []byte { return []byte(admin.NewToken() + "\n") })
	if err == nil {
		_, err = parseToken(b)
	}
	if err != nil {
		return fmt.Errorf("make operator token: %w", err)
	}
	return nil
}

// freshPKI is an empty directory for new certificates; what an earlier try left
// in it is worth nothing.
func (c *Config) freshPKI() (string, error) {
	dir := c.pkiDir() + ".new"
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("clear certificates: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory of certificates: %w", err)
	}
	return dir, nil
}

// settle puts new certificates in place and then writes how the node was formed.
func (c *Config) settle(fresh, word string) error {
	if _, err := os.Stat(c.pkiDir()); err == nil {
		if _, err := setAside(c.pkiDir()); err != nil {
			return err
		}
	}
	if err := os.Rename(fresh, c.pkiDir()); err != nil {
		return fmt.Errorf("put certificates in place: %w", err)
	}
	if err := syncDirectory(vfs.Default, c.Dir); err != nil {
		return fmt.Errorf("put certificates in place: %w", err)
	}
	return replaceSecretFile(c.formFile(), []byte(word+"\n"))
}

// setAside gives a directory another name beside it and keeps all it holds.
func setAside(dir string) (string, error) {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	to := fmt.Sprintf("%s.old-%s-%s", dir, time.Now().UTC().Format("20060102T150405"), hex.EncodeToString(b[:]))
	if err := os.Rename(dir, to); err != nil {
		return "", fmt.Errorf("set %s aside: %w", filepath.Base(dir), err)
	}
	if err := syncDirectory(vfs.Default, filepath.Dir(dir)); err != nil {
		return "", fmt.Errorf("set %s aside: %w", filepath.Base(dir), err)
	}
	return to, nil
}

// handed is what a node that joins is given besides its certificate.
type handed struct {
	SecretKey     string `json:"secret_key"`     // 32 bytes, hexadecimal
	OperatorToken string `json:"operator_token"` // one token for all nodes
}

var errHanded = errors.New("the cluster's secrets cannot be read: do both sides run the same version?")

// encodeSecret makes what Peering.Secret hands to nodes that join.
func (c *Config) encodeSecret() ([]byte, error) {
	key, err := readSecretFile(c.SecretKeyFile)
	if err == nil {
		key, err = parseSecret(key)
	}
	if err != nil {
		return nil, fmt.Errorf("read secret key: %w", err)
	}
	b, err := readSecretFile(c.OperatorTokenFile)
	if err != nil {
		return nil, fmt.Errorf("read operator token: %w", err)
	}
	token, err := parseToken(b)
	if err != nil {
		return nil, fmt.Errorf("read operator token: %w", err)
	}
	return json.Marshal(handed{SecretKey: hex.EncodeToString(key), OperatorToken: token})
}

// decodeSecret reads it at the node that joined. It comes from a peer: bounded
// and checked like any input.
func decodeSecret(b []byte) (key, token []byte, err error) {
	var h handed
	if len(b) > maxSecret || json.Unmarshal(b, &h) != nil {
		return nil, nil, errHanded
	}
	if _, err := parseSecret([]byte(h.SecretKey)); err != nil {
		return nil, nil, errHanded
	}
	if _, err := parseToken([]byte(h.OperatorToken)); err != nil {
		return nil, nil, errHanded
	}
	return []byte(h.SecretKey + "\n"), []byte(h.OperatorToken + "\n"), nil
}

// keepSecret writes a secret the cluster gave. One that is there already must
// be the same: what another key sealed would be lost.
func keepSecret(name string, b []byte, parse func([]byte) ([]byte, error)) error {
	have, err := secretFile(name, func() []byte { return b })
	if err != nil {
		return fmt.Errorf("keep secret: %w", err)
	}
	x, err := parse(have)
	if err != nil {
		return fmt.Errorf("keep secret: %s: %w", name, err)
	}
	y, err := parse(b)
	if err != nil {
		return fmt.Errorf("keep secret: %w", err)
	}
	if !bytes.Equal(x, y) {
		return fmt.Errorf("keep secret: %s is of another cluster; move it away first", name)
	}
	return nil
}
