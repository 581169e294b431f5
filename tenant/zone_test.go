package tenant

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func code(text string, weight uint16, p Policy) ZoneCode {
	a := netip.MustParseAddr(text)
	return ZoneCode{First: a, Last: a, Means: "code " + text, Weight: weight, Policy: p}
}

func span(first, last string, p Policy) ZoneCode {
	return ZoneCode{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last), Means: "span", Policy: p}
}

// Every answer that looks like a listing to a program that takes any A record
// for one, and the true ones beside it.
func TestRead(t *testing.T) {
	zen := &Zone{Name: "zen", Codes: []ZoneCode{code("127.0.0.2", 100, PolicyMove), code("127.0.0.3", 100, PolicyMove),
		code("127.0.0.9", 100, PolicyMove), code("127.0.0.10", 0, PolicyHold)}}
	bits := &Zone{Name: "surbl", Bits: true, Codes: []ZoneCode{code("127.0.0.1", 0, PolicyRefuse), code("127.0.0.8", 20, PolicyMove),
		code("127.0.0.64", 20, PolicyMove)}}
	welcome := &Zone{Name: "dnswl", Codes: []ZoneCode{span("127.0.2.0", "127.0.2.3", PolicyClean), code("127.0.0.255", 0, PolicyRefuse),
		span("127.0.10.0", "127.0.10.255", PolicyRefuse)}}
	karma := &Zone{Name: "hostkarma", Codes: []ZoneCode{code("127.0.0.1", 0, PolicyClean), code("127.0.0.2", 10, PolicyMove), code("127.0.0.3", 0, PolicyLog)}}
	score := &Zone{Name: "senderscore", Codes: []ZoneCode{code("127.0.0.1", 10, PolicyMove)}}
	dbl := &Zone{Name: "dbl", Codes: []ZoneCode{code("127.0.1.2", 50, PolicyMove), code("127.0.1.255", 0, PolicyRefuse)}}

	for _, c := range []struct {
		zone   *Zone
		values string
		want   string
	}{
		{zen, "", "clean"},
		{zen, "127.0.0.2", "listed [127.0.0.2] 100"},
		{zen, "127.0.0.2 127.0.0.9", "listed [127.0.0.2 127.0.0.9] 100"},
		{zen, "127.0.0.10", "listed [127.0.0.10] 0 hold"},
		{zen, "127.0.0.3 127.0.0.10", "listed [127.0.0.3 127.0.0.10] 100 hold"},
		// One unknown code beside a known one takes nothing from it.
		{zen, "127.0.0.77 127.0.0.3", "listed [127.0.0.3] 100"},
		{zen, "127.0.0.77", "unknown unknown code"},
		{zen, "127.0.0.1", "unknown unknown code"},
		{zen, "127.0.0.0", "unknown unknown code"},

		{zen, "127.255.255.252", "refused typo"},
		{zen, "127.255.255.254", "refused open resolver"},
		{zen, "127.255.255.255", "refused over limit"},
		{zen, "127.255.255.250", "refused key disabled"},
		{zen, "127.255.255.251", "refused key rejected"},
		{zen, "127.255.255.0", "refused error code"},
		{zen, "127.255.255.2", "refused error code"},
		{zen, "127.255.254.255", "unknown unknown code"},
		// One error voids the whole answer, in any order.
		{zen, "127.0.0.2 127.255.255.254", "refused open resolver"},
		{zen, "127.255.255.255 127.0.0.2", "refused over limit"},

		{zen, "203.0.113.7", "unknown outside 127/8"},
		{zen, "0.0.0.0", "unknown outside 127/8"},
		{zen, "126.255.255.255", "unknown outside 127/8"},
		{zen, "128.0.0.2", "unknown outside 127/8"},
		{zen, "127.0.0.2 203.0.113.7", "unknown outside 127/8"},
		{zen, "203.0.113.7 127.255.255.254", "unknown outside 127/8"},
		{zen, "::1", "unknown outside 127/8"},

		{bits, "127.0.0.1", "refused blocked"},
		{bits, "127.0.0.9", "refused blocked"}, // with the bit of "blocked" set
		{bits, "127.0.0.8", "listed [127.0.0.8] 20"},
		{bits, "127.0.0.72", "listed [127.0.0.8 127.0.0.64] 20"},
		{bits, "127.0.0.2", "unknown unknown code"},
		{bits, "127.0.1.8", "unknown unknown code"},

		{welcome, "127.0.2.3", "clean"},
		{welcome, "127.0.0.255", "refused blocked"},
		{welcome, "127.0.10.1", "refused blocked"},
		{welcome, "127.0.2.3 127.0.10.1", "refused blocked"},
		{karma, "127.0.0.1", "clean"},
		{karma, "127.0.0.3", "listed [127.0.0.3] 0"},
		{karma, "127.0.0.1 127.0.0.2", "listed [127.0.0.2] 10"},
		{score, "127.255.255.255", "refused over limit"},
		{score, "127.0.0.1", "listed [127.0.0.1] 10"},
		{dbl, "127.0.1.255", "refused blocked"},
		{dbl, "127.0.1.2", "listed [127.0.1.2] 50"},
	} {
		var values []netip.Addr
		for v := range strings.FieldsSeq(c.values) {
			values = append(values, netip.MustParseAddr(v))
		}
		a := c.zone.Read(values)
		if got := answerText(a); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.zone.Name, c.values, got, c.want)
		}
		if a.Says() != (strings.HasPrefix(c.want, "clean") || strings.HasPrefix(c.want, "listed")) {
			t.Errorf("%s %q: says %v", c.zone.Name, c.values, a.Says())
		}
		if a.Why != "" && a.Why.Text() == string(a.Why) && a.Why != WhyTimeout {
			t.Errorf("%q has no sentence", a.Why)
		}
	}
}

func answerText(a Answer) string {
	text := a.Kind.String()
	if a.Why != "" {
		text += " " + string(a.Why)
	}
	if a.Kind == AnswerListed {
		var codes []netip.Addr
		for _, h := range a.Hits {
			codes = append(codes, h.Code)
		}
		text += fmt.Sprintf(" %v %d", codes, a.Weight())
	}
	if a.Holds() {
		text += " hold"
	}
	return text
}

// The zero value of an answer is not known: never clean.
func TestNothingIsUnknown(t *testing.T) {
	if a := (Answer{}); a.Kind != AnswerUnknown || a.Says() || a.Weight() != 0 {
		t.Errorf("%+v", a)
	}
}

func TestParsePolicy(t *testing.T) {
	for _, p := range []Policy{PolicyMove, PolicyHold, PolicyLog, PolicyClean, PolicyRefuse} {
		if q, err := ParsePolicy(p.String()); err != nil || q != p {
			t.Errorf("%v: %v %v", p, q, err)
		}
	}
	if _, err := ParsePolicy("block"); err == nil {
		t.Error("block is a policy")
	}
}
