package node

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// namedPEM makes a pair for names that ends after a time.
func namedPEM(t *testing.T, serial int64, good time.Duration, names ...string) (cert, key []byte) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(good)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk})
}

// place writes files below a directory, some minutes after the last ones.
func place(t *testing.T, dir string, minute int, files map[string][]byte) {
	t.Helper()
	stamp := time.Now().Add(time.Duration(minute-60) * time.Minute)
	for name, b := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
}

// served is the serial number of what a client is shown that asks for a name.
func served(t *testing.T, c *certs, name string) int64 {
	t.Helper()
	c.named.mu.Lock()
	c.named.checked = time.Time{}
	c.named.mu.Unlock()
	here, there := net.Pipe()
	defer here.Close()
	go func() { _ = tls.Server(there, c.TLS()).Handshake(); there.Close() }()
	client := tls.Client(here, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	return client.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestCertificatesByName(t *testing.T) {
	own, dir := t.TempDir(), t.TempDir()
	cert, key := writePair(t, own, 1, time.Now())
	var log bytes.Buffer
	c, err := newCerts(cert, key, dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	want := func(name string, serial int64) {
		t.Helper()
		if got := served(t, c, name); got != serial {
			t.Errorf("%q: serial %d, want %d", name, got, serial)
		}
	}
	want("smtp.shoes.test", 1)

	c2, k2 := namedPEM(t, 2, 30*24*time.Hour, "smtp.shoes.test", "MX.Shoes.test")
	c3, k3 := namedPEM(t, 3, 20*24*time.Hour, "*.bakery.test")
	place(t, dir, 1, map[string][]byte{"shoes.crt": c2, "shoes.key": k2, "bakery.test/fullchain.pem": c3, "bakery.test/privkey.pem": k3, "README": []byte("certbot")})
	want("smtp.shoes.test", 2)
	want("mx.shoes.test", 2)
	want("smtp.bakery.test", 3)
	want("a.b.bakery.test", 1)
	want("bakery.test", 1)
	want("other.test", 1)
	want("", 1) // asks for none
	if got := time.Until(c.named.ends()); got < 19*24*time.Hour || got > 21*24*time.Hour {
		t.Errorf("the first ends in %s", got)
	}

	// A broken renewal keeps what was there, and the others are renewed.
	c4, k4 := namedPEM(t, 4, 90*24*time.Hour, "*.bakery.test")
	place(t, dir, 2, map[string][]byte{"shoes.key": []byte("half writ"), "bakery.test/fullchain.pem": c4, "bakery.test/privkey.pem": k4, "lone.crt": c2,
		"large.crt": make([]byte, maxPairFile+1), "large.key": k2, "odd.crt": c2, "odd.key": k3})
	want("smtp.shoes.test", 2)
	want("smtp.bakery.test", 4)
	for _, said := range []string{"shoes.crt", "lone.crt", "large.crt", "odd.crt"} {
		if !strings.Contains(log.String(), filepath.Join(dir, said)) {
			t.Errorf("%s is not logged:\n%s", said, log.String())
		}
	}
	// Of two for a name the one counts that ends last; a removed one goes.
	c5, k5 := namedPEM(t, 5, 99*24*time.Hour, "smtp.shoes.test")
	place(t, dir, 3, map[string][]byte{"new.crt": c5, "new.key": k5})
	want("smtp.shoes.test", 5)
	if err := os.Remove(filepath.Join(dir, "new.crt")); err != nil {
		t.Fatal(err)
	}
	want("smtp.shoes.test", 2)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	want("smtp.shoes.test", 2) // a directory that is away for a moment takes nothing
}

func TestCheckNamedCertificates(t *testing.T) {
	dir := t.TempDir()
	good, goodKey := namedPEM(t, 2, 30*24*time.Hour, "a.test")
	soon, soonKey := namedPEM(t, 3, 3*24*time.Hour, "b.test")
	over, overKey := namedPEM(t, 4, -time.Minute, "c.test")
	none, noneKey := namedPEM(t, 5, 30*24*time.Hour)
	place(t, dir, 1, map[string][]byte{"a.crt": good, "a.key": goodKey, "b.crt": soon, "b.key": soonKey, "c.crt": over, "c.key": overKey, "d.crt": good, "e.crt": none, "e.key": noneKey})
	c := DefaultConfig()
	c.TLS.Dir = dir
	j := &judgement{}
	c.tryNamed(j)
	var got []string
	for _, f := range j.found {
		if !f.Warning || f.Mend == "" {
			t.Errorf("%+v", f)
		}
		got = append(got, strings.TrimPrefix(f.Text, dir+"/"))
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{"b.crt ends on", "c.crt ended on", "d.crt: no such file", "e.crt: read certificate: it names no host"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if len(got) != 4 {
		t.Errorf("%d findings:\n%s", len(got), text)
	}
	c.TLS.Dir = filepath.Join(dir, "missing")
	j = &judgement{}
	if c.tryNamed(j); len(j.found) != 1 || !j.found[0].Warning {
		t.Errorf("%v", j.found)
	}
	// Without a certificate of its own the node would have nothing for the others.
	if found := faults(c.judge(nil)); !strings.Contains(fmt.Sprint(found), "tls.dir") {
		t.Errorf("%v", found)
	}
}
