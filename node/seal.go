package node

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"

	"postern/node/bounce"
	"postern/node/submission"
	"postern/tenant"
)

// Bounds of signing keys. RFC 8301 section 3.2: signers use 1024 bits at
// least and should use 2048; far longer ones do not fit a DNS answer and cost
// too much a message.
const (
	minRSA  = 1024
	goodRSA = 2048
	maxRSA  = 4096
)

// sealVersion is the first byte of a sealed key: nonce and ciphertext follow.
const sealVersion = 1

// sealer keeps DKIM keys unreadable in the replicated state, its snapshots and
// backups. The domain, the selector and the version are bound in, so that a
// sealed key moved to another domain does not open.
type sealer struct {
	aead       cipher.AEAD
	references *bounce.Signer // made of the same secret, so all nodes know each other's
	marks      *marker        // likewise
}

// openSealer reads the node's secret, or makes one when the file is missing.
func openSealer(name string) (*sealer, error) {
	b, err := secretFile(name, func() []byte {
		var key [secretSize]byte
		_, _ = rand.Read(key[:]) // never fails (crypto/rand)
		return []byte(hex.EncodeToString(key[:]) + "\n")
	})
	if err != nil {
		return nil, fmt.Errorf("open secret key: %w", err)
	}
	key, err := parseSecret(b)
	if err != nil {
		return nil, fmt.Errorf("open secret key %s: %w", name, err)
	}
	return newSealer(key)
}

func newSealer(key []byte) (*sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("open secret key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("open secret key: %w", err)
	}
	references, err := bounce.NewSigner(key)
	if err != nil {
		return nil, fmt.Errorf("open secret key: %w", err)
	}
	marks, err := newMarker(key)
	if err != nil {
		return nil, fmt.Errorf("open secret key: %w", err)
	}
	return &sealer{aead: aead, references: references, marks: marks}, nil
}

func sealedFor(domain, selector string) []byte {
	b := append([]byte("postern dkim\x00"), sealVersion, 0)
	b = append(append(b, domain...), 0)
	return append(b, selector...)
}

// Seal encrypts a private key in its PKCS #8 form.
func (s *sealer) Seal(domain, selector string, key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	return s.seal(der, sealedFor(domain, selector)), nil
}

