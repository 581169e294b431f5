package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

// ask joins with a token and gives up early.
func (r *tribe) ask(name, text, dir string, addrs ...string) (Joined, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return join(ctx, JoinRequest{Token: text, Name: name, Advertise: "127.0.0.1:9999", PKI: dir, Addrs: addrs}, r.now)
}

// TestJoin: a node is registered and given what it needs, by any node.
func TestJoin(t *testing.T) {
	r := newTribe(t)
	a, text := r.found("a")
	b := r.join("b", text)
	dir := filepath.Join(t.TempDir(), "pki")
	got, err := r.ask("c", text, dir, b.addr)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{a.addr, b.addr}; !slices.Equal(slices.Sorted(slices.Values(got.Peers)), slices.Sorted(slices.Values(want))) {
		t.Errorf("peers %v, want %v", got.Peers, want)
	}
	if string(got.Secret) != "the cluster's secret" {
		t.Errorf("secret %q", got.Secret)
	}
	c := r.node("c")
	id, err := openPKI(dir).load()
	if err != nil {
		t.Fatal(err)
	}
	if c.Key != id.key || c.Peer != "127.0.0.1:9999" || c.Witness || id.since == 0 || id.since > r.state.Load().Index() {
		t.Errorf("registered %+v with certificate %+v", c, id.credential)
	}
	// Its address book lets it dial before it has a state.
	fresh := r.open("c", dir, bind(t), nil)
	fresh.view.Store(tenant.New())
	pair(t, r.run(fresh), a, protoRaft)
}

func TestJoinWitness(t *testing.T) {
	r := newTribe(t)
	r.found("a")
	text, hash, err := NewToken(r.state.Load())
	if err != nil {
		t.Fatal(err)
	}
	r.must(tenant.AddToken{Token: tenant.JoinToken{Hash: hash, Expires: r.now().Add(time.Hour), Witness: true}})
	if _, err := r.ask("w", text, filepath.Join(t.TempDir(), "pki")); err != nil {
		t.Fatal(err)
	}
	if !r.node("w").Witness {
		t.Error("the witness is none")
	}
}

// TestJoinRefused: every no says why, changes nothing, and is no certificate.
func TestJoinRefused(t *testing.T) {
	r := newTribe(t)
	_, text := r.found("a")
	bound := r.token("z")
	stranger, err := parseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	stranger.secret[0] ^= 1
	for _, c := range []struct{ name, text, want string }{
		{"b", stranger.String(), "not known"},
		{"b", bound, "for node z, not b"},
		{"a", text, "this node itself"},
		{"B", text, "no node name"},
		{"b", text[:len(text)-2], "not copied whole"},
		{"b", "postern2." + text, "does not begin with"},
	} {
		dir := filepath.Join(t.TempDir(), "pki")
		before := r.state.Load().Index()
		_, err := r.ask(c.name, c.text, dir)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if r.state.Load().Index() != before {
			t.Errorf("%q changed the state", c.want)
		}
		if _, err := os.Stat(filepath.Join(dir, fileNode)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q left a certificate: %v", c.want, err)
		}
	}
	r.shift.Store(int64(2 * time.Hour))
	if _, err := r.ask("b", text, filepath.Join(t.TempDir(), "pki")); !errors.Is(err, ErrJoin) || !strings.Contains(err.Error(), "expired at") {
		t.Errorf("an expired token: %v", err)
	}
}

// TestJoinNobody names the places that did not answer.
func TestJoinNobody(t *testing.T) {
	r := newTribe(t)
	a, text := r.found("a")
	a.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := join(ctx, JoinRequest{Token: text, Name: "b", Advertise: "127.0.0.1:9999", PKI: filepath.Join(t.TempDir(), "pki")}, r.now)
	if err == nil || !strings.Contains(err.Error(), "no node answered at "+a.addr) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody there: %v", err)
	}
}

// TestJoinLater: without a leader a joining node waits for one.
func TestJoinLater(t *testing.T) {
	t.Parallel() // it mostly waits
	r := newTribe(t)
	_, text := r.found("a")
	r.mu.Lock()
	r.fails = map[int]bool{r.count + 1: true}
	r.mu.Unlock()
	if _, err := r.ask("b", text, filepath.Join(t.TempDir(), "pki")); err != nil {
		t.Error(err)
	}
}

