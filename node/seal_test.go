package node

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/tenant"
)

func pemOf(t testing.TB, kind string, key any) []byte {
	t.Helper()
	var der []byte
	var err error
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if kind == "RSA PRIVATE KEY" {
			der = x509.MarshalPKCS1PrivateKey(k)
			break
		}
		der, err = x509.MarshalPKCS8PrivateKey(k)
	default:
		der, err = x509.MarshalPKCS8PrivateKey(k)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestParseKey(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, weak := newRSA(t, 2048), newRSA(t, 1024)
	for _, x := range []struct {
		name     string
		pem      []byte
		record   string // prefix; "" is a refusal
		warnings int
	}{
		{"RSA 2048", pemOf(t, "PRIVATE KEY", good), "v=DKIM1; k=rsa; p=MIIBIj", 0},
		{"RSA 2048 PKCS 1", pemOf(t, "RSA PRIVATE KEY", good), "v=DKIM1; k=rsa; p=MIIBIj", 0},
		{"RSA 1024", pemOf(t, "PRIVATE KEY", weak), "v=DKIM1; k=rsa; p=MIGf", 1},
		{"Ed25519", pemOf(t, "PRIVATE KEY", ed), "v=DKIM1; k=ed25519; p=", 1},
		{"ECDSA", pemOf(t, "PRIVATE KEY", ec), "", 0},
		{"two keys", append(pemOf(t, "PRIVATE KEY", good), pemOf(t, "PRIVATE KEY", good)...), "", 0},
		{"certificate", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), "", 0},
		{"encrypted", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), "", 0},
		{"garbage", []byte("garbage"), "", 0},
		{"broken", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), "", 0},
	} {
		key, warnings, err := parseKey(x.pem)
		if (err == nil) != (x.record != "") || len(warnings) != x.warnings {
			t.Errorf("%s: %v, warnings %q", x.name, err, warnings)
			continue
		}
		if err == nil {
			if r, err := dkimRecord(key); err != nil || !strings.HasPrefix(r, x.record) {
				t.Errorf("%s: record %q, %v", x.name, r, err)
			}
		}
	}
}

