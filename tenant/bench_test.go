package tenant

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// full is two nodes with 40 tenants of 5 accounts, two years of history, and a
// full memory of requests.
func full(tb testing.TB) (*State, time.Time) {
	tb.Helper()
	s := New()
	at := time.Date(2024, 12, 1, 0, 0, 0, 0, time.UTC)
	do := func(op Op) {
		next, _, err := Apply(s, s.Index()+1, Command{Request: requestID(int(s.Index())), At: at, Op: op})
		if err != nil {
			tb.Fatal(err)
		}
		s = next
	}
	for n := range 2 {
		do(AddNode{Name: fmt.Sprintf("n%d", n)})
		do(AddSource{Node: NodeID(n + 1), Addr: netip.AddrFrom4([4]byte{127, 77, byte(n), 1}), EHLO: "out.test", Shared: true})
	}
	for i := range 40 {
		name := fmt.Sprintf("t%d", i)
		do(AddTenant{Name: name, Hostname: name + ".test", Home: Place{Node: NodeID(i%2 + 1)}})
		do(SetDomain{Tenant: ID(i + 1), Name: name + ".example"})
		for j := range 5 {
			do(AddAccount{Tenant: ID(i + 1), Username: fmt.Sprintf("u%d@%s.example", j, name), Plan: BandwidthPlan(500_000_000)})
		}
	}
	for range 24 {
		for n := range 2 {
			do(benchGrant(s, NodeID(n+1), at, 100, Amount{Mails: 100, Bytes: 100000}))
		}
		at = at.AddDate(0, 1, 0)
	}
	for range maxRequests {
		do(Pause{Tenant: 1})
	}
	if err := s.Check(); err != nil {
		tb.Fatal(err)
	}
	return s, at
}

// benchGrant renews the first wants accounts of a node.
func benchGrant(s *State, n NodeID, at time.Time, wants int, spent Amount) TakeGrant {
	op := TakeGrant{Node: n}
	w := WindowAt(Month, at)
	for a := range s.Accounts() {
		if t := s.Tenant(a.Tenant); t.Owner == n && len(op.Wants) < wants {
			op.Wants = append(op.Wants, Want{Account: a.ID, Window: w, Epoch: t.Epoch, Spent: spent, Need: Amount{Mails: 50, Bytes: 500000}})
		}
	}
	return op
}

// TestFull proves the large state sound, and says how large it is.
func TestFull(t *testing.T) {
	s, _ := full(t)
	if err := sound(s); err != nil {
		t.Fatal(err)
	}
	n := len(s.Encode())
	if n > 8<<20 {
		t.Errorf("the snapshot has %d octets", n)
	}
	t.Logf("snapshot: %d octets, requests %d with %d", n, s.requests.n, s.requests.bytes)
}

// BenchmarkApply is the cost of one log entry: one renewal of 40 accounts, one
// change of owner, one change of an account; and of what goes with it.
func BenchmarkApply(b *testing.B) {
	s, at := full(b)
	w := WindowAt(Month, at)
	run := func(name string, op func(s *State, i int) Op) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			s := s
			for i := 0; b.Loop(); i++ {
				next, _, err := Apply(s, s.Index()+1, Command{Request: requestID(int(s.Index())), At: at, Op: op(s, i)})
				if err != nil {
					b.Fatal(err)
				}
				s = next
			}
		})
	}
	run("TakeGrant40", func(s *State, i int) Op {
		return benchGrant(s, 1, at, 40, Amount{Mails: uint64(i), Bytes: uint64(i) * 10})
	})
	run("TakeGrant1", func(s *State, i int) Op {
		return benchGrant(s, 1, at, 1, Amount{Mails: uint64(i), Bytes: uint64(i) * 10})
	})
	run("Own", func(s *State, i int) Op {
		t := s.Tenant(1)
		return Own{Tenant: 1, Node: t.Owner, Expect: t.Epoch, Spent: []Spent{{Account: 1, Window: w, Epoch: t.Epoch, Amount: Amount{Mails: 1}}}}
	})
	run("SetAccount", func(_ *State, i int) Op {
		p := Plan{MailsPerMonth: uint64(i)}
		return SetAccount{Account: 1, Plan: &p}
	})
	run("Pause", func(*State, int) Op { return Pause{Tenant: 1} })
}

func BenchmarkReads(b *testing.B) {
	s, at := full(b)
	w := WindowAt(Month, at)
	b.Run("AccountByUsername", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if s.AccountByUsername("u3@t17.example") == nil {
				b.Fatal("not found")
			}
		}
	})
	b.Run("MaySendAs", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !s.MaySendAs(18, "t17.example") {
				b.Fatal("refused")
			}
		}
	})
	b.Run("Grant", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Grant(77, w)
		}
	})
	b.Run("Stopped", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Stopped(77)
		}
	})
}

