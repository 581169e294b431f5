package node

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"postern/node/admin"
)

// What must stay secret is on no disk in the clear, but in the files that are
// there for it; and nobody but the node may read anything.
func TestNoSecretOnTheDisks(t *testing.T) {
	c := newSeveral(t, 3)
	_, who := c.prepare(0, 1)
	api := c.operator(1)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if _, err := api.SetDomain(t.Context(), "shoes", "shoes.test", admin.SetDomain{Selector: "s1", Key: text}); err != nil {
		t.Fatal(err)
	}
	tok, err := api.MakeToken(t.Context(), "shoes")
	if err != nil {
		t.Fatal(err)
	}
	join, err := api.MakeJoinToken(t.Context(), admin.NewJoinToken{})
	if err != nil {
		t.Fatal(err)
	}
	if n := c.send(2, 5, who); n != 5 {
		t.Fatalf("%d of 5 were taken", n)
	}
	c.delivered(5)
	backup, err := api.Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(c.cfgs[0].SecretKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	operator, err := os.ReadFile(c.cfgs[0].OperatorTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.nodes {
		c.stop(i)
	}

	needles := map[string][]byte{
		"the DKIM key":          key.Seed(),
		"the authority's key":   c.authority,
		"the join token":        []byte(join.Token),
		"the first join token":  []byte(c.token),
		"the tenant's token":    []byte(tok.Token),
		"the account password":  []byte(who.Password),
		"the operator's token":  bytes.TrimSpace(operator),
		"the sealing key (hex)": bytes.TrimSpace(secret),
	}
	raw, _ := hex.DecodeString(string(bytes.TrimSpace(secret)))
	needles["the sealing key"] = raw
	for name, n := range needles {
		if len(n) < 16 {
			t.Fatalf("%s is too short to look for: %d octets", name, len(n))
		}
		if at := found(backup, n); at {
			t.Errorf("%s is in the backup", name)
		}
	}
	for _, cfg := range c.cfgs {
		own := []string{cfg.SecretKeyFile, cfg.OperatorTokenFile}
		files := 0
		err := filepath.WalkDir(cfg.Dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s can be read by others: %v", path, info.Mode())
			}
			if d.IsDir() || slices.Contains(own, path) {
				return nil
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			for name, n := range needles {
				if found(b, n) {
					t.Errorf("%s is in %s", name, path)
				}
			}
			return nil
		})
		if err != nil || files < 10 {
			t.Errorf("looked into %d files of %s: %v", files, cfg.Dir, err)
		}
	}
}

// found looks for a secret as it is, in hexadecimal and in base64.
func found(b, secret []byte) bool {
	return bytes.Contains(b, secret) || bytes.Contains(b, []byte(hex.EncodeToString(secret))) ||
		bytes.Contains(b, []byte(base64.StdEncoding.EncodeToString(secret))) ||
		bytes.Contains(b, []byte(base64.RawURLEncoding.EncodeToString(secret)))
}

// operator is a client of one node's API.
func (c *several) operator(i int) *admin.Client {
	c.t.Helper()
	b, err := os.ReadFile(c.cfgs[i].OperatorTokenFile)
	if err != nil {
		c.t.Fatal(err)
	}
	api, err := admin.NewClient(c.cfgs[i].Admin, string(b))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(api.Close)
	return api
}

// authorityKey reads the private number of the authority's key, which lies in a
// file until the cluster has it.
func authorityKey(t *testing.T, cfg Config) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(cfg.pkiDir(), "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			private, err := key.(*ecdsa.PrivateKey).Bytes()
			if err != nil {
				t.Fatal(err)
			}
			return private
		}
	}
	t.Fatal("no key in ca.key")
	return nil
}
