package admin

import (
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
