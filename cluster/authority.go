package cluster

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"postern/tenant"
)

// Names under which the authority's keys are sealed.
const (
	sealAuthority = "cluster-authority"
	sealGossip    = "cluster-gossip"

	gossipKeySize = 32

	// foundingPause is between attempts to finish founding.
	foundingPause = time.Second
)

// ErrFounded is Found's no to a directory of a cluster that goes on already.
var ErrFounded = errors.New("the cluster is founded already")

// foundToken is the first token, until the state has it.
type foundToken struct {
	Hash    []byte    `json:"hash"`
	Expires time.Time `json:"expires"`
}

// Found makes the authority and this node's certificate in pki, for a node
// that will bootstrap, and returns a join token good for the given time. The
// first start puts all of it into the state; until then Found may be called
// again, and its last token counts.
func Found(pki, name, advertise string, good time.Duration) (token string, err error) {
	t, err := foundIn(openPKI(pki), name, advertise, good, time.Now())
	if err != nil {
		return "", fmt.Errorf("found cluster: %w", err)
	}
	return t, nil
}

func foundIn(d pkiDir, name, advertise string, good time.Duration, now time.Time) (string, error) {
	switch {
	case !tenant.ValidName(name):
		return "", fmt.Errorf("%q is no node name: write 1 to 63 of a-z, 0-9 and hyphens", name)
	case !tenant.ValidPeer(advertise):
		return "", fmt.Errorf("%q is no address others can dial: write host:port", advertise)
	case good <= 0:
		return "", fmt.Errorf("a token good for %s", good)
	}
	if err := d.make(); err != nil {
		return "", err
	}
	a, err := d.authority()
	if errors.Is(err, os.ErrNotExist) {
		a, err = d.newAuthority(now)
	}
	if err != nil {
		return "", err
	}
	if err := d.write(fileAuthority, putBlocks(nil, a.cert.Raw)); err != nil {
		return "", err
	}
	if err := d.firstCertificate(a, name, now); err != nil {
		return "", err
	}
	t := newToken(a.hash(), []string{advertise})
	hash := t.hash()
	return t.String(), d.writeJSON(fileToken, foundToken{Hash: hash[:], Expires: now.Add(good).UTC().Truncate(time.Second)})
}

// newAuthority makes the cluster's authority, unless the directory is of a
// cluster whose state has one.
func (d pkiDir) newAuthority(now time.Time) (*authority, error) {
	for _, name := range []string{fileAuthority, fileNode} {
		if _, err := d.read(name); err == nil {
			return nil, fmt.Errorf("%s is there: %w", d.path(name), ErrFounded)
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	a, err := newAuthority(now)
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("write authority: %w", err)
	}
	// The key first: while it is there, founding can be done again.
	return a, d.write(fileAuthorityKey, putBlocks(key, a.cert.Raw))
}

// authority reads the authority with its key; os.ErrNotExist when it is not
// here, or not any more.
func (d pkiDir) authority() (*authority, error) {
	b, err := d.read(fileAuthorityKey)
	if err != nil {
		return nil, err
	}
	key, certs, err := getBlocks(b)
	if err == nil && (key == nil || len(certs) != 1) {
		err = errors.New("it does not hold one key and one certificate")
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.path(fileAuthorityKey), err)
	}
	return readAuthority(certs[0], key)
}