func (s *sealer) seal(plain, bound []byte) []byte {
	b := make([]byte, 1+s.aead.NonceSize(), 1+s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	b[0] = sealVersion
	_, _ = rand.Read(b[1:]) // never fails (crypto/rand)
	return s.aead.Seal(b, b[1:], plain, bound)
}

func (s *sealer) open(sealed, bound []byte) ([]byte, error) {
	n := 1 + s.aead.NonceSize()
	if len(sealed) < n || sealed[0] != sealVersion {
		return nil, errSealed
	}
	plain, err := s.aead.Open(nil, sealed[1:n], sealed[n:], bound)
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

// keyText is a sealed key as PEM.
func (s *sealer) keyText(domain, selector string, sealed []byte) ([]byte, error) {
	der, err := s.open(sealed, sealedFor(domain, selector))
	if err != nil {
		return nil, fmt.Errorf("open key of %s: %w", domain, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// sealsKey says whether that key, as PEM, is what is sealed.
func (s *sealer) sealsKey(domain, selector string, sealed, pem []byte) bool {
	key, _, err := parseKey(pem)
	if err != nil {
		return false
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return false
	}
	kept, err := s.open(sealed, sealedFor(domain, selector))
	return err == nil && bytes.Equal(kept, der)
}

// sealsText says whether that is what is sealed under a name.
func (s *sealer) sealsText(name string, sealed, plain []byte) bool {
	kept, err := s.openBytes(name, sealed)
	return err == nil && bytes.Equal(kept, plain)
}

// sealBytes and openBytes keep the cluster's own keys, bound to a name.
func (s *sealer) sealBytes(name string, plain []byte) ([]byte, error) {
	return s.seal(plain, boundTo(name)), nil
}

func (s *sealer) openBytes(name string, sealed []byte) ([]byte, error) {
	plain, err := s.open(sealed, boundTo(name))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return plain, nil
}

func boundTo(name string) []byte {
	return append(append([]byte("postern cluster\x00"), sealVersion, 0), name...)
}

var errSealed = errors.New("sealed key does not open with this node's secret key")

// Open decrypts what Seal made for the same domain and selector.
func (s *sealer) Open(domain, selector string, sealed []byte) (crypto.Signer, error) {
	der, err := s.open(sealed, sealedFor(domain, selector))
	if err != nil {
		return nil, fmt.Errorf("open key of %s: %w", domain, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("open key of %s: %w", domain, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("open key of %s: it cannot sign", domain)
	}
	return signer, nil
}

// parseKey reads an operator's PEM key. Warnings are for the operator.
func parseKey(text []byte) (key crypto.Signer, warnings []string, err error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, nil, errors.New("no PEM block in it")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, nil, errors.New("more than one PEM block in it")
	}
	var parsed any
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, nil, fmt.Errorf("a %s is no private key", strings.ToLower(block.Type))
	}
	if err != nil {
		return nil, nil, errors.New("the key cannot be read (an encrypted one has to be decrypted first)")
	}
	switch k := parsed.(type) {
	case *rsa.PrivateKey:
		bits := k.N.BitLen()
		if bits < minRSA || bits > maxRSA {
			return nil, nil, fmt.Errorf("an RSA key of %d bits; %d to %d are taken", bits, minRSA, maxRSA)
		}
		if bits < goodRSA {
			warnings = append(warnings, fmt.Sprintf("an RSA key of %d bits is weak; make one of %d", bits, goodRSA))
		}
		return k, warnings, nil
	case ed25519.PrivateKey:
		return k, []string{"many receivers do not check Ed25519 signatures yet; RSA of 2048 bits reaches all"}, nil
	}
	return nil, nil, errors.New("neither an RSA nor an Ed25519 key")
}

// dkimRecord is what the domain's DNS must say (RFC 6376 section 3.6.1; for
// Ed25519 the bare key, RFC 8463 section 4).
func dkimRecord(key crypto.Signer) (string, error) {
	if pub, ok := key.Public().(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(pub), nil
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", fmt.Errorf("encode public key: %w", err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
}

// signer gives submission the keys of the state's domains.
func (s *sealer) signer(state func() *tenant.State) submission.Signer {
	return &signer{seal: s, state: state, open: map[string]openKey{}}
}

// signer opens each sealed key once and keeps it as long as the state has it.
type signer struct {
	seal  *sealer
	state func() *tenant.State

	mu   sync.RWMutex // guards open
	open map[string]openKey
}

type openKey struct {
	sealed []byte
	key    crypto.Signer
}

// Key implements submission.Signer; a nil key means unsigned.
func (s *signer) Key(domain string) (string, crypto.Signer, error) {
	d := s.state().Domain(domain)
	if d == nil || d.Selector == "" {
		s.drop(domain)
		return "", nil, nil
	}
	s.mu.RLock()
	o, ok := s.open[domain]
	s.mu.RUnlock()
	if ok && bytes.Equal(o.sealed, d.SealedKey) {
		return d.Selector, o.key, nil
	}
	key, err := s.seal.Open(d.Name, d.Selector, d.SealedKey)
	if err != nil {
		return "", nil, err
	}
	s.mu.Lock()
	s.open[domain] = openKey{sealed: d.SealedKey, key: key}
	s.mu.Unlock()
	return d.Selector, key, nil
}

func (s *signer) drop(domain string) {
	s.mu.RLock()
	_, ok := s.open[domain]
	s.mu.RUnlock()
	if ok {
		s.mu.Lock()
		delete(s.open, domain)
		s.mu.Unlock()
	}
}
