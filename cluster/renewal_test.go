package cluster

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

func keyWithin(id *identity) *ecdsa.PrivateKey { return id.tls.PrivateKey.(*ecdsa.PrivateKey) }

// TestRenewal: with a third of its life left each node gets a new certificate
// for the same key, uses it without a restart, and open connections stay.
func TestRenewal(t *testing.T) {
	r := newTribe(t)
	a, b, _ := r.three()
	near, _ := pair(t, a, b, protoRaft)
	eventually(t, patience, "the founding node renews once", func() bool { return a.port.id.Load().since > 0 })
	before := map[*seat]*identity{a: a.port.id.Load(), b: b.port.id.Load()}
	r.shift.Store(int64(lifeNode*2/3 - 2*time.Hour))
	if a.port.due(before[a]) || b.port.due(before[b]) {
		t.Fatal("due before two thirds have passed")
	}
	r.shift.Store(int64(lifeNode*2/3 + 2*time.Hour))
	for s, old := range before {
		eventually(t, patience, s.name+" renews", func() bool { return s.port.id.Load().leaf.NotAfter.After(old.leaf.NotAfter) })
		id := s.port.id.Load()
		if id.key != old.key || id.name != s.name {
			t.Errorf("%s became %+v", s.name, id.credential)
		}
		eventually(t, patience, "the file has it", func() bool {
			saved, err := s.port.pki.load()
			return err == nil && bytes.Equal(saved.leaf.Raw, s.port.id.Load().leaf.Raw)
		})
	}
	r.shift.Store(int64(lifeNode + 24*time.Hour)) // the old ones are dead
	pair(t, a, b, ProtoMirror)
	pair(t, b, a, ProtoMirror)
	if err := near.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Write([]byte("still open")); err != nil {
		t.Errorf("an open connection: %v", err)
	}
}

// TestRenewalAfterSleep: when every certificate expired while all nodes were
// off, each signs itself and the cluster is back.
func TestRenewalAfterSleep(t *testing.T) {
	r := newTribe(t)
	a, b, c := r.three()
	a.stop()
	b.stop()
	c.stop()
	r.shift.Store(int64(2 * lifeNode))
	back := r.run(r.open("a", a.dir, bind(t), nil))
	r.moved(back)
	other := r.run(r.open("b", b.dir, bind(t), nil))
	eventually(t, patience, "they reach each other again", func() bool {
		conn, err := other.port.dial(soon(t), "a", protoCalls)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	_ = back
}

// TestSign: a node signs for the asker's own name and registered key only.
func TestSign(t *testing.T) {
	r := newTribe(t)
	a, b, c := r.three()
	var refused *tenant.Refused
	for name, key := range map[string]*ecdsa.PrivateKey{"another node's key": keyWithin(c.port.id.Load()), "a new key": mustNewKey(t)} {
		request, err := newRequest(key, "b")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.port.call(soon(t), "a", verbSign, signRequest{request}, nil); !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.port.call(soon(t), "a", verbSign, signRequest{[]byte("nonsense")}, nil); !errors.As(err, &refused) {
		t.Errorf("nonsense: %v", err)
	}
	// The name in the request means nothing: who asks is who gets.
	request, err := newRequest(keyWithin(b.port.id.Load()), "a")
	if err != nil {
		t.Fatal(err)
	}
	var got signAnswer
	if err := b.port.call(soon(t), "a", verbSign, signRequest{request}, &got); err != nil {
		t.Fatal(err)
	}
	if id, err := b.port.id.Load().with(got.Chain[0]); err != nil || id.name != "b" {
		t.Errorf("signed for %v, %v", id, err)
	}
	if err := b.port.renew(soon(t)); err != nil {
		t.Error(err)
	}
	// A removed node gets none, not even from itself.
	old := r.state.Load()
	r.must(tenant.RemoveNode{Node: r.node("b").ID})
	b.view.Store(old)
	a.isNew.Store(true)
	b.view.Store(nil)
	if err := b.port.renew(soon(t)); err == nil {
		t.Error("a removed node renewed")
	}
}

func mustNewKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, _, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestAddressBook: a node that starts dials by what was written down, a moved
// node is found, and nothing older replaces what is newer.
func TestAddressBook(t *testing.T) {
	r := newTribe(t)
	a, b, _ := r.three()
	eventually(t, patience, "the book has both", func() bool {
		var p pages
		return b.port.pki.readJSON(filePeers, &p) == nil && p.Peers["a"] == a.addr && len(p.Peers) == 2
	})
	b.stop()
	again := r.open("b", b.dir, bind(t), nil)
	again.view.Store(tenant.New())
	pair(t, r.run(again), a, protoRaft)

	r.moved(again)
	pair(t, a, again, protoRaft)
	eventually(t, patience, "the others' books follow", func() bool {
		var p pages
		return a.port.pki.readJSON(filePeers, &p) == nil && p.Peers["b"] == again.addr
	})
	early := tenant.New()
	early, _, err := tenant.Apply(early, 1, tenant.Command{Request: tenant.RequestID{9}, At: time.Now(), Op: tenant.AddNode{Name: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	a.port.book.learn(early, "a")
	if got := a.port.book.addrs(early, "b"); len(got) == 0 || got[0] != again.addr {
		t.Errorf("with an old state: %v", got)
	}
}

func TestAddressBookDamaged(t *testing.T) {
	r := newTribe(t)
	a, _ := r.found("a")
	a.stop()
	if err := os.WriteFile(filepath.Join(a.dir, filePeers), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := bind(t)
	defer l.Close()
	if _, err := openPort(Peering{Listener: l, Advertise: a.addr, PKI: a.dir}, "a", tenant.New, quiet()); err == nil || !strings.Contains(err.Error(), filePeers) {
		t.Errorf("a damaged book: %v", err)
	}
}
