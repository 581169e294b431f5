package admin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"postern/tenant"
)

// The journal names who asked, by the token's role and the caller's own word,
// also when another node passes the question on.
func TestJournalActors(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, w)
	ask := func(name string) string {
		t.Helper()
		if rec := tell(s, operatorToken, http.MethodPut, "/v1/accounts/info@acme.example/hold", `{"reason":"a trap"}`, headerOperator, name); rec.Code != 200 {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
		count, _, _ := w.State().JournalOf()
		e := w.State().JournalEntry(count)
		if e.Act != "hold" || e.Why != "a trap" {
			t.Fatalf("the newest entry is %+v", e)
		}
		return e.Actor
	}
	for name, want := range map[string]string{"": "operator", "anna": "operator anna", " a\u2028b ": "operator ab", strings.Repeat("x", 500): "operator " + strings.Repeat("x", maxActorName)} {
		if got := ask(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	who := caller{tenant: w.State().TenantByName("acme").ID, name: "their tool"}
	if got := who.actor(w.State()); got != "tenant acme their tool" {
		t.Errorf("a tenant is %q", got)
	}
}

func TestJournalPages(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewServer(newServer(t, w))
	defer srv.Close()
	c, err := NewClient(srv.URL, operatorToken)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := context.Background()
	whole, err := c.Journal(ctx, 0, "", List{Limit: 1000})
	if err != nil || len(whole.Items) < 10 || whole.Next != "" {
		t.Fatalf("%d entries, next %q: %v", len(whole.Items), whole.Next, err)
	}
	var seen []uint64
	for l := (List{Limit: 3}); ; {
		p, err := c.Journal(ctx, 0, "", l)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Items {
			seen = append(seen, e.Seq)
		}
		if l.After = p.Next; p.Next == "" {
			break
		}
	}
	for i, e := range whole.Items {
		if i >= len(seen) || seen[i] != e.Seq {
			t.Fatalf("pages gave %v", seen)
		}
	}
	acme, err := c.Journal(ctx, 0, "acme", List{Limit: 1000})
	if err != nil || len(acme.Items) != 4 { // tenant, token, domain, account
		t.Errorf("%d entries are about acme: %v", len(acme.Items), err)
	}
	check, err := c.CheckJournal(ctx)
	if err != nil || !check.OK || check.Entries != len(whole.Items) || check.Head != whole.Items[0].Hash {
		t.Errorf("the check says %+v: %v", check, err)
	}
	w.State().JournalEntry(5).Actor = "nobody"
	if check, err = c.CheckJournal(ctx); err != nil || check.OK || check.Broken == nil || check.Broken.Seq != 5 {
		t.Errorf("the check of a forged journal says %+v: %v", check, err)
	}
}

// older holds the entries that left a state, in two pieces.
type older struct {
	all    []*tenant.Entry // oldest first
	broken *tenant.BrokenEntry
}

func (o *older) Before(seq uint64) (some []*tenant.Entry, next uint64, err error) {
	for _, e := range slices.Backward(o.all) {
		if e.Seq < seq {
			if some = append(some, e); len(some) == 20 && e.Seq > 1 {
				return some, e.Seq, nil
			}
		}
	}
	return some, 0, nil
}

func (o *older) Check(*tenant.State) (ArchiveCheck, error) {
	return ArchiveCheck{Entries: uint64(len(o.all)), First: 1, Last: uint64(len(o.all)), Broken: o.broken}, nil
}

// Pages go on behind the state's oldest entry, without a gap and to the first.
func TestJournalGoesOnInTheArchive(t *testing.T) {
	w, kept := newWorld(t), &older{}
	for e := range w.State().Journal() {
		kept.all = append(kept.all, e)
	}
	for first := uint64(0); first <= 30; _, first, _ = w.State().JournalOf() {
		if _, _, err := w.Propose(context.Background(), tenant.RequestID{}, tenant.Pause{Tenant: 1, Reason: "a trap"}); err != nil {
			t.Fatal(err)
		}
		if n, _, _ := w.State().JournalOf(); n <= 40 {
			kept.all = append(kept.all, w.State().JournalEntry(n))
		}
	}
	cfg := w.config()
	cfg.Archive = kept
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	defer srv.Close()
	c, err := NewClient(srv.URL, operatorToken)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, want, pages := context.Background(), uint64(35), 0
	for l := (List{After: "36", Limit: 7}); ; pages++ {
		p, err := c.Journal(ctx, 0, "", l)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Items {
			if e.Seq != want {
				t.Fatalf("entry %d where %d belongs", e.Seq, want)
			}
			want--
		}
		if l.After = p.Next; p.Next == "" {
			break
		}
	}
	if want != 0 || pages < 4 {
		t.Errorf("ended before entry %d, after %d pages", want, pages)
	}
	if e, err := c.JournalEntry(ctx, "3"); err != nil || e.Seq != 3 {
		t.Errorf("entry 3 is %+v: %v", e, err)
	}
	if v, err := c.CheckJournal(ctx); err != nil || !v.OK || v.Files == nil || v.Files.Entries != uint64(len(kept.all)) {
		t.Errorf("checked %+v: %v", v, err)
	}
	kept.broken = &tenant.BrokenEntry{Seq: 7}
	if v, err := c.CheckJournal(ctx); err != nil || v.OK || v.Files.Broken.Seq != 7 {
		t.Errorf("checked %+v: %v", v, err)
	}
}