// TestJoinForeign: a directory of another node or cluster stays as it is.
func TestJoinForeign(t *testing.T) {
	r, o := newTribe(t), newTribe(t)
	_, text := r.found("a")
	_, other := o.found("x")
	dir := filepath.Join(t.TempDir(), "pki")
	if _, err := r.ask("b", text, dir); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, fileNode))
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"b": other, "c": text} {
		if _, err := r.ask(name, token, dir); !errors.Is(err, ErrForeign) {
			t.Errorf("node %s: %v", name, err)
		}
	}
	after, err := os.ReadFile(filepath.Join(dir, fileNode))
	if err != nil || string(before) != string(after) {
		t.Errorf("the certificate changed: %v", err)
	}
}

// TestJoinFlood: attempts have a rate, and what is too long is not read.
func TestJoinFlood(t *testing.T) {
	r := newTribe(t)
	a, _ := r.found("a")
	later := 0
	for range 2 * joinBurst {
		if got := a.port.admit(soon(t), []byte("{}")); strings.Contains(got.Later, "too many") {
			later++
		} else if got.Refused == "" {
			t.Fatalf("nonsense was answered with %+v", got)
		}
	}
	if later == 0 {
		t.Error("no attempt was too many")
	}
	ca, err := a.port.authority(r.state.Load())
	if err != nil {
		t.Fatal(err)
	}
	long, err := json.Marshal(joinRequest{Name: strings.Repeat("x", maxJoin)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := askToJoin(soon(t), a.addr, ca.hash(), long, time.Now); err == nil {
		t.Errorf("a request of %d octets was answered: %+v", len(long), got)
	}
}

// TestJoinSecretStays: who is not of the token's cluster never sees a secret.
func TestJoinSecretStays(t *testing.T) {
	r, o := newTribe(t), newTribe(t)
	_, text := r.found("a")
	thief, _ := o.found("a")
	seen := make(chan []byte, 1)
	front := bind(t)
	defer front.Close()
	go func() {
		c, err := front.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		back, err := net.Dial("tcp", thief.addr)
		if err != nil {
			return
		}
		defer back.Close()
		go func() {
			b := make([]byte, 1<<16)
			for {
				n, err := back.Read(b)
				if err != nil {
					_ = c.Close()
					return
				}
				_, _ = c.Write(b[:n])
			}
		}()
		var all []byte
		b := make([]byte, 1<<16)
		for {
			n, err := c.Read(b)
			all = append(all, b[:n]...)
			if err != nil {
				seen <- all
				return
			}
			_, _ = back.Write(b[:n])
		}
	}()
	tok, err := parseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := askToJoin(soon(t), front.Addr().String(), tok.authority, []byte(strings.Repeat("s", 4000)), time.Now); err == nil || !strings.Contains(err.Error(), "not of the token's cluster") {
		t.Errorf("another cluster: %v", err)
	}
	// A hello and an alert are some hundred octets to two thousand; the request
	// would have been 4,000 more.
	if got := <-seen; len(got) > 3500 {
		t.Errorf("%d octets went to another cluster", len(got))
	}
}

// TestJoinEarly: a token that the answering node does not know yet, because it
// lags or is still founding, is waited for.
func TestJoinEarly(t *testing.T) {
	r := newTribe(t)
	a, text := r.found("a")
	r.pace.grace = patience
	b := r.join("b", text)
	b.view.Store(r.state.Load())
	late := r.token("")
	tok, err := parseToken(late)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	dir := filepath.Join(t.TempDir(), "pki")
	go func() {
		_, err := r.ask("c", late, dir, b.addr)
		asked <- err
	}()
	eventually(t, patience, "b reads the request", func() bool {
		b.port.joins.mu.Lock()
		defer b.port.joins.mu.Unlock()
		return b.port.joins.left < joinBurst
	})
	b.view.Store(nil)
	if err := <-asked; err != nil {
		t.Error(err)
	}
	r.must(tenant.RemoveToken{Hash: tok.hash()})
	if err := a.port.pki.write(fileAuthorityKey, nil); err != nil {
		t.Fatal(err)
	}
	key, _, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := newRequest(key, "d")
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(joinRequest{Secret: tok.secret[:], Name: "d", Advertise: "127.0.0.1:1", Request: request})
	if err != nil {
		t.Fatal(err)
	}
	if got := a.port.admit(soon(t), body); got.Later == "" {
		t.Errorf("while founding: %+v", got)
	}
	if err := a.port.pki.remove(fileAuthorityKey); err != nil {
		t.Fatal(err)
	}
	if got := a.port.admit(soon(t), body); !strings.Contains(got.Refused, "not known") {
		t.Errorf("afterwards: %+v", got)
	}
}
