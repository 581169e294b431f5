package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/tenant"
)

const idGreen = "3-1-1"

// twoNodes are two nodes with one state: acme and blue are owned by n1, green by
// two. Each has the mail of its own tenants.
type twoNodes struct {
	one, two   *world
	asked, far *Server // n1 and two
	reach      atomic.Bool
	status     ClusterStatus
}

func newTwo(t *testing.T) *twoNodes {
	t.Helper()
	p := &twoNodes{one: newWorld(t), two: &world{mail: map[string]*Trace{}}}
	p.reach.Store(true)
	p.one.widen(t)
	two := p.one.State().NodeByName("two").ID
	for _, op := range []tenant.Op{
		tenant.AddTenant{Name: "green", Hostname: "green.relay.test", Home: tenant.Place{Node: two}},
		tenant.AddAccount{Tenant: 3, Username: "info@green.example", Secret: [32]byte{9}, Plan: tenant.Plan{MailsPerMonth: 100}},
	} {
		if _, _, err := p.one.Propose(t.Context(), tenant.RequestID{}, op); err != nil {
			t.Fatal(err)
		}
	}
	p.two.mail[idGreen] = &Trace{Message: Message{ID: idGreen, Tenant: "green", TenantID: 3, Account: "info@green.example", Class: "bulk", Kind: "submitted",
		Items: []Item{{Domain: "green-dest.test", Rcpts: []string{"x@green-dest.test"}}}}, Outcomes: []Outcome{}, Attempts: []Attempt{}}
	// What node two has of others' mail is a copy, and not its to show.
	p.two.mail[idA] = &Trace{Message: Message{ID: idA, Tenant: "acme", TenantID: 1, Items: []Item{{Domain: "copy.test", Rcpts: []string{}}}}, Outcomes: []Outcome{}, Attempts: []Attempt{}}
	p.status = ClusterStatus{Leader: "n1", Lease: time.Now().Add(time.Hour), Current: time.Now().Add(-3 * time.Second),
		Nodes: []NodeCondition{{Name: "n1", Voter: true}, {Name: "two", Voter: true, Alive: true, RTT: time.Millisecond, Applied: 1}}}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	far := p.two.config()
	far.Node, far.State, far.Propose, far.Doctor, far.Running = "two", p.one.State, p.one.Propose, sight{"two"}, newProcess("two")
	far.PeerListener, far.Listener = l, unused(t)
	far.Used = func(a tenant.AccountID, _ tenant.Window) tenant.Amount { return tenant.Amount{Mails: 40 + uint64(a)} }
	far.Cluster = func() ClusterStatus { return p.status }
	far.DialNode = func(context.Context, string) (net.Conn, error) { return nil, errors.New("not from here") }
	if p.far, err = New(far); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.far.Run(ctx) }()

	near := p.one.config()
	near.Cluster = func() ClusterStatus { return p.status }
	near.DialNode = func(ctx context.Context, node string) (net.Conn, error) {
		if node != "two" || !p.reach.Load() {
			return nil, errors.New("no way there")
		}
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}
	if p.asked, err = New(near); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.asked.peers.close()
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func unused(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func listed(t *testing.T, s *Server, path string) Page[Message] {
	t.Helper()
	rec := tell(s, operatorToken, http.MethodGet, path, "")
	var p Page[Message]
	if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || rec.Code != 200 {
		t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
	return p
}

func TestAnyNodeAnswersForTheOwner(t *testing.T) {
	p := newTwo(t)
	for _, path := range []string{"/v1/trace/" + idGreen, "/v1/queue/" + idGreen} {
		if rec := tell(p.asked, operatorToken, http.MethodGet, path, ""); rec.Code != 200 || !strings.Contains(rec.Body.String(), "green-dest.test") {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
		// Another tenant's token learns nothing, here or there.
		if rec := tell(p.asked, tokenA, http.MethodGet, path, ""); rec.Code != 404 {
			t.Errorf("%s: acme is answered %d %s", path, rec.Code, rec.Body)
		}
	}
	var ids []string
	for after, n := "", 0; n < 10; n++ {
		page := listed(t, p.asked, "/v1/queue?limit=1&after="+after)
		for _, m := range page.Items {
			ids = append(ids, m.ID)
			if len(m.Items) > 0 && m.Items[0].Domain == "copy.test" {
				t.Error("a copy at another node is shown as mail of its own")
			}
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if got := strings.Join(ids, " "); got != idA+" "+idB+" "+idGreen {
		t.Errorf("listed %q", got)
	}
	if page := listed(t, p.asked, "/v1/queue?account=info@green.example"); len(page.Items) != 1 {
		t.Errorf("by account: %+v", page)
	}
	rec := tell(p.asked, operatorToken, http.MethodGet, "/v1/tenants/green", "")
	if !strings.Contains(rec.Body.String(), `"queued":1`) {
		t.Errorf("tenant: %s", rec.Body)
	}
	rec = tell(p.asked, operatorToken, http.MethodGet, "/v1/usage?account=info@green.example", "")
	if !strings.Contains(rec.Body.String(), `"mails":43`) {
		t.Errorf("the owner knows the exact use: %s", rec.Body)
	}
	if rec := tell(p.asked, operatorToken, http.MethodPost, "/v1/queue/flush", `{}`); !strings.Contains(rec.Body.String(), `"count":3`) {
		t.Errorf("flush of all: %s", rec.Body)
	}
	if rec := tell(p.asked, operatorToken, http.MethodDelete, "/v1/tenants/green", ""); rec.Code != 409 {
		t.Errorf("a tenant with mail at another node was removed: %d %s", rec.Code, rec.Body)
	}
	if rec := tell(p.asked, operatorToken, http.MethodDelete, "/v1/queue/"+idGreen, ""); rec.Code != 204 || len(p.two.pick(Filter{Tenant: 3})) != 0 {
		t.Errorf("cancel: %d %s", rec.Code, rec.Body)
	}
	rec = tell(p.asked, operatorToken, http.MethodPost, "/v1/queue/purge", `{}`)
	if !strings.Contains(rec.Body.String(), `"count":2`) || p.two.mail[idA] == nil {
		t.Errorf("purge of all must leave copies to their owner: %s", rec.Body)
	}
}

func TestAnswersWithoutTheOwner(t *testing.T) {
	p := newTwo(t)
	p.reach.Store(false)
	rec := tell(p.asked, operatorToken, http.MethodGet, "/v1/trace/"+idGreen, "")
	if rec.Code != 503 || !strings.Contains(rec.Body.String(), "node two owns this and cannot be reached") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	page := listed(t, p.asked, "/v1/queue")
	if len(page.Items) != 2 || strings.Join(page.Missing, " ") != "two" {
		t.Errorf("%+v", page)
	}
	for path, want := range map[string]string{"/v1/tenants": `"missing":["two"]`, "/v1/usage": `"missing":["two"]`} {
		if rec := tell(p.asked, operatorToken, http.MethodGet, path, ""); rec.Code != 200 || !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	if rec := tell(p.asked, operatorToken, http.MethodPost, "/v1/queue/flush", `{}`); !strings.Contains(rec.Body.String(), `"count":2,"missing":["two"]`) {
		t.Errorf("flush: %s", rec.Body)
	}
	if rec := tell(p.asked, operatorToken, http.MethodDelete, "/v1/tenants/green", ""); rec.Code != 503 {
		t.Errorf("a tenant whose queue nobody knows was removed: %d %s", rec.Code, rec.Body)
	}
}

// Two nodes that disagree about the owner must not ask each other in a circle.
func TestPassedOnOnce(t *testing.T) {
	p := newTwo(t)
	rec := tell(p.far, operatorToken, http.MethodGet, "/v1/trace/"+idA, "", headerPassedOn, "n1")
	if rec.Code != 503 || !strings.Contains(rec.Body.String(), "changing its owner") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	rec = tell(p.far, operatorToken, http.MethodGet, "/v1/queue", "", headerPassedOn, "n1")
	if strings.Contains(rec.Body.String(), idA) || !strings.Contains(rec.Body.String(), idGreen) {
		t.Errorf("%s", rec.Body)
	}
}

// A node that the state makes the owner answers for the queue once it has it.
func TestTakingOver(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Adopted = func(id tenant.ID) bool { return id != 1 }
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if rec := tell(s, operatorToken, http.MethodGet, "/v1/trace/"+idA, ""); rec.Code != 503 || !strings.Contains(rec.Body.String(), "taking over") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := tell(s, operatorToken, http.MethodGet, "/v1/trace/"+idB, ""); rec.Code != 200 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestConditionOfTheCluster(t *testing.T) {
	p := newTwo(t)
	rec := tell(p.asked, operatorToken, http.MethodGet, "/v1/cluster", "")
	if age := rec.Header().Get(headerAge); !strings.HasPrefix(age, "3.") {
		t.Errorf("age %q", age)
	}
	var c Cluster
	if err := json.Unmarshal(rec.Body.Bytes(), &c); err != nil || c.Leader != "n1" || !c.MayAct || c.AgeMS == nil || c.Nodes != 3 {
		t.Errorf("%s", rec.Body)
	}
	rec = tell(p.far, operatorToken, http.MethodGet, "/v1/nodes/two", "")
	if !strings.Contains(rec.Body.String(), `"role":"voter"`) || !strings.Contains(rec.Body.String(), `"self":true`) {
		t.Errorf("%s", rec.Body)
	}
	if rec := tell(p.asked, "", http.MethodGet, "/readyz", ""); rec.Code != 200 {
		t.Errorf("ready: %d %s", rec.Code, rec.Body)
	}
	for _, x := range []struct {
		spoil func(*ClusterStatus)
		want  string
		stops bool
	}{
		{func(c *ClusterStatus) { c.Lease = time.Time{} }, "no lease", true},
		{func(c *ClusterStatus) { c.Leader = "" }, "no leader", true},
		{func(c *ClusterStatus) { c.Skew = 5 * time.Second }, "clock is 5s off", false},
		{func(c *ClusterStatus) { c.Mismatches = 1 }, "disagree", false},
	} {
		was := p.status
		x.spoil(&p.status)
		found := false
		for _, r := range p.asked.reasons() {
			found = found || strings.Contains(r.Text, x.want) && r.Stops == x.stops && r.Mend != ""
		}
		if !found {
			t.Errorf("%s is not told: %+v", x.want, p.asked.reasons())
		}
		if rec := tell(p.asked, "", http.MethodGet, "/readyz", ""); (rec.Code == 503) != x.stops {
			t.Errorf("%s: readyz %d", x.want, rec.Code)
		}
		p.status = was
	}
}

func TestBackupIsWhole(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	rec := tell(s, operatorToken, http.MethodGet, "/v1/backup", "")
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "application/octet-stream" {
		t.Fatalf("%d %v", rec.Code, rec.Header())
	}
	b := rec.Body.Bytes()
	st, err := DecodeBackup(b)
	if err != nil || st.Digest() != w.State().Digest() {
		t.Fatalf("%v", err)
	}
	for i := range b {
		spoiled := append([]byte(nil), b...)
		spoiled[i] ^= 1
		if _, err := DecodeBackup(spoiled); err == nil {
			t.Fatalf("a flipped bit in octet %d is not seen", i)
		}
	}
	for _, n := range []int{0, 1, backupHead - 1, backupHead, len(b) - 1} {
		if _, err := DecodeBackup(b[:n]); err == nil {
			t.Errorf("a cut at %d is not seen", n)
		}
	}
	if _, err := DecodeBackup(append(b, 0)); err == nil {
		t.Error("more than a backup is not seen")
	}
}

func FuzzDecodeBackup(f *testing.F) {
	f.Add(EncodeBackup(tenant.New()))
	f.Add([]byte(backupMark))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = DecodeBackup(b) })
}

// Places are chosen, limits are kept, and a plan names what would move.
func TestClusterChanges(t *testing.T) {
	p := newTwo(t)
	rec := tell(p.asked, operatorToken, http.MethodPost, "/v1/tenants", `{"name":"lime","hostname":"lime.relay.test"}`)
	var lime Tenant
	if err := json.Unmarshal(rec.Body.Bytes(), &lime); err != nil || rec.Code != 201 || lime.Home.Node == "" || lime.Backup == nil || lime.Backup.Node == lime.Home.Node {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	rec = tell(p.asked, operatorToken, http.MethodPatch, "/v1/accounts/info@acme.example",
		`{"limits":[{"window":"hour","mails":5000,"bytes":0},{"window":"minute","mails":300,"bytes":0}],"gap_ms":2000}`)
	var a Account
	if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil || rec.Code != 200 || len(a.Limits) != 2 || a.GapMS != 2000 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if rec := tell(p.asked, operatorToken, http.MethodPatch, "/v1/accounts/info@acme.example", `{"limits":[{"window":"minute","mails":1,"bytes":0},{"window":"minute","mails":2,"bytes":0}]}`); rec.Code != 422 {
		t.Errorf("one window twice: %d %s", rec.Code, rec.Body)
	}
	rec = tell(p.asked, operatorToken, http.MethodGet, "/v1/plan?loss=n1", "")
	var f Forecast
	if err := json.Unmarshal(rec.Body.Bytes(), &f); err != nil || rec.Code != 200 || len(f.Moves)+len(f.Nowhere)+f.Stays != 4 || len(f.Moves) == 0 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := tell(p.asked, operatorToken, http.MethodGet, "/v1/plan?loss=n1&drain=two", ""); rec.Code != 422 {
		t.Errorf("two questions: %d", rec.Code)
	}
	if rec := tell(p.asked, operatorToken, http.MethodPut, "/v1/nodes/n1/drain", ""); rec.Code != 200 || !strings.Contains(rec.Body.String(), `"state":"draining"`) {
		t.Errorf("drain: %d %s", rec.Code, rec.Body)
	}
}
