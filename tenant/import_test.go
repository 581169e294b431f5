package tenant

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// undo is "undo" of transcripts: what takes back a tenant's import, and doing it.
func (x *transcript) undo() string {
	before := x.s.Encode()
	changes, stays, bad := UndoImport(x.s, ID(x.num("tenant")), nil)
	if string(before) != string(x.s.Encode()) {
		x.td.Fatalf(x.t, "asking changed the state")
	}
	text := changesText(changes, stays, bad)
	if len(changes) == 0 || len(bad) > 0 || x.has("dry") {
		return text
	}
	return text + x.apply(batchOf(x.s, changes))
}

func warmText(s *State, id SourceID) string {
	if day := s.WarmSince(id); !day.IsZero() {
		return " warm=" + dayText(day)
	}
	return ""
}

// An import larger than a batch is noted in each one, so that one that broke off
// can be taken back as well.
func TestImportInBatches(t *testing.T) {
	w := newPlain(t)
	var accounts []DeclaredAccount
	for i := range 2*MaxBatch + 10 {
		accounts = append(accounts, DeclaredAccount{Username: fmt.Sprintf("u%d@shoes.test", i), Hash: "$5$x$" + strings.Repeat("a", 43)})
	}
	want := Declared{Tenants: &[]DeclaredTenant{{Name: "shoes", Hostname: "shoes.test", Home: &DeclaredPlace{Node: "n0"}, Accounts: &accounts}},
		Sources: &[]DeclaredSource{{Addr: netip.MustParseAddr("127.77.0.1"), Node: "n0", EHLO: "out.test", Shared: true}}}
	all, _, bad := DiffImport(w.s, want, "old", nil)
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	was := w.s
	for n, c := range all {
		if _, note := c.Op.(NoteImport); note != (n%MaxBatch == MaxBatch-1 || n == len(all)-1) {
			t.Fatalf("change %d of %d is %T", n, len(all), c.Op)
		}
	}
	w.do(t, batchOf(w.s, all[:MaxBatch]))
	x := w.s.Import(w.s.TenantByName("shoes").ID)
	if !x.New || len(x.Accounts) != MaxBatch-3 {
		t.Fatalf("%d accounts are noted of a part, new %t", len(x.Accounts), x.New)
	}
	// The second run goes on where the first one broke off.
	all, _, bad = DiffImport(w.s, want, "old", nil)
	if len(bad) > 0 || len(all) != 2*MaxBatch+10-(MaxBatch-3)+2 {
		t.Fatalf("%d changes are left, %v", len(all), bad)
	}
	for len(all) > 0 {
		n := min(len(all), MaxBatch)
		w.do(t, batchOf(w.s, all[:n]))
		all = all[n:]
	}
	if all, _, bad = DiffImport(w.s, want, "old", nil); len(all)+len(bad) > 0 {
		t.Fatalf("again: %v %v", all, bad)
	}
	all, stays, bad := UndoImport(w.s, x.Tenant, nil)
	if len(stays)+len(bad) > 0 {
		t.Fatal(stays, bad)
	}
	for len(all) > 0 {
		n := min(len(all), MaxBatch)
		w.do(t, batchOf(w.s, all[:n]))
		all = all[n:]
	}
	if w.s.TenantByName("shoes") != nil || w.s.imports.len() != 0 || w.s.accounts.len() != was.accounts.len() {
		t.Error("something is left")
	}
}

// Whatever is imported into whatever there is, and imported again, undone it is
// as it was before.
func TestUndoLeavesWhatWas(t *testing.T) {
	done, many := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := newPlain(t)
		if !w.become(t, drawDeclared(t, "was")) {
			return
		}
		was := settingsOf(w.s)
		want := drawDeclared(t, "import")
		want.Lists, want.Automation, want.OnListing, want.Notices = nil, nil, nil, nil
		if len(*want.Tenants) == 0 {
			return
		}
		one := (*want.Tenants)[:1]
		want.Tenants = &one
		all, _, bad := DiffImport(w.s, want, "old", nil)
		if many++; len(bad) > 0 || len(all) == 0 {
			return
		}
		w.do(t, batchOf(w.s, all))
		if again, _, bad := DiffImport(w.s, want, "old", nil); len(again)+len(bad) > 0 {
			t.Fatalf("imported, and still %v %v", again, bad)
		}
		id := w.s.TenantByName(one[0].Name).ID
		if w.s.Import(id) == nil {
			// Nothing was made: passwords of accounts no import made stay as they are.
			t.Fatalf("%v was done and is not noted", all)
		}
		back, stays, bad := UndoImport(w.s, id, nil)
		if len(stays)+len(bad) > 0 {
			t.Fatalf("%v %v", stays, bad)
		}
		w.do(t, batchOf(w.s, back))
		if now := settingsOf(w.s); !reflect.DeepEqual(was, now) {
			t.Fatalf("it was\n%+v\nand is\n%+v", was, now)
		}
		if w.s.imports.len() > 0 {
			t.Fatal("the import is still noted")
		}
		done++
	})
	if done < 10 {
		t.Fatalf("%d of %d imports were possible", done, many)
	}
}
