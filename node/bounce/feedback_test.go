package bounce

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const feedbackDir = "testdata/feedback"

var roles = map[string]Role{"bounce": RoleBounce, "abuse": RoleAbuse, "feedback": RoleFeedback, "trap": RoleTrap}

type expected struct {
	name, kind, detail, rcpts, clue string
	role                            Role
}

func corpus(t testing.TB) []expected {
	t.Helper()
	f, err := os.Open(filepath.Join(feedbackDir, "expected.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []expected
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		p := strings.Split(s.Text(), "\t")
		if len(p) != 6 || roles[p[1]] == 0 {
			t.Fatalf("bad line %q", s.Text())
		}
		list = append(list, expected{name: p[0], role: roles[p[1]], kind: p[2], detail: p[3], rcpts: p[4], clue: p[5]})
	}
	return list
}

func load(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(feedbackDir, name+".eml"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// told writes a report's recipients as the corpus does.
func told(f Feedback) string {
	var list []string
	for _, r := range f.Rcpts {
		action, class := string(r.Action), r.Verdict.Class
		if action == "" {
			action = "-"
		}
		if class == "" {
			class = "-"
		}
		list = append(list, fmt.Sprintf("%s %s %s", r.Addr, action, class))
	}
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ",")
}

func (c Clues) has(clue string) bool {
	switch clue {
	case "-":
		return true
	case "ref":
		return slices.Contains(c.Refs, "v1.AQIDBAUGBwgJCgsMDQ4PEBESE.c2lnbmF0dXJl")
	case "verp":
		return slices.Contains(c.Returns, "b-aebagbafaydqqcikbmga2dqpca@bounces.shoes.example")
	case "envid":
		return slices.Contains(c.EnvIDs, "7-1-42")
	case "msgid":
		return slices.Contains(c.MessageIDs, "<oct-1@shoes.example>")
	case "received":
		return slices.Contains(c.Received, "0190f3a1b2c3d4e5f60718293a4b5c6d")
	case "source":
		return slices.Contains(c.Sources, netip.MustParseAddr("192.0.2.1"))
	}
	return false
}

// The corpus has the shapes in which large and small systems send reports. All
// of it is to be read; the log says how much is.
func TestFeedbackCorpus(t *testing.T) {
	read, clued := map[string][2]int{}, 0
	list := corpus(t)
	for _, x := range list {
		f := ReadFeedback(load(t, x.name), x.role)
		n := read[x.kind]
		n[1]++
		detail := f.Type
		if f.Zone != "" {
			detail = "zone=" + f.Zone
		}
		if detail == "" {
			detail = "-"
		}
		ok := string(f.Kind) == x.kind && told(f) == x.rcpts && detail == x.detail
		if ok {
			n[0]++
		} else {
			t.Errorf("%s: read %s %s [%s]\nwant %s %s [%s]", x.name, f.Kind, detail, told(f), x.kind, x.detail, x.rcpts)
		}
		read[x.kind] = n
		if f.Clues.has(x.clue) {
			clued++
		} else {
			t.Errorf("%s: no clue %q in %+v", x.name, x.clue, f.Clues)
		}
	}
	for _, k := range []Kind{KindBounce, KindComplaint, KindList, KindNotice, KindReply, KindUnread} {
		n := read[string(k)]
		t.Logf("%-9s %d of %d read correctly", k, n[0], n[1])
	}
	t.Logf("clues found in %d of %d", clued, len(list))
}

// Every prefix of a report is a report that was cut short.
func TestFeedbackCutShort(t *testing.T) {
	for _, x := range corpus(t) {
		b := load(t, x.name)
		for _, share := range []int{1, 2, 3, 5, 8, 9} {
			f := ReadFeedback(b[:len(b)*share/10], x.role)
			if f.Kind == "" {
				t.Errorf("%s cut: no kind", x.name)
			}
		}
	}
}

func TestFeedbackIsBounded(t *testing.T) {
	var many bytes.Buffer
	many.WriteString("From: MAILER-DAEMON@x.example\r\nSubject: failure notice\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; boundary=b\r\n\r\n")
	for range 5000 {
		many.WriteString("--b\r\nContent-Type: message/delivery-status\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n")
	}
	if f := ReadFeedback(many.Bytes(), RoleBounce); len(f.Rcpts) == 0 || len(f.Rcpts) > maxParts {
		t.Errorf("%d recipients of 5000 parts", len(f.Rcpts))
	}
	one := "From: x@y.example\r\nContent-Type: message/delivery-status\r\n\r\n" +
		strings.Repeat("Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n", 1000)
	if f := ReadFeedback([]byte(one), RoleBounce); len(f.Rcpts) == 0 || len(f.Rcpts) > maxFailed {
		t.Errorf("%d recipients of 1000", len(f.Rcpts))
	}
	deep := "From: x@y.example\r\nSubject: hi\r\n"
	for i := range 40 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	deep += "Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n"
	if f := ReadFeedback([]byte(deep), RoleFeedback); f.Kind != KindUnread {
		t.Errorf("forty parts deep: %+v", f)
	}
	wide := "From: x@y.example\r\nSubject: spam from " + strings.Repeat("x", 5000) + "\r\n\r\n"
	for i := range 200 {
		wide += fmt.Sprintf("> X-Relay-Ref: v1.%d.x\r\n> Message-ID: <%d@y.example>\r\n192.0.2.%d\r\n", i, i, i)
	}
	f := ReadFeedback([]byte(wide), RoleAbuse)
	if len(f.Clues.Refs) != maxClues || len(f.Clues.MessageIDs) != maxClues || len(f.Clues.Sources) != maxClues || len(f.Subject) != maxSubject {
		t.Errorf("%d refs, %d ids, %d sources", len(f.Clues.Refs), len(f.Clues.MessageIDs), len(f.Clues.Sources))
	}
}

// No report is so made that reading it takes long: a megabyte of the worst is a
// few milliseconds.
func TestFeedbackTakesNoTime(t *testing.T) {
	top := "From: MAILER-DAEMON@x.example\r\nSubject: failure notice\r\nContent-Type: multipart/report; boundary=b\r\n\r\n"
	for name, in := range map[string]string{
		"folds top":   "From: a@b.example\r\nX: a\r\n" + strings.Repeat(" a\r\n", 250000) + "\r\nx",
		"folds part":  top + "--b\r\nX: a\r\n" + strings.Repeat(" a\r\n", 250000) + "\r\nx\r\n--b--\r\n",
		"parts":       top + strings.Repeat("--b\r\n\r\n", 140000),
		"empty lines": top + "--b\r\nContent-Type: message/delivery-status\r\n\r\n" + strings.Repeat("\r\n", 500000),
		"addresses":   "From: mailer-daemon@x\r\n\r\n" + strings.Repeat("a@b.cc\r\n", 130000),
		"digits":      "From: mailer-daemon@x\r\n\r\n<a@b.cc>:\n" + strings.Repeat("5.1.", 260000),
		"angles":      "From: mailer-daemon@x\r\n\r\n" + strings.Repeat("<", 100_000),
		"one line":    "From: mailer-daemon@x\r\n\r\n" + strings.Repeat("1.", 500000),
		"many heads":  top + strings.Repeat("--b\r\n"+strings.Repeat("A: b\r\n", 3000)+"\r\n", 58),
		"params":      "Content-Type: text/plain" + strings.Repeat("; a=b", 12000) + "\r\n\r\nx",
		"dashes":      top + strings.Repeat("--", 500000),
		"b1":          "Content-Type: multipart/mixed; boundary=\"" + strings.Repeat("a", 60000) + "\"\r\n\r\n" + strings.Repeat("\r\n--"+strings.Repeat("a", 1000), 900),
		"nest":        strings.Repeat("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", 20000),
	} {
		at := time.Now()
		ReadFeedback([]byte(in), RoleBounce)
		if took := time.Since(at); took > 5*time.Second {
			t.Errorf("%s: %d octets took %v", name, len(in), took)
		}
	}
}

// Of mail in a spam trap its own header counts, and nothing it carries.
func TestTrap(t *testing.T) {
	f := ReadFeedback([]byte("X-Relay-Ref: v1.a.b\r\nFrom: news@shoes.test\r\nSubject: hi\r\n\r\n> X-Relay-Ref: v1.c.d\r\n\r\nabuse from 192.0.2.1\r\n"), RoleTrap)
	if f.Kind != KindTrap || len(f.Clues.Refs) != 1 || f.Clues.Refs[0] != "v1.a.b" || len(f.Rcpts) != 0 || len(f.Clues.Sources) != 0 {
		t.Errorf("%+v", f)
	}
}

func FuzzFeedback(f *testing.F) {
	for _, x := range corpus(f) {
		f.Add(load(f, x.name), uint8(x.role))
	}
	f.Fuzz(func(t *testing.T, b []byte, role uint8) {
		r := ReadFeedback(b, Role(role))
		if r.Kind == "" || len(r.Rcpts) > maxFailed || len(r.Subject) > maxSubject {
			t.Fatalf("%+v", r)
		}
		for _, rc := range r.Rcpts {
			if len(rc.Addr) > maxFeedAddr || strings.ContainsAny(rc.Addr+rc.Text+rc.Status, "\r\n\x00\x1b") {
				t.Fatalf("recipient %+v", rc)
			}
			if rc.Hard() && rc.Action != Failed {
				t.Fatalf("hard without a failure: %+v", rc)
			}
		}
		c := r.Clues
		for _, list := range [][]string{c.Refs, c.Returns, c.EnvIDs, c.MessageIDs, c.Received, c.Domains, {r.Subject, r.Type, r.Zone}} {
			if len(list) > maxClues {
				t.Fatalf("%d clues", len(list))
			}
			for _, s := range list {
				if len(s) > maxValue || strings.ContainsAny(s, "\r\n\x00\x1b") {
					t.Fatalf("clue %q", s)
				}
			}
		}
	})
}

// What this package writes it can read.
func TestOwnReportIsRead(t *testing.T) {
	r := sample()
	r.Original = append([]byte(RefHeader+": v1.abc.def\r\n"), r.Original...)
	b, err := Compose(r)
	if err != nil {
		t.Fatal(err)
	}
	f := ReadFeedback(b, RoleBounce)
	if f.Kind != KindBounce || len(f.Rcpts) != 1 || !f.Rcpts[0].Hard() || f.Rcpts[0].Verdict.Class != InvalidRecipient {
		t.Fatalf("%+v", f)
	}
	c := f.Clues
	if !slices.Contains(c.Refs, "v1.abc.def") || !slices.Contains(c.MessageIDs, "<orig@tenant.example>") || !slices.Contains(c.EnvIDs, "env-7+20x") && !slices.Contains(c.EnvIDs, "env-7 x") {
		t.Errorf("clues %+v", c)
	}
}
