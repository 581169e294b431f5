package tenant

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// setup makes a small cluster first, so that random commands have an object.
func setup() []Command {
	var list []Command
	add := func(op Op) {
		list = append(list, Command{Request: RequestID{0, byte(len(list))}, At: time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC), Op: op})
	}
	add(AddNode{Name: "one"})
	add(AddNode{Name: "two"})
	version := uint32(NewestVersion)
	add(SetNode{Node: 1, Version: &version})
	add(SetNode{Node: 2, Version: &version})
	add(OpenJournal{})
	add(SetNotices{Notices{Operators: []string{"ops@a.test"}, From: "p@relay.test", Smarthost: "mx.test:25", Tenants: true, Webhook: "https://h.test/", SealedSecret: []byte("s")}})
	for i := range 4 {
		add(AddSource{Node: NodeID(1 + i/2), Addr: netip.AddrFrom4([4]byte{127, 77, 9, byte(i + 1)}), EHLO: "out.test", Shared: i%2 == 0})
	}
	for i := range 4 {
		add(AddTenant{Name: fmt.Sprintf("start%d", i), Hostname: fmt.Sprintf("start%d.test", i), Home: Place{Node: NodeID(1 + i%2)}})
		add(AddAccount{Tenant: ID(i + 1), Username: fmt.Sprintf("start%d@a.test", i), Plan: Plan{MailsPerMonth: 100, BytesPerMonth: 20000}})
	}
	add(SetLists{Rule: DefaultListingRule(), Zones: []Zone{{Name: "zen.test", Spaces: []Space{SpaceIPv4}, Every: time.Minute, Heavy: true,
		Codes: []ZoneCode{code("127.0.0.2", 100, PolicyMove)}}}})
	add(SetContain{Contain{Mode: AutomationOn, Rule: DefaultContainRule()}})
	return list
}

// runRandom applies the commands that b stands for, after those of setup, and
// proves after each: Check holds; no other version of the state changed, the one
// before as little as a sibling; the wire form says the same. In the end a replay
// from the snapshot at cut has the same digests and bytes.
func runRandom(t *testing.T, b []byte, most, cut int) {
	t.Helper()
	s, list, digests := New(), setup(), [][32]byte(nil)
	var kept *State
	var keptBytes []byte
	g := newGenerator(b)
	for i := 0; i < most; i++ {
		if i >= len(list) {
			cmd, more := g.next(s)
			if !more {
				break
			}
			list = append(list, cmd)
		}
		sibling, _, _ := Apply(s, uint64(i+1), Command{Request: RequestID{2, byte(i)}, At: list[i].At, Op: randomOp(&choices{b: g.c.b}, s, list[i].At)})
		next := step(t, s, uint64(i+1), list[i])
		for _, v := range []*State{s, sibling} {
			if v.sum != v.recount() {
				t.Fatalf("command %d %+v changed another version", i, list[i])
			}
		}
		s = next
		if i%50 == 49 && len(b) > 0 && b[0]%3 == 0 {
			checkReincarnated(t, s)
		}
		digests = append(digests, s.Digest())
		if i == cut {
			kept, keptBytes = s, s.Encode()
		}
	}
	if err := sound(s); err != nil {
		t.Fatal(err)
	}
	if kept == nil {
		return
	}
	if !bytes.Equal(kept.Encode(), keptBytes) {
		t.Fatal("a kept state changed later")
	}
	r, err := Decode(keptBytes)
	if err != nil {
		t.Fatal(err)
	}
	for i := cut + 1; i < len(digests); i++ {
		r, _, _ = Apply(r, uint64(i+1), list[i])
		if r.Digest() != digests[i] {
			t.Fatalf("replay from %d differs at %d", cut, i)
		}
	}
	if !bytes.Equal(r.Encode(), s.Encode()) {
		t.Fatal("the replay ends with other bytes")
	}
}

// checkReincarnated proves that a restored state is sound, and leaves s alone.
func checkReincarnated(t *testing.T, s *State) {
	t.Helper()
	was := s.Encode()
	r := Reincarnate(s, "one")
	if err := sound(r); err != nil {
		t.Fatalf("restored: %v", err)
	}
	if !bytes.Equal(s.Encode(), was) {
		t.Fatal("restoring changed the state it began from")
	}
	for tn := range r.Tenants() {
		if tn.Epoch <= s.Tenant(tn.ID).Epoch || tn.Paused == "" || tn.Owner != s.Tenant(tn.ID).Owner {
			t.Fatalf("restored tenant %+v", tn)
		}
	}
}

