package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strconv"
	"strings"
	"time"

	"postern/tenant"
)

const (
	lifeAuthority = 10 * 365 * 24 * time.Hour
	lifeNode      = 365 * 24 * time.Hour
	// backdate lets a node whose clock is slow believe a new certificate.
	backdate = time.Hour

	// Roles of certificates. Only a node may speak over the peer port.
	roleNode      = "node"
	roleAuthority = "authority"
	scheme        = "postern"
)

// authority is the cluster's own certificate authority.
type authority struct {
	cluster [16]byte
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey // nil where nothing is signed
}

// newAuthority makes one.
func newAuthority(now time.Time) (*authority, error) {
	a := &authority{}
	_, _ = rand.Read(a.cluster[:]) // never fails
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	id := hex.EncodeToString(a.cluster[:])
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Postern cluster " + id},
		URIs:                  []*url.URL{{Scheme: scheme, Host: id, Path: "/" + roleAuthority + "/ca"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(lifeAuthority),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make authority: %w", err)
	}
	a.key = key
	a.cert, err = x509.ParseCertificate(der)
	return a, err
}

// readAuthority reads an authority's certificate, and its key when given.
func readAuthority(cert, key []byte) (*authority, error) {
	c, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	p, err := credentialOf(c)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	if p.role != roleAuthority || !c.IsCA {
		return nil, errors.New("read authority: the certificate is no authority's")
	}
	a := &authority{cluster: p.cluster, cert: c}
	if key != nil {
		if a.key, err = readKey(key); err != nil {
			return nil, fmt.Errorf("read authority: %w", err)
		}
		if !a.key.PublicKey.Equal(c.PublicKey) {
			return nil, errors.New("read authority: key and certificate do not belong together")
		}
	}
	return a, nil
}

// hash is what a join token pins.
func (a *authority) hash() [32]byte { return sha256.Sum256(a.cert.Raw) }

// life is how long a certificate lives and when it was signed.
type life struct {
	now  time.Time
	span time.Duration
	// since is the index of a state that has the node with this key. Who knows
	// an older one cannot judge the certificate by it.
	since uint64
}

// sign makes a certificate for a public key. Its name is in a URI and in
// nothing else, so that no other kind of check can take it for a host's.
func (a *authority) sign(public *ecdsa.PublicKey, role, name string, l life) ([]byte, error) {
	if a.key == nil {
		return nil, errors.New("sign certificate: the authority's key is not here")
	}
	until := l.now.Add(l.span)
	if until.After(a.cert.NotAfter) {
		until = a.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: name},
		URIs: []*url.URL{{
			Scheme:   scheme,
			Host:     hex.EncodeToString(a.cluster[:]),
			Path:     "/" + role + "/" + name,
			RawQuery: "since=" + strconv.FormatUint(l.since, 10),
		}},
		NotBefore:             l.now.Add(-backdate),
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return der, nil
}

// serial is a random number of 120 bits (RFC 5280 section 4.1.2.2: positive, at
// most 20 octets).
func serial() *big.Int {
	var b [15]byte
	_, _ = rand.Read(b[:])
	b[0] |= 1
	return new(big.Int).SetBytes(b[:])
}

// credential is what a certificate says of its holder.
type credential struct {
	cluster [16]byte
	role    string
	name    string
	since   uint64
	key     [32]byte // SHA-256 of the SubjectPublicKeyInfo
}

// credentialOf reads postern://CLUSTER/ROLE/NAME?since=INDEX.
func credentialOf(c *x509.Certificate) (credential, error) {
	p := credential{key: sha256.Sum256(c.RawSubjectPublicKeyInfo)}
	if len(c.URIs) != 1 || c.URIs[0].Scheme != scheme {
		return p, errors.New("the certificate names no member of a cluster")
	}
	u := c.URIs[0]
	id, err := hex.DecodeString(u.Host)
	if err != nil || len(id) != len(p.cluster) {
		return p, errors.New("the certificate names no cluster")
	}
	copy(p.cluster[:], id)
	role, name, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if !ok || !tenant.ValidName(role) || !tenant.ValidName(name) {
		return p, errors.New("the certificate has no role and name")
	}
	p.role, p.name = role, name
	if since, ok := strings.CutPrefix(u.RawQuery, "since="); ok {
		if p.since, err = strconv.ParseUint(since, 10, 64); err != nil {
			return p, errors.New("the certificate has no index")
		}
	}
	return p, nil
}

// verify checks that a certificate is of this authority, alive, and a node's.
func (a *authority) verify(c *x509.Certificate, now time.Time, use x509.ExtKeyUsage) (credential, error) {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	if _, err := c.Verify(x509.VerifyOptions{
		Roots:       roots,
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{use},
	}); err != nil {
		return credential{}, fmt.Errorf("check certificate: %w", err)
	}
	p, err := credentialOf(c)
	switch {
	case err != nil:
		return p, fmt.Errorf("check certificate: %w", err)
	case p.cluster != a.cluster:
		return p, errors.New("check certificate: it is of another cluster")
	case p.role != roleNode:
		return p, fmt.Errorf("check certificate: role %s may not speak here", p.role)
	}
	return p, nil
}

// newKey makes a node's key.
func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	return key, der, nil
}

// readKey reads a PKCS #8 key on P-256.
func readKey(der []byte) (*ecdsa.PrivateKey, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("read key: it is not on the curve P-256")
	}
	return key, nil
}

// newRequest proves that its sender has the key.
func newRequest(key *ecdsa.PrivateKey, name string) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}

// readRequest checks a certificate request and returns its key.
func readRequest(der []byte) (*ecdsa.PublicKey, [32]byte, error) {
	r, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		return nil, [32]byte{}, fmt.Errorf("read certificate request: %w", err)
	}
	public, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, [32]byte{}, errors.New("read certificate request: its key is not on the curve P-256")
	}
	return public, sha256.Sum256(r.RawSubjectPublicKeyInfo), nil
}
