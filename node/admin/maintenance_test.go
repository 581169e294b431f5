package admin

import (
	"encoding/hex"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

func (w *world) away(name string) time.Time { return w.State().NodeByName(name).Away }

func TestMaintenance(t *testing.T) {
	w, c := newPair(t, operatorToken)
	w.widen(t)
	before := time.Now()
	n, err := c.MaintainNode(t.Context(), "two", 25*time.Second)
	if err != nil || n.State != "maintenance" || n.Away == nil || !n.Away.Equal(w.away("two")) {
		t.Fatalf("%+v %v", n, err)
	}
	if n.Away.Before(before.Add(25*time.Second)) || n.Away.After(time.Now().Add(25*time.Second)) {
		t.Errorf("25 s end at %s, asked at %s", n.Away, before)
	}
	if one, err := c.Node(t.Context(), "n1"); err != nil || one.Away != nil || one.State == "maintenance" {
		t.Errorf("another node: %+v %v", one, err)
	}
	n, err = c.MaintainNode(t.Context(), "two", 0)
	if err != nil || n.Away != nil || n.State == "maintenance" || !w.away("two").IsZero() {
		t.Errorf("ended: %+v %v", n, err)
	}
	var p *Problem
	if _, err := c.MaintainNode(t.Context(), "two", tenant.MaxAway+time.Second); !errors.As(err, &p) || p.Status != http.StatusUnprocessableEntity {
		t.Errorf("too long: %v", err)
	}
	two := w.State().NodeByName("two").ID
	if _, _, err := w.Propose(t.Context(), tenant.RequestID{}, tenant.NodesDown{Nodes: []tenant.NodeID{two}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.MaintainNode(t.Context(), "two", time.Second); !errors.As(err, &p) || p.Status != http.StatusConflict || !strings.Contains(err.Error(), "down") {
		t.Errorf("a node that is down: %v", err)
	}
}

// What the document says of the length is what the state takes.
func TestMaintenanceBound(t *testing.T) {
	f, _ := reflect.TypeFor[Maintenance]().FieldByName("Seconds")
	if got := f.Tag.Get("maximum"); got != strconv.Itoa(maxAwaySeconds) {
		t.Errorf("the document says %s s, the state takes %d s", got, maxAwaySeconds)
	}
}

// The leader reckons the end by its own clock; without it the node asked does.
func TestMaintenanceIsAskedOfTheLeader(t *testing.T) {
	p := newTwo(t)
	p.status.Leader = "two"
	p.asked.cfg.Propose = nil // proposing here would panic
	const at = "/v1/nodes/spare/maintenance"
	if rec := tell(p.asked, operatorToken, http.MethodPut, at, `{"seconds":20}`); rec.Code != 200 || !strings.Contains(rec.Body.String(), `"away"`) {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	first := p.one.away("spare")
	if first.IsZero() {
		t.Fatal("no window in the state")
	}
	p.reach.Store(false)
	p.asked.cfg.Propose = p.one.Propose
	if rec := tell(p.asked, operatorToken, http.MethodPut, at, `{"seconds":29}`); rec.Code != 200 || !p.one.away("spare").After(first) {
		t.Errorf("without the leader: %d %s", rec.Code, rec.Body)
	}
}

func TestMaintenanceIsAReason(t *testing.T) {
	p := newTwo(t)
	if rec := tell(p.asked, operatorToken, http.MethodPut, "/v1/nodes/two/maintenance", `{}`); rec.Code != 200 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	text := tell(p.asked, operatorToken, http.MethodGet, "/v1/status", "").Body.String()
	if !strings.Contains(text, "node two is in maintenance until") || !strings.Contains(text, `"ready":true`) {
		t.Errorf("%s", text)
	}
}

func TestStatusShowsTheDigest(t *testing.T) {
	w, c := newPair(t, operatorToken)
	st, err := c.Status(t.Context())
	digest := w.State().Digest()
	if err != nil || st.Digest != hex.EncodeToString(digest[:]) || st.Index != w.State().Index() {
		t.Fatalf("%+v %v", st, err)
	}
	if text := tell(newServer(t, w), tokenA, http.MethodGet, "/v1/status", "").Body.String(); strings.Contains(text, "digest") {
		t.Errorf("a tenant is shown the digest: %s", text)
	}
}
