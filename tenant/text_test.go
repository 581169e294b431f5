package tenant

import (
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestPlaceText(t *testing.T) {
	for _, p := range []Place{{}, {Node: 1}, {Node: 7, Source: 12}, {Node: math.MaxUint64, Source: math.MaxUint64}} {
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back Place
		if err := json.Unmarshal(b, &back); err != nil || back != p {
			t.Errorf("%s came back as %v: %v", b, back, err)
		}
	}
	for _, s := range []string{"", "1", "0/pool", "1/0", "1/", "/1", "x/pool", "1/2/3", "-1/pool"} {
		if p, err := ParsePlace(s); err == nil {
			t.Errorf("%q is place %v", s, p)
		}
	}
}

func TestClassText(t *testing.T) {
	for _, c := range Classes() {
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var back Class
		if err := json.Unmarshal(b, &back); err != nil || back != c {
			t.Errorf("%s came back as %v: %v", b, back, err)
		}
	}
	if _, err := ParseClass("urgent"); err == nil {
		t.Error("urgent is a class")
	}
}

func TestValidNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for s, want := range map[string]bool{
		"a": true, "a.b": true, "1.example": true, "xn--bcher-kva.example": true, long + ".x": true,
		long + "." + long + "." + long + "." + long[:61]:       true,
		long + "." + long + "." + long + "." + long[:61] + "a": false,
		"": false, ".": false, "a.": false, ".a": false, "a..b": false, "-a.b": false, "a-.b": false, "A.b": false,
		"a_b.c": false, "127.0.0.1": false, "a.1": false, long + "a.x": false, "b\u00fccher.example": false, "a b": false, "a\x00": false,
	} {
		if got := ValidHost(s); got != want {
			t.Errorf("ValidHost(%q) is %t", s, got)
		}
	}
	for s, want := range map[string]bool{
		"a@b": true, "a.b+c@d.example": true, strings.Repeat("x", 64) + "@d.example": true,
		strings.Repeat("x", 65) + "@d.example": false, "@d": false, "a@": false, "a@b@c": false, "A@b": false, ".a@b": false, "a.@b": false,
		"a..b@c": false, "a b@c": false, "\"a\"@b": false, "a@[127.0.0.1]": false, "a": false, "<a@b>": false,
		"a@" + strings.Repeat("b.", 125) + "bb": true, "aaaaa@" + strings.Repeat("b.", 125) + "bb": false,
	} {
		if got := ValidAddress(s); got != want {
			t.Errorf("ValidAddress(%q) is %t", s, got)
		}
	}
	for s, want := range map[string]string{"": "", "abc": "abc", "aBC@X": "abc@x", "\u212a\u00c4": "\u212a\u00c4", "Z\u212aZ": "z\u212az"} {
		if got := lower(s); got != want {
			t.Errorf("lower(%q) is %q", s, got)
		}
	}
}

func TestPublicMailbox(t *testing.T) {
	for s, want := range map[string]bool{
		"gmail.com": true, "web.de": true, "libero.it": true, "gmx.de": true, "gmx.co.uk": true, "yahoo.com.br": true, "hotmail.fr": true, "icloud.com": true,
		"gmx": false, "acme.example": false, "mail.gmx.de": false, "gmx.shop": false, "yahoo.example": false, "mygmail.com": false,
	} {
		if got := PublicMailbox(s); got != want {
			t.Errorf("PublicMailbox(%q) is %t", s, got)
		}
	}
}

func TestWindows(t *testing.T) {
	at := time.Date(2028, 2, 29, 23, 59, 59, 999, time.FixedZone("", -3600)) // March in UTC
	for k, want := range map[WindowKind]string{
		Month: "month 2028-03", Minute: "minute 2028-03-01T00:59:00Z", Hour: "hour 2028-03-01T00:00:00Z",
		HalfDay: "half day 2028-03-01T00:00:00Z", Day: "day 2028-03-01T00:00:00Z",
	} {
		w := WindowAt(k, at)
		if w.String() != want || !w.Valid() {
			t.Errorf("window of kind %d is %s", k, w)
		}
		if !w.End().After(at) || WindowAt(k, w.End().Add(-time.Nanosecond)) != w || WindowAt(k, w.End()) != w.Next() {
			t.Errorf("%s ends %s, next %s", w, w.End(), w.Next())
		}
		w.Start++
		if w.Valid() {
			t.Errorf("%s is valid", w)
		}
	}
	for _, w := range []Window{{}, {Kind: 9}, {Kind: Month, Start: -1}, {Kind: Day, Start: math.MaxInt64}, {Kind: Day, Start: -86400}} {
		if w.Valid() {
			t.Errorf("%+v is valid", w)
		}
	}
}

