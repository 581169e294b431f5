package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// writePair makes a certificate with a serial number to tell it by.
func writePair(t *testing.T, dir string, serial int64, stamp time.Time) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "relay.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pk}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func serial(t *testing.T, c *certs) int64 {
	t.Helper()
	c.mu.Lock()
	c.checked = time.Time{} // as if the last look was long ago
	c.mu.Unlock()
	leaf, err := x509.ParseCertificate(c.TLS().Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf.SerialNumber.Int64()
}

func TestCertificateReload(t *testing.T) {
	dir, start := t.TempDir(), time.Now().Add(-time.Hour)
	cert, key := writePair(t, dir, 1, start)
	c, err := newCerts(cert, key, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := serial(t, c); got != 1 {
		t.Fatalf("serial %d", got)
	}
	writePair(t, dir, 2, start.Add(time.Minute))
	if got := serial(t, c); got != 2 {
		t.Errorf("after a change: serial %d, want the new one", got)
	}
	if err := os.WriteFile(key, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(t, c); got != 2 {
		t.Errorf("after a broken change: serial %d, want the old one to stay", got)
	}
	writePair(t, dir, 3, start.Add(2*time.Minute))
	if got := serial(t, c); got != 3 {
		t.Errorf("after the mend: serial %d", got)
	}
}

func TestMissingCertificateIsRefused(t *testing.T) {
	if _, err := newCerts(filepath.Join(t.TempDir(), "none.pem"), "none.key", "", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a missing certificate was accepted")
	}
}
