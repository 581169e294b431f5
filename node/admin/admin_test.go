package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"postern/tenant"
)

// TestMain looks for goroutines that nobody ended; those that end by a timeout
// of their own get the time.
func TestMain(m *testing.M) {
	code := m.Run()
	var leak error
	for end := time.Now().Add(30 * time.Second); code == 0 && time.Now().Before(end); {
		if leak = goleak.Find(); leak == nil {
			break
		}
	}
	if leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}

// world is a real state machine behind a mutex, and a queue of plain values.
type world struct {
	mu      sync.Mutex // guards what follows
	st      *tenant.State
	index   uint64
	propose error // when set, every proposal ends in it
	mail    map[string]*Trace
	reasons []Reason
}

const (
	operatorToken = "operator-token-of-the-test"
	tokenA        = "token-of-tenant-acme-0123456789"
	tokenB        = "token-of-tenant-blue-0123456789"
	idA, idB      = "1-1-1", "2-1-1"
)

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{st: tenant.New(), mail: map[string]*Trace{}}
	do := func(op tenant.Op) {
		if _, _, err := w.Propose(context.Background(), tenant.RequestID{}, op); err != nil {
			t.Fatalf("%T: %v", op, err)
		}
	}
	do(tenant.AddNode{Name: "n1"})
	n := w.st.NodeByName("n1").ID
	knows(do, n)
	do(tenant.OpenJournal{})
	for i, shared := range []bool{false, true, true} {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)})
		do(tenant.AddSource{Node: n, Addr: addr, EHLO: "out-" + string(rune('a'+i)) + ".relay.test", Shared: shared})
	}
	do(tenant.AddSource{Node: n, Addr: netip.MustParseAddr("192.0.2.99"), EHLO: "spare.relay.test"})
	src := w.st.SourceByAddr(netip.MustParseAddr("192.0.2.10")).ID
	do(tenant.AddTenant{Name: "acme", Hostname: "acme.relay.test", Home: tenant.Place{Node: n, Source: src}})
	do(tenant.AddTenant{Name: "blue", Hostname: "blue.relay.test", Home: tenant.Place{Node: n}})
	for i, name := range []string{"acme", "blue"} {
		id := w.st.TenantByName(name).ID
		do(tenant.SetToken{Tenant: id, Hash: TokenHash([]string{tokenA, tokenB}[i])})
		do(tenant.SetDomain{Tenant: id, Name: name + ".example"})
		do(tenant.AddAccount{Tenant: id, Username: "info@" + name + ".example", Secret: TokenHash(name), Plan: tenant.Plan{MailsPerMonth: 100}})
		qid := []string{idA, idB}[i]
		w.mail[qid] = &Trace{Message: Message{ID: qid, Tenant: name, TenantID: uint64(id), Account: "info@" + name + ".example", Class: "bulk",
			Kind: "submitted", From: "info@" + name + ".example", Size: 5000, Arrived: time.Unix(1e9, 0).UTC(), Items: []Item{{Domain: name + "-dest.test", Rcpts: []string{"x@" + name + "-dest.test"}}}},
			Outcomes: []Outcome{}, Attempts: []Attempt{}}
	}
	do(tenant.SetRoute{Route: tenant.Route{Domain: "partner.example", Host: "192.0.2.77", Port: 25}})
	return w
}

// widen adds a node that is the backup of acme, and one that is nothing yet.
func (w *world) widen(t testing.TB) {
	t.Helper()
	do := func(op tenant.Op) {
		if _, _, err := w.Propose(context.Background(), tenant.RequestID{}, op); err != nil {
			t.Fatalf("%T: %v", op, err)
		}
	}
	do(tenant.AddNode{Name: "two"})
	do(tenant.AddNode{Name: "spare"})
	knows(do, w.st.NodeByName("two").ID, w.st.NodeByName("spare").ID)
	two, acme := tenant.Place{Node: w.st.NodeByName("two").ID}, w.st.TenantByName("acme")
	do(tenant.AddSource{Node: two.Node, Addr: netip.MustParseAddr("198.51.100.10"), EHLO: "out-two.relay.test", Shared: true})
	do(tenant.SetPlace{Tenant: acme.ID, Home: acme.Home, Backup: two})
	do(tenant.NoteImport{Tenant: acme.ID, From: "old.test", Domains: []string{"acme.example"}})
	do(tenant.AddToken{Token: tenant.JoinToken{Hash: [32]byte{8}, Expires: time.Now().Add(time.Hour)}})
	do(tenant.Drill{Source: w.st.SourceByAddr(netip.MustParseAddr("192.0.2.11")).ID})
}

// markOf makes marks without a key.
func markOf(kind tenant.MarkKind, text string) tenant.Mark {
	return tenant.Mark{Kind: kind, Hash: sha256.Sum256([]byte(fmt.Sprint(kind, text)))}
}

