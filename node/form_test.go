package node

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func formConfig(t *testing.T) Config {
	t.Helper()
	c := DefaultConfig()
	c.Name, c.Hostname, c.Dir = "n1", "smtp.relay.test", filepath.Join(t.TempDir(), "state")
	c.Peer.Listen, c.Peer.Advertise = "127.0.0.1:0", "127.0.0.1:8472"
	c.locate(filepath.Dir(c.Dir))
	return c
}

func TestInitOnce(t *testing.T) {
	c := formConfig(t)
	if _, err := c.mayBootstrap(); !errors.Is(err, errNotFormed) {
		t.Errorf("a node that nobody formed may start: %v", err)
	}
	token, err := Init(c, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if len(token) < 32 || strings.ContainsAny(token, " \t\n\"'$`\\;&|<>*?~!(){}[]#") {
		t.Errorf("token %q is not one plain word", token)
	}
	if may, err := c.mayBootstrap(); err != nil || !may {
		t.Errorf("may bootstrap: %t %v", may, err)
	}
	if _, err := Init(c, time.Hour); !errors.Is(err, errFormed) {
		t.Errorf("a second init: %v", err)
	}
	for _, name := range []string{c.SecretKeyFile, c.OperatorTokenFile, c.formFile()} {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, fi, err)
		}
	}
	for _, name := range []string{c.Dir, c.pkiDir()} {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", name, fi, err)
		}
	}
	// Once the cluster has formed, an empty directory must not form another.
	if err := c.bootstrapped(); err != nil {
		t.Fatal(err)
	}
	if may, err := c.mayBootstrap(); err != nil || may {
		t.Errorf("may bootstrap again: %t %v", may, err)
	}
}

func TestFormingRefuses(t *testing.T) {
	c := formConfig(t)
	c.Peer.Listen = ""
	if _, err := Init(c, time.Hour); !errors.Is(err, errNoPeer) {
		t.Errorf("init without a peer port: %v", err)
	}
	if err := Join(t.Context(), c, JoinFrom{Token: "x"}); !errors.Is(err, errNoPeer) {
		t.Errorf("join without a peer port: %v", err)
	}
	c = formConfig(t)
	if err := Join(t.Context(), c, JoinFrom{Token: "nonsense"}); err == nil {
		t.Error("a token that is none is taken")
	}
	if word, err := c.form(); word != "" || err != nil {
		t.Errorf("a join that failed left %q, %v", word, err)
	}
	// A file that is not ours is not guessed at.
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.formFile(), []byte("perhaps\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.mayBootstrap(); err == nil {
		t.Error("an unknown word is taken")
	}
}

// The node's own stores say whether it runs.
func TestFormingRefusesARunningNode(t *testing.T) {
	c := formConfig(t)
	dir := filepath.Join(c.Dir, "queue", "log")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := vfs.Default.Lock(filepath.Join(dir, "LOCK"))
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"init":    func() error { _, err := Init(c, time.Hour); return err },
		"join":    func() error { return Join(t.Context(), c, JoinFrom{Token: "x", Again: true}) },
		"recover": func() error { _, err := Recover(c); return err },
		"look":    func() error { _, err := Look(c); return err },
	} {
		if err := do(); !errors.Is(err, errRunning) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(c, time.Hour); err != nil {
		t.Errorf("init of a stopped node: %v", err)
	}
}

func TestSecretsAreHandedOver(t *testing.T) {
	from, to := formConfig(t), formConfig(t)
	if _, err := Init(from, time.Hour); err != nil {
		t.Fatal(err)
	}
	blob, err := from.encodeSecret()
	if err != nil {
		t.Fatal(err)
	}
	key, token, err := decodeSecret(blob)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(to.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time the same is there already
		if err := keepSecret(to.SecretKeyFile, key, parseSecret); err != nil {
			t.Fatal(err)
		}
	}
	a, _ := os.ReadFile(from.SecretKeyFile)
	b, _ := os.ReadFile(to.SecretKeyFile)
	if len(a) == 0 || !bytes.Equal(bytes.TrimSpace(a), bytes.TrimSpace(b)) {
		t.Errorf("key %q became %q", a, b)
	}
	other := bytes.Repeat([]byte("ab"), 32)
	if err := keepSecret(to.SecretKeyFile, other, parseSecret); err == nil {
		t.Error("another cluster's key was put over the one that is there")
	}
	if len(token) < minToken {
		t.Errorf("token %q", token)
	}
}

func FuzzDecodeSecret(f *testing.F) {
	f.Add([]byte(`{"secret_key":"` + strings.Repeat("ab", 32) + `","operator_token":"0123456789abcdef"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		key, token, err := decodeSecret(b)
		if err != nil {
			return
		}
		if _, err := parseSecret(key); err != nil {
			t.Errorf("key %q: %v", key, err)
		}
		if _, err := parseToken(token); err != nil {
			t.Errorf("token %q: %v", token, err)
		}
	})
}