// A sealed key opens for its own domain and selector, whole, with its own
// secret; for nothing else.
func TestSeal(t *testing.T) {
	key := newRSA(t, 2048)
	one, err := openSealer(filepath.Join(t.TempDir(), "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := openSealer(filepath.Join(t.TempDir(), "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := one.Seal("acme.example", "s1", key)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := one.Seal("acme.example", "s1", key)
	if err != nil || bytes.Equal(sealed, twice) {
		t.Fatal("a nonce is used twice", err)
	}
	got, err := one.Open("acme.example", "s1", sealed)
	if err != nil || !key.Equal(got) {
		t.Fatal(err)
	}
	// What an export has seals as the same key again.
	if text, err := one.keyText("acme.example", "s1", sealed); err != nil || !one.sealsKey("acme.example", "s1", sealed, text) {
		t.Fatalf("%s %v", text, err)
	}
	if _, err := other.keyText("acme.example", "s1", sealed); err == nil {
		t.Fatal("another cluster's key is exported")
	}
	if der, _ := x509.MarshalPKCS8PrivateKey(key); bytes.Contains(sealed, der[30:60]) {
		t.Fatal("the key can be read in what is sealed")
	}
	bad := func(name string, s *sealer, domain, selector string, b []byte) {
		if _, err := s.Open(domain, selector, b); err == nil {
			t.Errorf("%s opens", name)
		}
	}
	bad("another domain's", one, "blue.example", "s1", sealed)
	bad("another selector's", one, "acme.example", "s2", sealed)
	bad("another cluster's", other, "acme.example", "s1", sealed)
	bad("nothing", one, "acme.example", "s1", nil)
	// The border between domain and selector is part of what is bound.
	bad("a shifted border", one, "acme.examples", "1", sealed)
	for i := range sealed {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		bad("a changed byte", one, "acme.example", "s1", b)
	}
	bad("a short one", one, "acme.example", "s1", sealed[:len(sealed)-1])
}

func TestSecretFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "secret.key")
	// Of many that start at once, all end up with one secret.
	var wg sync.WaitGroup
	sealers := make([]*sealer, 8)
	for i := range sealers {
		wg.Go(func() {
			s, err := openSealer(name)
			if err != nil {
				t.Error(err)
			}
			sealers[i] = s
		})
	}
	wg.Wait()
	key := newRSA(t, 1024)
	for _, s := range sealers {
		b, err := s.Seal("a.example", "s", key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sealers[0].Open("a.example", "s", b); err != nil {
			t.Fatal("two secrets came about")
		}
	}
	fi, err := os.Stat(name)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatal(fi.Mode(), err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	for _, text := range []string{"", "abcd", strings.Repeat("g", 64), strings.Repeat("a", 66), strings.Repeat("a", 10000)} {
		if _, err := openSealer(writeFile(t, t.TempDir(), "k", text)); err == nil {
			t.Errorf("%.10q is a secret", text)
		}
	}
	if _, err := openSealer(""); err == nil {
		t.Error("no file is a secret")
	}
	for text, ok := range map[string]bool{"0123456789abcdef\n": true, "short": false, "two words here ok": false, strings.Repeat("x", 600): false} {
		if _, err := parseToken([]byte(text)); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The signer follows the state: a key set, changed, cleared, and one of another
// cluster.
func TestSignerFollowsTheState(t *testing.T) {
	seal, err := openSealer(filepath.Join(t.TempDir(), "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	st, index := tenant.New(), uint64(0)
	do := func(op tenant.Op) {
		t.Helper()
		index++
		next, _, err := tenant.Apply(st, index, tenant.Command{At: time.Unix(1.7e9, 0).UTC(), Op: op})
		if err != nil {
			t.Fatalf("%T: %v", op, err)
		}
		st = next
	}
	do(tenant.AddNode{Name: "n1"})
	do(tenant.AddSource{Node: st.NodeByName("n1").ID, Addr: netip.MustParseAddr("192.0.2.1"), EHLO: "out.relay.test", Shared: true})
	do(tenant.AddTenant{Name: "acme", Hostname: "acme.relay.test", Home: tenant.Place{Node: st.NodeByName("n1").ID}})
	id := st.TenantByName("acme").ID
	set := func(selector string, key crypto.Signer) {
		t.Helper()
		op := tenant.SetDomain{Tenant: id, Name: "acme.example", Selector: selector}
		if key != nil {
			if op.SealedKey, err = seal.Seal("acme.example", selector, key); err != nil {
				t.Fatal(err)
			}
		}
		do(op)
	}
	s := seal.signer(func() *tenant.State { return st })
	want := func(selector string, key *rsa.PrivateKey) {
		t.Helper()
		gotSelector, got, err := s.Key("acme.example")
		if err != nil || gotSelector != selector || (got == nil) != (key == nil) {
			t.Fatalf("%q %v %v", gotSelector, got, err)
		}
		if key != nil {
			sum := sha256.Sum256([]byte("x"))
			sig, err := got.Sign(rand.Reader, sum[:], crypto.SHA256)
			if err != nil || rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], sig) != nil {
				t.Fatal("signed by another key", err)
			}
		}
	}
	one, two := newRSA(t, 1024), newRSA(t, 1024)
	want("", nil)
	set("", nil)
	want("", nil)
	set("s1", one)
	want("s1", one)
	want("s1", one)
	set("s1", two)
	want("s1", two)
	set("s2", one)
	want("s2", one)
	set("", nil)
	want("", nil)
	do(tenant.SetDomain{Tenant: id, Name: "acme.example", Selector: "s1", SealedKey: bytes.Repeat([]byte{1}, 100)})
	if _, key, err := s.Key("acme.example"); err == nil || key != nil {
		t.Error("a key of another cluster is used")
	}
}