// step applies one command, over the wire form where it has one.
func step(t *testing.T, s *State, index uint64, cmd Command) *State {
	t.Helper()
	if b, err := EncodeCommand(cmd); err == nil {
		back, err := DecodeCommand(b)
		if err != nil {
			t.Fatalf("%+v: %v", cmd, err)
		}
		cmd = back
	}
	next, _, err := Apply(s, index, cmd)
	var refused *Refused
	if err != nil && !errors.As(err, &refused) {
		t.Fatalf("%+v: %v", cmd, err)
	}
	if err != nil && strings.Contains(refused.Reason, "invariant") {
		t.Fatalf("%+v: %v", cmd, err)
	}
	if err := next.Check(); err != nil {
		t.Fatalf("%+v: %v", cmd, err)
	}
	checkLookup(t, next)
	return next
}

// checkLookup compares the derived index with one made from the tables.
func checkLookup(t *testing.T, s *State) {
	t.Helper()
	for a := range s.Accounts() {
		if s.AccountByUsername(a.Username) != a {
			t.Fatalf("account %d is not found by its name", a.ID)
		}
	}
	for src := range s.Sources() {
		if s.SourceByAddr(src.Addr) != src {
			t.Fatalf("source %d is not found by its address", src.ID)
		}
	}
	for tn := range s.Tenants() {
		if s.TenantByName(tn.Name) != tn {
			t.Fatalf("tenant %d is not found by its name", tn.ID)
		}
	}
	if want := buildIndex(s); !reflect.DeepEqual(s.lookup, want) {
		t.Fatalf("the index is %v, want %v", s.lookup, want)
	}
}

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestRandomCommands(t *testing.T) {
	runs := 60
	if os.Getenv("POSTERN_SOAK") != "" {
		runs = 5000
	}
	for seed := range runs {
		b := randomBytes(uint64(seed), 6000)
		runRandom(t, b, 300, int(b[0]))
	}
}

func FuzzCommands(f *testing.F) {
	f.Add([]byte("seed"), uint8(3))
	for seed := range uint64(8) {
		f.Add(randomBytes(seed, 400), uint8(seed*10))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		runRandom(t, b, 100, int(cut)%100)
	})
}

// FuzzDecodeCommand feeds the parser behind the checksum, where a bit flip
// would otherwise end every try.
func FuzzDecodeCommand(f *testing.F) {
	g, s := newGenerator(randomBytes(3, 8000)), New()
	for range 200 {
		cmd, _ := g.next(s)
		if e, err := EncodeCommand(cmd); err == nil {
			f.Add(e[5 : len(e)-4])
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = DecodeCommand(body)
		_, _ = decodeCommand(body, true)
		cmd, err := decodeCommand(body, false)
		if err != nil {
			return
		}
		e, err := EncodeCommand(cmd)
		if err != nil {
			t.Fatalf("decoded what cannot be encoded: %+v: %v", cmd, err)
		}
		if !bytes.Equal(e[5:len(e)-4], body) {
			t.Fatalf("two forms of %+v", cmd)
		}
		if _, _, err := Apply(New(), 1, cmd); err != nil {
			var refused *Refused
			if !errors.As(err, &refused) {
				t.Fatal(err)
			}
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	s := New()
	for i, cmd := range setup() {
		s, _, _ = Apply(s, uint64(i+1), cmd)
	}
	s, _, _ = Apply(s, s.Index()+1, Command{Op: Own{Tenant: 1, Node: 1, Expect: 1, Mirror: 2, Ends: []End{{Epoch: 1, Node: 1, Last: 3}}}})
	for _, b := range [][]byte{New().Encode(), s.Encode(), Reincarnate(s, "one").Encode()} {
		f.Add(b[5 : len(b)-4])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = Decode(body)
		_, _ = decodeState(body, 1)
		s, err := decodeState(body, 2)
		if err != nil {
			return
		}
		if err := sound(s); err != nil {
			t.Fatal(err)
		}
		for i, cmd := range setup() {
			s, _, _ = Apply(s, s.Index()+uint64(i+1), cmd)
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
	})
}