// firstCertificate gives the founding node its certificate, once.
func (d pkiDir) firstCertificate(a *authority, name string, now time.Time) error {
	id, err := d.load()
	if err == nil && id.name == name && id.authority.hash() == a.hash() {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	key, der, err := newKey()
	if err != nil {
		return err
	}
	leaf, err := a.sign(&key.PublicKey, roleNode, name, life{now: now, span: lifeNode})
	if err != nil {
		return err
	}
	if id, err = newIdentity(der, [][]byte{leaf, a.cert.Raw}); err != nil {
		return err
	}
	return d.save(id)
}

// found brings what Found made into the state: authority, token, this node's
// key and address. The authority's key leaves the directory only when the
// state has it, so a crash anywhere is made good by the next start. On a node
// that did not found, and once all is done, it does nothing.
func (p *port) found(ctx context.Context, propose proposal) error {
	p.founding.Lock()
	defer p.founding.Unlock()
	a, err := p.pki.authority()
	if errors.Is(err, os.ErrNotExist) {
		if p.state().Authority() == nil {
			return fmt.Errorf("found cluster: neither the state nor %s has an authority", p.pki.dir)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("found cluster: %w", err)
	}
	if err := p.proposeAuthority(ctx, a, propose); err != nil {
		return fmt.Errorf("found cluster: %w", err)
	}
	if err := p.proposeToken(ctx, propose); err != nil {
		return fmt.Errorf("found cluster: %w", err)
	}
	if err := p.register(ctx, propose); err != nil {
		return fmt.Errorf("found cluster: %w", err)
	}
	if err := errors.Join(p.pki.remove(fileToken), p.pki.remove(fileAuthorityKey)); err != nil {
		return fmt.Errorf("found cluster: %w", err)
	}
	p.log.Info("cluster founded", "node", p.name, "cluster", fmt.Sprintf("%x", a.cluster))
	return nil
}

// unfinished says that found has not done all yet.
func (p *port) unfinished() bool {
	_, err := p.pki.fs.Stat(p.pki.path(fileAuthorityKey))
	return !errors.Is(err, os.ErrNotExist)
}

// finishFounding goes on where a crash ended found: from the moment the state
// has an authority, nobody else asks for it.
func (p *port) finishFounding(ctx context.Context) {
	for p.propose != nil && sleep(ctx, p.pace.sweep) {
		if !p.unfinished() {
			return
		}
		if p.state().Authority() == nil {
			continue
		}
		err := p.found(ctx, p.propose)
		if err == nil || ctx.Err() != nil {
			return
		}
		p.log.Warn("founding not finished", "node", p.name, "err", err)
		if !sleep(ctx, foundingPause) {
			return
		}
	}
}

func (p *port) proposeAuthority(ctx context.Context, a *authority, propose proposal) error {
	if known := p.state().Authority(); known != nil {
		if string(known.Cert) != string(a.cert.Raw) {
			return fmt.Errorf("the state has the authority of cluster %x and %s that of %x: %w", known.Cluster, p.pki.dir, a.cluster, ErrForeign)
		}
		return nil
	}
	if p.peering.Seal == nil {
		return errors.New("no way to seal the authority's key")
	}
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return err
	}
	sealedKey, err := p.peering.Seal(sealAuthority, key)
	if err != nil {
		return fmt.Errorf("seal authority: %w", err)
	}
	gossip := make([]byte, gossipKeySize)
	_, _ = rand.Read(gossip) // never fails
	sealedGossip, err := p.peering.Seal(sealGossip, gossip)
	if err != nil {
		return fmt.Errorf("seal gossip key: %w", err)
	}
	_, err = propose(ctx, tenant.SetAuthority{Authority: tenant.Authority{
		Cluster: a.cluster, Cert: a.cert.Raw, SealedKey: sealedKey, SealedGossip: sealedGossip,
	}})
	return err
}

// proposeToken registers the first token while it is good.
func (p *port) proposeToken(ctx context.Context, propose proposal) error {
	var t foundToken
	err := p.pki.readJSON(fileToken, &t)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(t.Hash) != 32 {
		return fmt.Errorf("%s has a hash of %d octets", p.pki.path(fileToken), len(t.Hash))
	}
	hash := [32]byte(t.Hash)
	if !p.now().Before(t.Expires) || p.state().JoinToken(hash) != nil {
		return nil
	}
	_, err = propose(ctx, tenant.AddToken{Token: tenant.JoinToken{Hash: hash, Expires: t.Expires}})
	return err
}

// register gives this node's key and address to the state. It needs no token:
// who leads a cluster without an authority is its only node. A node that sent
// mail before it had a peer port is registered without a key.
func (p *port) register(ctx context.Context, propose proposal) error {
	s := p.state()
	n := s.NodeByName(p.name)
	if n == nil {
		var err error
		if s, err = propose(ctx, tenant.AddNode{Name: p.name}); err != nil {
			var refused *tenant.Refused
			if !errors.As(err, &refused) {
				return err
			}
			s = p.state() // another part of the node was faster
		}
		if n = s.NodeByName(p.name); n == nil {
			return fmt.Errorf("node %s is not registered", p.name)
		}
	}
	key, peer, version := p.id.Load().key, p.peering.Advertise, uint32(tenant.NewestVersion)
	if n.Key == key && n.Peer == peer {
		return nil
	}
	_, err := propose(ctx, tenant.SetNode{Node: n.ID, Key: &key, Peer: &peer, Version: &version})
	return err
}