func BenchmarkSnapshot(b *testing.B) {
	s, _ := full(b)
	enc := s.Encode()
	b.Run("Encode", func(b *testing.B) {
		for b.Loop() {
			s.Encode()
		}
	})
	b.Run("Decode", func(b *testing.B) {
		for b.Loop() {
			if _, err := Decode(enc); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCommandCodec(b *testing.B) {
	s, at := full(b)
	cmd := Command{Request: RequestID{1}, At: at, Op: benchGrant(s, 1, at, 40, Amount{Mails: 7, Bytes: 70000})}
	enc, err := EncodeCommand(cmd)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Encode", func(b *testing.B) {
		for b.Loop() {
			if _, err := EncodeCommand(cmd); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Decode", func(b *testing.B) {
		for b.Loop() {
			if _, err := DecodeCommand(enc); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkObserve is one node's word in a cluster of seven that watches 100
// sources through 12 zones: every source is judged anew.
func BenchmarkObserve(b *testing.B) {
	w, version := newTown(), uint32(NewestVersion)
	for n := range 7 {
		w.must(b, AddNode{Name: fmt.Sprintf("n%d", n+1)}, SetNode{Node: NodeID(n + 1), Version: &version})
	}
	lists := SetLists{Rule: DefaultListingRule()}
	for z := range 12 {
		lists.Zones = append(lists.Zones, Zone{Name: fmt.Sprintf("z%d.test", z), Spaces: []Space{SpaceIPv4}, Every: 10 * time.Minute, Heavy: z < 3,
			Codes: []ZoneCode{code("127.0.0.2", 100, PolicyMove)}})
	}
	w.must(b, lists)
	for i := range 100 {
		w.must(b, AddSource{Node: 1, Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), EHLO: "a.test", Shared: true})
	}
	for n := range 7 {
		for from := 1; from <= 100; from += 20 {
			op := Observe{Node: NodeID(n + 1)}
			for i := from; i < from+20; i++ {
				for _, z := range lists.Zones {
					op.Seen = append(op.Seen, Seen{Source: SourceID(i), Zone: z.Name, At: w.at})
				}
			}
			w.must(b, op)
		}
	}
	b.ReportMetric(float64(len(w.s.Encode())), "snapshot-octets")
	s := w.s
	for b.Loop() {
		w.at = w.at.Add(time.Minute)
		var err error
		if s, _, err = Apply(s, s.Index()+1, Command{At: w.at, Op: Observe{Node: 1, Upto: []Upto{{Zone: "z1.test", At: w.at}}}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkListing is the entry that lists a source: the verdict, the scores of
// 100 accounts with four weeks of history, and the fates of their 20 tenants.
func BenchmarkListing(b *testing.B) {
	x := &transcript{s: New(), at: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), t: new(testing.T)}
	x.newScene(3)
	for i := range 20 {
		op := AddTenant{Name: fmt.Sprintf("t%d", i), Hostname: fmt.Sprintf("t%d.test", i), Home: Place{Node: 1}, Backup: Place{Node: NodeID(2 + i%2)}}
		x.quiet(op)
		x.adopt(ID(i+1), op.Backup.Node)
		for k := range 5 {
			x.quiet(AddAccount{Tenant: ID(i + 1), Username: fmt.Sprintf("u%d@%s", k, op.Hostname)})
		}
	}
	for slot := range 28 * 4 {
		op, at := Used{Node: 1}, x.at.Add(time.Duration(slot-28*4)*6*time.Hour)
		for a := range x.s.Accounts() {
			op.Uses = append(op.Uses, Use{Account: a.ID, Source: 1, At: at, Counts: Counts{Tried: 1000, Unknown: 10}})
		}
		x.quiet(op)
	}
	seen := func(n NodeID) Observe {
		return Observe{Node: n, Seen: []Seen{{Source: 1, Zone: "zen.test", At: x.at, Values: []netip.Addr{netip.MustParseAddr("127.0.0.2")}}}}
	}
	x.quiet(seen(1))
	x.quiet(seen(2))
	x.at = x.at.Add(2 * time.Minute)
	x.quiet(seen(1))
	for b.Loop() {
		s, _, err := Apply(x.s, x.index+1, Command{At: x.at, Op: seen(2)})
		if err != nil {
			b.Fatal(err)
		}
		if c := s.OpenCase(1); c == nil || len(c.Fates) != 20 {
			b.Fatal("nothing follows")
		}
	}
}