func TestAmounts(t *testing.T) {
	most := Amount{Mails: math.MaxUint64, Bytes: math.MaxUint64}
	if most.Plus(Amount{Mails: 1, Bytes: 1}) != most || (Amount{}).Minus(most) != (Amount{}) {
		t.Error("amounts overflow")
	}
	if !most.Covers(most) || (Amount{Mails: 1}).Covers(Amount{Bytes: 1}) {
		t.Error("Covers is wrong")
	}
	p := BandwidthPlan(500_000_000)
	if p.MailsPerMonth != 50_000 || p.Recipients() != 50 || (Plan{MaxRecipients: 7}).Recipients() != 7 {
		t.Errorf("the plan of 500 MB is %+v", p)
	}
}

// Spans are bounded; what is forgotten makes mail live longer, not shorter.
func TestSpansAreBounded(t *testing.T) {
	start := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	var spans []Span
	at := start
	for range maxSpans + 10 {
		spans = mark(spans, true, at)
		at = at.Add(time.Minute)
		spans = mark(spans, false, at)
		at = at.Add(time.Minute)
	}
	if len(spans) != maxSpans || !spans[0].From.Equal(start) || spans[0].Until.Sub(start) != 21*time.Minute {
		t.Fatalf("%d spans, the first %v", len(spans), spans[0])
	}
	last := spans[len(spans)-1].Until
	if spans = mark(spans, true, last); len(spans) != maxSpans || !spans[maxSpans-1].Until.IsZero() {
		t.Error("a span that goes on at once is a new one")
	}
	spans = mark(spans, false, last.Add(time.Second))
	spans = mark(spans, true, last.Add(time.Hour))
	before := len(spans)
	if spans = mark(spans, false, last.Add(time.Hour)); len(spans) != before-1 {
		t.Error("an empty span stays")
	}
}

// Hostile lengths must not make the decoder allocate.
func TestDecodeBoundsAllocation(t *testing.T) {
	for name, body := range map[string][]byte{
		"a table":  append(make([]byte, 7), 0xff, 0xff, 0xff, 0xff, 0x0f),
		"requests": append(make([]byte, 15), 0xff, 0xff, 0xff, 0xff, 0x0f),
		"a string": append(append(make([]byte, 7), 1, 1), 0xff, 0xff, 0x0f),
	} {
		if _, err := decodeState(body, 2); err == nil {
			t.Errorf("%s: it is taken", name)
		}
		n := testing.AllocsPerRun(10, func() { _, _ = decodeState(body, 2) })
		if n > 100 {
			t.Errorf("%s: %f allocations", name, n)
		}
	}
	good := New().Encode()
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1
		if _, err := Decode(bad); err == nil {
			t.Errorf("octet %d flipped: it is taken", i)
		}
		if _, err := Decode(good[:i]); err == nil {
			t.Errorf("cut at %d: it is taken", i)
		}
	}
	// A longer form of the same number is another form.
	if _, err := decodeState(append([]byte{0x80}, good[5:len(good)-4]...), 2); err == nil {
		t.Error("a number with a leading zero group is taken")
	}
}

// What would not be taken back is not sent.
func TestEncodeCommandBounds(t *testing.T) {
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	long := strings.Repeat("x", 1000)
	for name, cmd := range map[string]Command{
		"no operation":      {At: at},
		"a long name":       {At: at, Op: AddNode{Name: long}},
		"a long reason":     {At: at, Op: Pause{Tenant: 1, Reason: long}},
		"a long key":        {At: at, Op: SetDomain{SealedKey: make([]byte, maxKey+1)}},
		"too many wants":    {At: at, Op: TakeGrant{Wants: make([]Want, MaxWants+1)}},
		"too many spent":    {At: at, Op: Own{Spent: make([]Spent, maxSpent+1)}},
		"a negative size":   {At: at, Op: AddAccount{Plan: Plan{MaxSize: -1}}},
		"a negative window": {At: at, Op: TakeGrant{Wants: []Want{{Window: Window{Kind: Month, Start: -1}}}}},
		"no network":        {At: at, Op: AddAccount{Networks: []netip.Prefix{{}}}},
		"an address's zone": {At: at, Op: AddSource{Addr: netip.MustParseAddr("fe80::1%eth0")}},
		"before 1970":       {At: time.Unix(-1, 0), Op: Pause{}},
		"after 2199":        {At: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), Op: Pause{}},
	} {
		if _, err := EncodeCommand(cmd); err == nil {
			t.Errorf("%s: it is encoded", name)
		}
		// Apply meets such a command only by a defect; it must not fall over it.
		if s, _, err := Apply(rich(t), 1000, cmd); s == nil || s.Check() != nil {
			t.Errorf("%s: Apply gives %v, %v", name, s, err)
		}
	}
	if _, err := EncodeCommand(Command{Op: TakeGrant{Node: 1, Wants: make([]Want, MaxWants)}}); err != nil {
		t.Errorf("the largest TakeGrant: %v", err)
	}
	// The zero time and odd zones come back as the same moment.
	for _, at := range []time.Time{{}, time.Date(2026, 11, 22, 0, 0, 0, 5, time.FixedZone("", 3600))} {
		b, err := EncodeCommand(Command{At: at, Op: Pause{Tenant: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeCommand(b); err != nil || !back.At.Equal(at) {
			t.Errorf("%s came back as %s: %v", at, back.At, err)
		}
	}
}
