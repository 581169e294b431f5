package cluster

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// identity is this node's certificate and the authority it trusts. It never
// changes; a renewal makes another one.
type identity struct {
	credential
	authority *authority // without its key
	leaf      *x509.Certificate
	tls       tls.Certificate // with the authority's certificate, which joiners pin
}

// load reads this node's identity.
func (d pkiDir) load() (*identity, error) {
	b, err := d.read(fileNode)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read certificate: there is none in %s; found a cluster or join one first: %w", d.dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	key, certs, err := getBlocks(b)
	if err == nil && (key == nil || len(certs) != 2) {
		err = errors.New("it does not hold one key and two certificates")
	}
	if err != nil {
		return nil, fmt.Errorf("read certificate %s: %w", d.path(fileNode), err)
	}
	id, err := newIdentity(key, certs)
	if err != nil {
		return nil, fmt.Errorf("read certificate %s: %w", d.path(fileNode), err)
	}
	return id, nil
}

// newIdentity puts a key, its certificate and the authority's together.
func newIdentity(keyDER []byte, certs [][]byte) (*identity, error) {
	key, err := readKey(keyDER)
	if err != nil {
		return nil, err
	}
	return assemble(key, certs)
}

func assemble(key *ecdsa.PrivateKey, certs [][]byte) (*identity, error) {
	a, err := readAuthority(certs[1], nil)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(certs[0])
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("key and certificate do not belong together")
	}
	// Whether it is alive is not asked: a node that slept too long renews.
	p, err := a.verify(leaf, leaf.NotBefore, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	return &identity{
		credential: p,
		authority:  a,
		leaf:       leaf,
		tls:        tls.Certificate{Certificate: certs, PrivateKey: key, Leaf: leaf},
	}, nil
}

// save makes an identity this directory's.
func (d pkiDir) save(id *identity) error {
	key, err := x509.MarshalPKCS8PrivateKey(id.tls.PrivateKey)
	if err != nil {
		return fmt.Errorf("write certificate: %w", err)
	}
	return d.write(fileNode, putBlocks(key, id.tls.Certificate...))
}