// knows makes nodes know all commands.
func knows(do func(tenant.Op), nodes ...tenant.NodeID) {
	version := uint32(tenant.NewestVersion)
	for _, n := range nodes {
		do(tenant.SetNode{Node: n, Version: &version})
	}
}

// readZones reads no file: "x" is one zone, all else is wrong.
func readZones(text string) (tenant.SetLists, []string) {
	if text != "x" {
		return tenant.SetLists{}, []string{"line 1: what is that", "line 2: and that"}
	}
	code := netip.MustParseAddr("127.0.0.2")
	return tenant.SetLists{Rule: tenant.DefaultListingRule(), Zones: []tenant.Zone{{Name: "zen.test", Spaces: []tenant.Space{tenant.SpaceIPv4}, Every: time.Minute,
		Heavy: true, Delist: "https://zen.test/?{}", Codes: []tenant.ZoneCode{{First: code, Last: code, Means: "spam", Weight: 100, Policy: tenant.PolicyMove}}}}}, nil
}

func (w *world) State() *tenant.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.st
}

func (w *world) Propose(_ context.Context, req tenant.RequestID, op tenant.Op) ([]tenant.Event, *tenant.State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.propose != nil {
		return nil, w.st, w.propose
	}
	w.index++
	st, events, err := tenant.Apply(w.st, w.index, tenant.Command{Request: req, At: time.Now().UTC(), Op: op})
	if st != nil {
		w.st = st
	}
	return events, w.st, err
}

func (w *world) pick(f Filter) []*Trace {
	var all []*Trace
	for _, m := range w.mail {
		if (f.Tenant == 0 || uint64(f.Tenant) == m.TenantID) && (f.Domain == "" || f.Domain == m.Items[0].Domain) && m.ID > f.After {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b *Trace) int { return strings.Compare(a.ID, b.ID) })
	return all
}

func (w *world) List(_ context.Context, f Filter) ([]Message, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []Message
	for _, m := range w.pick(f) {
		if len(all) < f.Limit {
			all = append(all, m.Message)
		}
	}
	return all, nil
}

func (w *world) Trace(_ context.Context, id string) (*Trace, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.mail[id]; t != nil {
		return t, nil
	}
	return nil, ErrNotFound
}

func (w *world) Show(ctx context.Context, id string) (*Message, error) {
	switch id {
	case "9-9-9":
		return nil, errors.New("disk on fire in /secret/place")
	case "8-8-8":
		panic("a bug in /secret/place")
	}
	t, err := w.Trace(ctx, id)
	if err != nil {
		return nil, err
	}
	return &t.Message, nil
}

func (w *world) Counts() map[tenant.ID]Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[tenant.ID]Counts{}
	for _, m := range w.mail {
		c := all[tenant.ID(m.TenantID)]
		c.Messages++
		c.Queued++
		all[tenant.ID(m.TenantID)] = c
	}
	return all
}

func (w *world) Flush(_ context.Context, f Filter) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pick(f)), nil
}

func (w *world) Purge(_ context.Context, f Filter) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	gone := w.pick(f)
	for _, m := range gone {
		delete(w.mail, m.ID)
	}
	return len(gone), nil
}

func (w *world) Cancel(_ context.Context, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.mail[id]
	switch {
	case m == nil:
		return ErrNotFound
	case m.Items[0].Active:
		return ErrBusy
	}
	delete(w.mail, id)
	return nil
}

func (w *world) config() Config {
	reg := prometheus.NewRegistry()
	accepted := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postern_accepted_total"}, []string{"tenant"})
	reg.MustRegister(accepted)
	accepted.WithLabelValues("acme").Inc()
	return Config{Addr: "127.0.0.1:0", Node: "n1", Version: "test", OperatorToken: TokenHash(operatorToken), State: w.State, Propose: w.Propose, Doctor: sight{"n1"},
		Ready:     func() []Reason { return w.reasons },
		Running:   newProcess("n1"),
		ReadZones: readZones, Mark: markOf,
		SealText: func(_ string, plain []byte) ([]byte, error) { return append([]byte("sealed "), plain...), nil },
		Seal: func(domain, selector string, pem []byte) (Sealed, error) {
			if !bytes.HasPrefix(pem, []byte("PEM")) {
				return Sealed{}, errors.New("no PEM block in it")
			}
			sum := sha256.Sum256(pem)
			return Sealed{Bytes: sum[:], Record: "v=DKIM1; p=" + selector, Warnings: []string{"weak"}}, nil
		},
		JoinToken: func(*tenant.State) (string, [32]byte, error) { return "postern-token", [32]byte{7}, nil },
		Messages:  w, Mail: w, Suppressions: noList{}, Gatherer: reg}
}

func newServer(t testing.TB, w *world) *Server {
	t.Helper()
	s, err := New(w.config())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tell sends one request and gives the answer.
func tell(s http.Handler, token, verb, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(verb, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	return rec
}
