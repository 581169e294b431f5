package admin

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

func TestJoinTokens(t *testing.T) {
	w, c := newPair(t, operatorToken)
	ctx := t.Context()
	made, err := c.MakeJoinToken(ctx, NewJoinToken{Witness: true, Node: "n7"})
	if err != nil {
		t.Fatal(err)
	}
	other := tenant.JoinToken{Hash: [32]byte{9}, Expires: time.Now().Add(time.Hour)}
	if _, _, err := w.Propose(ctx, tenant.RequestID{}, tenant.AddToken{Token: other}); err != nil {
		t.Fatal(err)
	}
	all, err := c.JoinTokens(ctx, List{})
	if err != nil || len(all.Items) != 2 {
		t.Fatalf("%+v %v", all, err)
	}
	if x := all.Items[0]; x.ID != "070000000000" || !x.Witness || x.Node != "n7" || !x.Expires.Equal(made.Expires) {
		t.Errorf("%+v", x)
	}
	text := tell(newServer(t, w), operatorToken, http.MethodGet, "/v1/join-tokens", "").Body.String()
	if strings.Contains(text, made.Token) || strings.Contains(text, strings.Repeat("0", 20)) {
		t.Errorf("it tells a secret or a whole hash: %s", text)
	}
	done, err := c.RevokeJoinTokens(ctx)
	if err != nil || done.Count != 2 {
		t.Fatalf("%+v %v", done, err)
	}
	if w.State().JoinToken([32]byte{7}) != nil || w.State().JoinToken([32]byte{9}) != nil {
		t.Error("the state still takes them")
	}
	if all, err = c.JoinTokens(ctx, List{}); err != nil || len(all.Items) != 0 {
		t.Errorf("%+v %v", all, err)
	}
	if done, err = c.RevokeJoinTokens(ctx); err != nil || done.Count != 0 {
		t.Errorf("again: %+v %v", done, err)
	}
}

// One is taken back by the beginning of its id, if no other begins so.
func TestRevokeOneJoinToken(t *testing.T) {
	w, c := newPair(t, operatorToken)
	ctx := t.Context()
	for _, h := range [][32]byte{{0xab, 0xcd, 1}, {0xab, 0xcd, 2}, {0xab, 0xce}} {
		if _, _, err := w.Propose(ctx, tenant.RequestID{}, tenant.AddToken{Token: tenant.JoinToken{Hash: h, Expires: time.Now().Add(time.Hour)}}); err != nil {
			t.Fatal(err)
		}
	}
	for id, status := range map[string]int{
		"abcd": http.StatusConflict, "abcf": http.StatusNotFound, "abc": http.StatusUnprocessableEntity, "cdcd": http.StatusNotFound,
		"abcd0": http.StatusConflict, "%20%20%20%20": http.StatusNotFound,
	} {
		var p *Problem
		if _, err := c.RevokeJoinToken(ctx, id); !errors.As(err, &p) || p.Status != status {
			t.Errorf("%s: %v, want %d", id, err, status)
		}
	}
	if all, err := c.JoinTokens(ctx, List{}); err != nil || len(all.Items) != 3 {
		t.Fatalf("a refusal took one: %+v %v", all, err)
	}
	for _, id := range []string{"ABCE", "abcd02000000"} { // as long as the list shows it, or shorter
		if done, err := c.RevokeJoinToken(ctx, id); err != nil || done.Count != 1 {
			t.Errorf("%s: %+v %v", id, done, err)
		}
	}
	if w.State().JoinToken([32]byte{0xab, 0xcd, 1}) == nil || w.State().JoinToken([32]byte{0xab, 0xcd, 2}) != nil || w.State().JoinToken([32]byte{0xab, 0xce}) != nil {
		t.Error("it took the wrong ones")
	}
	var p *Problem
	if _, err := c.RevokeJoinToken(ctx, "abce"); !errors.As(err, &p) || p.Status != http.StatusNotFound {
		t.Errorf("again: %v", err)
	}
}
