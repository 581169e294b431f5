package cluster

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// TestFound: the state has the authority, its key has left the disk, modes are
// private, and doing it again changes nothing.
func TestFound(t *testing.T) {
	r := newTribe(t)
	a, text := r.found("a")
	s := r.state.Load()
	auth := s.Authority()
	if auth == nil {
		t.Fatal("the state has no authority")
	}
	tok, err := parseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	n := r.node("a")
	if n.Key != a.port.id.Load().key || n.Peer != a.addr {
		t.Errorf("registered %+v", n)
	}
	if s.JoinToken(tok.hash()) == nil {
		t.Error("the token is not registered")
	}
	ca, err := a.port.authority(s)
	if err != nil {
		t.Fatal(err)
	}
	private, err := ca.key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if ca.hash() != tok.authority || ca.cluster != auth.Cluster || bytes.Contains(auth.SealedKey, private) {
		t.Error("authority, token and state do not agree, or the key is not sealed")
	}
	for _, name := range []string{fileAuthorityKey, fileToken} {
		if _, err := os.Stat(filepath.Join(a.dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if err := a.port.found(context.Background(), r.propose); err != nil {
		t.Error(err)
	}
	if got := r.state.Load().Index(); got != s.Index() {
		t.Errorf("founding again made %d entries", got-s.Index())
	}
	if _, err := Found(a.dir, "a", a.addr, time.Hour); !errors.Is(err, ErrFounded) {
		t.Errorf("founding a founded cluster: %v", err)
	}
	err = filepath.WalkDir(filepath.Dir(a.dir), func(path string, e os.DirEntry, err error) error {
		if err != nil || path == filepath.Dir(a.dir) {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		want := os.FileMode(fileMode)
		if e.IsDir() {
			want = dirMode
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o", path, got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestFoundWithMail: a node that worked alone before keeps its id.
func TestFoundWithMail(t *testing.T) {
	r := newTribe(t)
	r.must(tenant.AddNode{Name: "other"})
	r.must(tenant.AddNode{Name: "a"})
	id := r.node("a").ID
	a, _ := r.found("a")
	if n := r.node("a"); n.ID != id || n.Key != a.port.id.Load().key || n.Peer != a.addr {
		t.Errorf("registered %+v, was %d", n, id)
	}
}

// TestFoundAgain: until a start used it, the last call counts.
func TestFoundAgain(t *testing.T) {
	r := newTribe(t)
	dir, l := filepath.Join(t.TempDir(), "pki"), bind(t)
	first, err := Found(dir, "a", l.Addr().String(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Found(dir, "a", l.Addr().String(), time.Hour)
	if err != nil || first == second {
		t.Fatalf("the second token is the first, or %v", err)
	}
	a := r.open("a", dir, l, nil)
	if err := a.port.found(context.Background(), r.propose); err != nil {
		t.Fatal(err)
	}
	r.run(a)
	if _, err := r.ask("b", first, filepath.Join(t.TempDir(), "pki")); !errors.Is(err, ErrJoin) {
		t.Errorf("the first token: %v", err)
	}
	r.join("b", second)
}

// TestFoundLate: a token that expired before the first start is no obstacle.
func TestFoundLate(t *testing.T) {
	r := newTribe(t)
	dir, l := filepath.Join(t.TempDir(), "pki"), bind(t)
	if _, err := Found(dir, "a", l.Addr().String(), time.Hour); err != nil {
		t.Fatal(err)
	}
	r.shift.Store(int64(48 * time.Hour))
	a := r.open("a", dir, l, nil)
	if err := a.port.found(context.Background(), r.propose); err != nil {
		t.Fatal(err)
	}
	r.run(a)
	r.join("b", r.token(""))
}

// TestFoundInterrupted: proposals fail at each step, and the next start goes on.
func TestFoundInterrupted(t *testing.T) {
	for at := 1; ; at++ {
		r := newTribe(t)
		r.fails = map[int]bool{at: true}
		dir, l := filepath.Join(t.TempDir(), "pki"), bind(t)
		text, err := Found(dir, "a", l.Addr().String(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		a := r.open("a", dir, l, nil)
		err = a.port.found(context.Background(), r.propose)
		if err == nil {
			a.port.close()
			if at < 4 {
				t.Errorf("founding made %d proposals", at-1)
			}
			return
		}
		if !errors.Is(err, ErrNoLeader) {
			t.Fatal(err)
		}
		if r.state.Load().Authority() == nil { // else the port goes on by itself
			if err := a.port.found(context.Background(), r.propose); err != nil {
				t.Fatalf("after failure %d: %v", at, err)
			}
		}
		r.run(a)
		eventually(t, patience, "the authority's key leaves the disk", func() bool {
			_, err := os.Stat(filepath.Join(dir, fileAuthorityKey))
			return errors.Is(err, os.ErrNotExist)
		})
		r.join("b", text)
		a.stop()
	}
}

// TestFoundForeign: a directory of another cluster is not mixed in.
func TestFoundForeign(t *testing.T) {
	r := newTribe(t)
	r.found("a")
	dir, l := filepath.Join(t.TempDir(), "pki"), bind(t)
	if _, err := Found(dir, "a", l.Addr().String(), time.Hour); err != nil {
		t.Fatal(err)
	}
	a := r.open("a", dir, l, nil)
	defer a.port.close()
	if err := a.port.found(context.Background(), r.propose); !errors.Is(err, ErrForeign) {
		t.Errorf("another authority: %v", err)
	}
	if _, err := a.port.pki.authority(); err != nil {
		t.Errorf("its key is gone: %v", err)
	}
}

// TestFoundPowerCut cuts the power before each change of the disk while a
// cluster is founded. Afterwards it can be founded again, and what is in use is
// whole.
func TestFoundPowerCut(t *testing.T) {
	const dir = "/node/pki"
	found := func(fs vfs.FS) error {
		_, err := foundIn(pkiDir{fs, dir}, "a", "127.0.0.1:1", time.Hour, time.Now())
		return err
	}
	for at := 1; ; at++ {
		cut := newPowerCut(vfs.NewCrashableMem(), at, seeded(at), nil)
		if err := found(cut); err != nil {
			t.Fatal(err)
		}
		if cut.steps() < at {
			if at < 10 {
				t.Errorf("only %d changes", at)
			}
			return
		}
		d := pkiDir{cut.left(), dir}
		for _, name := range []string{fileNode, fileAuthorityKey} {
			if b, err := d.read(name); err == nil {
				if _, _, err := getBlocks(b); err != nil || len(b) == 0 {
					t.Fatalf("cut %d left %s in parts: %v", at, name, err)
				}
			}
		}
		if err := found(d.fs); err != nil {
			t.Fatalf("founding after cut %d: %v", at, err)
		}
		id, err := d.load()
		if err != nil {
			t.Fatalf("cut %d: %v", at, err)
		}
		a, err := d.authority()
		if err != nil || a.hash() != id.authority.hash() {
			t.Fatalf("cut %d: authority and certificate differ: %v", at, err)
		}
	}
}

// TestSavePowerCut: a renewal that a power cut ends leaves the old certificate
// or the new one.
func TestSavePowerCut(t *testing.T) {
	const dir = "/node/pki"
	for at := 1; ; at++ {
		mem := vfs.NewCrashableMem()
		d := pkiDir{mem, dir}
		if _, err := foundIn(d, "a", "127.0.0.1:1", time.Hour, time.Now()); err != nil {
			t.Fatal(err)
		}
		old, err := d.load()
		if err != nil {
			t.Fatal(err)
		}
		a, err := d.authority()
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := a.sign(&keyWithin(old).PublicKey, roleNode, "a", life{now: time.Now(), span: lifeNode, since: 7})
		if err != nil {
			t.Fatal(err)
		}
		next, err := old.with(leaf)
		if err != nil {
			t.Fatal(err)
		}
		cut := newPowerCut(mem, at, seeded(at), nil)
		if err := (pkiDir{cut, dir}).save(next); err != nil {
			t.Fatal(err)
		}
		got, err := pkiDir{cut.left(), dir}.load()
		if err != nil {
			t.Fatalf("cut %d: %v", at, err)
		}
		if got.since != 0 && got.since != 7 {
			t.Fatalf("cut %d: since %d", at, got.since)
		}
		if cut.steps() < at {
			if got.since != 7 {
				t.Error("the whole of it left the old certificate")
			}
			return
		}
	}
}

func TestFoundBadly(t *testing.T) {
	for _, c := range []struct {
		name, addr string
		good       time.Duration
		want       string
	}{
		{"A", "127.0.0.1:1", time.Hour, "no node name"},
		{"a", "127.0.0.1", time.Hour, "no address"},
		{"a", ":1", time.Hour, "no address"},
		{"a", "127.0.0.1:0", time.Hour, "no address"},
		{"a", "127.0.0.1:1", 0, "good for"},
	} {
		if _, err := Found(filepath.Join(t.TempDir(), "pki"), c.name, c.addr, c.good); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	_, err := openPort(Peering{Listener: bind(t), Advertise: "127.0.0.1:1", PKI: t.TempDir()}, "a", tenant.New, quiet())
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "found a cluster or join one") {
		t.Errorf("no certificate: %v", err)
	}
}
