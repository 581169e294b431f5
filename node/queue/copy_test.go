package queue

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

func sampleStep() *syncStep {
	sh := shareState{attempts: 2, due: 5, at: 4, rcpts: []int{0}, last: Reply{451, "4.7.1", "later"}}
	return &syncStep{
		syncState: syncState{epoch: 7, generation: 3, first: 90, pos: ID{1, 7, 50}, summed: true, addedEpoch: 1, fetched: ID{1, 6, 8}, since: 2},
		from:      ID{1, 2, 3},
		copies: []messageCopy{
			{id: ID{1, 2, 4}, same: true},
			{id: ID{1, 2, 5}, items: []itemCopy{{n: 0, rev: 2, share: sh.append(nil)}, {n: 3, doubt: true}}},
			{id: ID{1, 7, 1}, message: []byte("message"), body: []byte("body"),
				rows: []rowCopy{{tab: tabOutcome, n: 1, rev: 2, payload: []byte("outcome")}}},
		},
		marks: []dayMark{{tenant: 1, epoch: 2, day: 9, seq: 1}},
		sums:  true, spentFrom: tenantPrefix(nil, tabSpend, 1), spentTo: after(tenantPrefix(nil, tabSpend, 1)),
		spent:  []sumRow{{spendKey(nil, 1, 7, 4, tenant.Window{Kind: 1, Start: 2}), sum{3, -4}}},
		counts: &sum{1, 2},
	}
}

func TestStepTravels(t *testing.T) {
	x := sampleStep()
	got, err := decodeStep(1, x.encode())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.encode(), x.encode()) || !reflect.DeepEqual(got.syncState, x.syncState) || len(got.copies) != 3 {
		t.Errorf("%+v became %+v", x, got)
	}
	if _, err := decodeStep(2, x.encode()); !errors.Is(err, errCorrupt) {
		t.Errorf("another tenant's sums: %v", err)
	}
	x.copies[2].id.Seq = 60
	if _, err := decodeStep(1, x.encode()); !errors.Is(err, errCorrupt) {
		t.Errorf("message outside the range: %v", err)
	}
}

// FuzzPages: what another node sends is refused or read, and what was read means
// the same when it is written again.
func FuzzPages(f *testing.F) {
	f.Add(byte(0), sampleStep().encode())
	v := &inventory{next: ID{1, 9, 9}, list: sampleStep().copies[:2]}
	f.Add(byte(1), v.encode(true))
	f.Add(byte(2), v.encode(false))
	f.Add(byte(3), (&inventoryAsk{from: ID{1, 2, 3}, to: ID{1, 9, 9}, states: true}).encode())
	f.Add(byte(4), (&fetchAsk{what: fetchRows, tenant: 1, ids: []ID{{1, 2, 3}}}).encode())
	f.Add(byte(4), (&fetchAsk{what: fetchChunk, tenant: 1, offset: 7}).encode())
	f.Add(byte(5), (&about{epoch: 4, written: true, counts: sum{1, 2}}).encode())
	f.Add(byte(6), (&returnPart{what: returnCopies, tenant: 1, ends: []tenant.End{{Epoch: 1, Last: 2}}, copies: sampleStep().copies}).encode())
	f.Fuzz(func(t *testing.T, what byte, b []byte) {
		if p, err := unseal(b); err != nil { // let the fuzzer past the checksum
			b = seal(append(newRecord(nil), b...))
		} else {
			_ = p
		}
		q := &inventoryAsk{from: ID{1, 0, 1}, to: lastID(1), states: what == 1}
		var again func() []byte
		switch what % 7 {
		case 0:
			if x, err := decodeStep(1, b); err == nil {
				again = func() []byte { return x.encode() }
			}
		case 1, 2:
			q.states = what%7 == 1
			if x, err := decodeInventory(q, b); err == nil && q.states {
				again = func() []byte { return x.encode(true) }
			}
		case 3:
			if x, err := decodeInventoryAsk(b); err == nil {
				again = func() []byte { return x.encode() }
			}
		case 4:
			if x, err := decodeFetchAsk(b); err == nil {
				again = func() []byte { return x.encode() }
			}
		case 5:
			if x, err := decodeAbout(1, b); err == nil {
				again = func() []byte { return x.encode() }
			}
		case 6:
			if x, err := decodeReturn(b); err == nil {
				again = func() []byte { return x.encode() }
			}
		}
		if again == nil {
			return
		}
		first := again()
		if len(first) > 4*len(b)+256 {
			t.Fatalf("%d octets became %d", len(b), len(first))
		}
	})
}

// FuzzIntake: no copy that is taken in breaks the store: what is there can be
// read, counted and dropped again.
func FuzzIntake(f *testing.F) {
	s := testStore(f, vfs.NewMem(), nil)
	adopt(f, s, 1, 1)
	put(f, s, 1, []byte("body"), envelope("u@one.test", "v@two.test"))
	c := messageCopy{id: ID{1, 1, 1}}
	if _, err := s.readContent(&c); err != nil {
		f.Fatal(err)
	}
	sh := shareState{attempts: 1, due: 5, at: 4, rcpts: []int{0}}
	c.items = []itemCopy{{n: 0, rev: 1, share: sh.append(nil), doubt: true}}
	f.Add(c.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &reader{b: b}
		c := readCopy(r, ID{Tenant: 2})
		if r.done("copy") != nil || c.message == nil || c.id == lastID(2) || c.id.Seq+1 == 0 {
			return
		}
		end := ID{2, c.id.Epoch, c.id.Seq + 1}
		if err := s.commitRange(2, c.id, end, []messageCopy{c}); err != nil {
			return
		}
		checkCounted(t, s, 2)
		list, _, err := s.statesIn(c.id, end, 10, stepOctets)
		if err != nil || len(list) != 1 {
			t.Fatalf("read back: %+v %v", list, err)
		}
		if err := s.commitRange(2, c.id, end, nil); err != nil {
			t.Fatalf("drop: %v", err)
		}
		m := dump(t, s, 2)
		for k := range m {
			t.Errorf("left behind: %x", k)
		}
	})
}

// TestLooseFilesGo: a file that came ahead of nothing goes, one of a message
// stays.
func TestLooseFilesGo(t *testing.T) {
	s := testStore(t, vfs.NewMem(), nil)
	adopt(t, s, 1, 1)
	id := put(t, s, 1, bytes.Repeat([]byte("w"), 300<<10), envelope("u@one.test"))
	c, err := s.newChunk()
	if err == nil {
		err = c.write([]byte("nobody's"))
	}
	if err == nil {
		err = c.finish()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.sweepLoose(time.Hour); err != nil {
		t.Fatal(err)
	}
	if names, _ := s.fs.List(s.chunks); len(names) != 2 {
		t.Fatalf("too early: %v", names)
	}
	if err := s.sweepLoose(-time.Hour); err != nil {
		t.Fatal(err)
	}
	if names, _ := s.fs.List(s.chunks); len(names) != 1 {
		t.Fatalf("left: %v", names)
	}
	if len(readBody(t, s, id)) == 0 {
		t.Error("no body")
	}
	if _, err := s.fs.Stat(c.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the loose one: %v", err)
	}
}
