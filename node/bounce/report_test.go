package bounce

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/mail"
)

var arrived = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

func sample() Report {
	return Report{
		ReportingMTA: "relay.tenant.example", From: "mailer-daemon@relay.tenant.example", To: "news@tenant.example",
		EnvID: "env-7 x", Arrived: arrived, Date: arrived.Add(time.Hour), MessageID: "<r1@relay.tenant.example>",
		Original: []byte("From: News <news@tenant.example>\r\nMessage-ID: <orig@tenant.example>\r\nSubject: October\r\n\r\nbody\r\n"),
		Rcpts: []ReportRcpt{{
			Final: "one@b.example", ORcpt: "rfc822;One+a@b.example", Action: Failed, Status: "5.1.1", RemoteMTA: "mx.b.example",
			Diagnostic: "550 5.1.1 <one@b.example>: Recipient address rejected: User unknown", LastTry: arrived.Add(time.Minute),
		}},
	}
}

// parts is a report taken apart by somebody else's parser.
type parts struct {
	header   message.Header
	text     string
	status   []textproto.MIMEHeader
	types    []string
	original string
}

func parse(t testing.TB, b []byte) parts {
	t.Helper()
	m, err := message.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("parse: %v\n%s", err, b)
	}
	p := parts{header: m.Header}
	mr := m.MultipartReader()
	if mr == nil {
		t.Fatalf("not multipart:\n%s", b)
	}
	for {
		e, err := mr.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("part: %v\n%s", err, b)
		}
		kind, _, _ := e.Header.ContentType()
		body, err := io.ReadAll(e.Body)
		if err != nil {
			t.Fatal(err)
		}
		p.types = append(p.types, kind)
		switch len(p.types) {
		case 1:
			p.text = string(body)
		case 2:
			r := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(body, "\r\n\r\n"...))))
			for {
				h, err := r.ReadMIMEHeader()
				if len(h) == 0 {
					break
				}
				if err != nil {
					t.Fatalf("status: %v\n%s", err, body)
				}
				p.status = append(p.status, h)
			}
		default:
			p.original = string(body)
		}
	}
	return p
}

func compose(t testing.TB, r Report) ([]byte, parts) {
	t.Helper()
	b, err := Compose(r)
	if err != nil {
		t.Fatal(err)
	}
	checkForm(t, b, !r.UTF8 && !r.Full)
	return b, parse(t, b)
}

// checkForm is what every report must keep on the wire.
func checkForm(t testing.TB, b []byte, ascii bool) {
	t.Helper()
	if bytes.Count(b, []byte("\n")) != bytes.Count(b, []byte("\r\n")) || bytes.Count(b, []byte("\r")) != bytes.Count(b, []byte("\r\n")) {
		t.Fatalf("bare CR or LF in\n%q", b)
	}
	for l := range bytes.Lines(b) {
		if len(l) > maxReturned+2 {
			t.Fatalf("line of %d octets", len(l))
		}
	}
	for _, c := range b {
		if c == 0 || ascii && c >= 0x7f {
			t.Fatalf("octet %#x in\n%q", c, b)
		}
	}
}

func TestComposeFailure(t *testing.T) {
	_, p := compose(t, sample())
	for name, want := range map[string]string{
		"From": "Mail Delivery System <mailer-daemon@relay.tenant.example>", "To": "<news@tenant.example>",
		"Auto-Submitted": "auto-replied", "Mime-Version": "1.0", "Message-Id": "<r1@relay.tenant.example>",
		"Date": "Fri, 20 Nov 2026 09:00:00 +0000", "In-Reply-To": "<orig@tenant.example>", "References": "<orig@tenant.example>",
		"Subject": "Your message could not be delivered",
	} {
		if got := p.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	kind, params, err := p.header.ContentType()
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Errorf("content type %s %v %v", kind, params, err)
	}
	if got := strings.Join(p.types, " "); got != "text/plain message/delivery-status text/rfc822-headers" {
		t.Errorf("parts %s", got)
	}
	if len(p.status) != 2 {
		t.Fatalf("status has %d groups", len(p.status))
	}
	for i, want := range []map[string]string{
		{"Reporting-Mta": "dns; relay.tenant.example", "Original-Envelope-Id": "env-7 x", "Arrival-Date": "Fri, 20 Nov 2026 08:00:00 +0000"},
		{"Original-Recipient": "rfc822; One+a@b.example", "Final-Recipient": "rfc822; one@b.example", "Action": "failed", "Status": "5.1.1",
			"Remote-Mta": "dns; mx.b.example", "Diagnostic-Code": "smtp; 550 5.1.1 <one@b.example>: Recipient address rejected: User unknown",
			"Last-Attempt-Date": "Fri, 20 Nov 2026 08:01:00 +0000"},
	} {
		if len(p.status[i]) != len(want) {
			t.Errorf("group %d has fields %v", i, p.status[i])
		}
		for k, v := range want {
			if got := p.status[i].Get(k); got != v {
				t.Errorf("%s: %q, want %q", k, got, v)
			}
		}
	}
	for _, want := range []string{"one@b.example", "There is no mailbox of that name", "What you can do:", "The server mx.b.example said:"} {
		if !strings.Contains(strings.Join(strings.Fields(p.text), " "), want) {
			t.Errorf("text does not say %q:\n%s", want, p.text)
		}
	}
	if !strings.Contains(p.original, "Subject: October") || strings.Contains(p.original, "body") {
		t.Errorf("returned %q", p.original)
	}
}

func TestComposeDelayAndRelay(t *testing.T) {
	r := sample()
	r.Rcpts[0].Action, r.Rcpts[0].Status = Delayed, "4.7.1"
	r.Rcpts[0].Diagnostic, r.Rcpts[0].RetryUntil = "451 4.7.1 Greylisted", arrived.Add(96*time.Hour)
	_, p := compose(t, r)
	if got := p.status[1].Get("Will-Retry-Until"); got != "Tue, 24 Nov 2026 08:00:00 +0000" {
		t.Errorf("Will-Retry-Until %q", got)
	}
	if p.header.Get("Subject") != "Your message is delayed" || !strings.Contains(p.text, "come back later") || !strings.Contains(p.text, "24 Nov 2026") {
		t.Errorf("text:\n%s", p.text)
	}
	r.Rcpts[0].Action, r.Rcpts[0].Status, r.Rcpts[0].Diagnostic = Relayed, "2.0.0", "250 2.0.0 ok"
	if _, p = compose(t, r); p.status[1].Get("Action") != "relayed" || p.status[1].Get("Will-Retry-Until") != "" {
		t.Errorf("status %v", p.status[1])
	}
}

func TestComposeOwnDiagnosisIsNotTheHosts(t *testing.T) {
	r := sample()
	r.Rcpts[0].Diagnostic, r.Rcpts[0].RemoteMTA, r.Rcpts[0].Status = "connect to 192.0.2.1: timed out", "", "5.4.7"
	_, p := compose(t, r)
	if got := p.status[1].Get("Diagnostic-Code"); got != "x-local; connect to 192.0.2.1: timed out" {
		t.Errorf("diagnostic %q", got)
	}
	if !strings.Contains(p.text, "until its time was up") {
		t.Errorf("text:\n%s", p.text)
	}
}

func TestComposeFull(t *testing.T) {
	r := sample()
	r.Full = true
	r.Original = []byte("Subject: x\r\n\r\nGr\xfc\xdfe\r\n")
	b, p := compose(t, r)
	if p.types[2] != "message/rfc822" || p.original != string(r.Original) || !strings.Contains(string(b), "Content-Transfer-Encoding: 8bit\r\n") {
		t.Errorf("types %v, returned %q", p.types, p.original)
	}
	for name, original := range map[string]string{"long line": "S: x\r\n\r\n" + strings.Repeat("x", 2000), "NUL": "S: x\r\n\r\na\x00b"} {
		r.Original = []byte(original)
		if _, p := compose(t, r); p.types[2] != "text/rfc822-headers" {
			t.Errorf("%s: returned as %s", name, p.types[2])
		}
	}
	r.Original = []byte("S: x\n\nold\rline ends\n")
	if _, p := compose(t, r); p.original != "S: x\r\n\r\nold\r\nline ends\r\n" {
		t.Errorf("returned %q", p.original)
	}
}

func TestComposeInternational(t *testing.T) {
	r := sample()
	r.UTF8, r.To = true, "dörte@tenant.example"
	r.Rcpts[0].Final, r.Rcpts[0].ORcpt = "jörg@b.example", "utf-8;jörg@b.example"
	r.Original = []byte("Subject: Größe\r\n\r\n")
	_, p := compose(t, r)
	if got := strings.Join(p.types, " "); got != "text/plain message/global-delivery-status message/global-headers" {
		t.Errorf("parts %s", got)
	}
	if p.status[1].Get("Final-Recipient") != "utf-8; jörg@b.example" || p.status[1].Get("Original-Recipient") != "utf-8; jörg@b.example" {
		t.Errorf("status %v", p.status[1])
	}
	if !strings.Contains(p.original, "Größe") || !strings.Contains(p.text, "jörg@b.example") {
		t.Errorf("returned %q", p.original)
	}
	// The same recipient in a report that must stay ASCII.
	r.UTF8, r.To = false, "doerte@tenant.example"
	_, p = compose(t, r)
	if got := p.status[1].Get("Final-Recipient"); got != `utf-8; j\x{F6}rg@b.example` {
		t.Errorf("Final-Recipient %q", got)
	}
	if strings.Contains(p.original, "ö") {
		t.Errorf("returned %q", p.original)
	}
}

func TestComposeRefusesWhatCannotBeWritten(t *testing.T) {
	for name, change := range map[string]func(*Report){
		"no recipients":   func(r *Report) { r.Rcpts = nil },
		"header in To":    func(r *Report) { r.To = "a@b.example>\r\nBcc: <c@d.example" },
		"null To":         func(r *Report) { r.To = "" },
		"two in To":       func(r *Report) { r.To = "a@b.example, c@d.example" },
		"utf8 in To":      func(r *Report) { r.To = "dörte@b.example" },
		"bad From":        func(r *Report) { r.From = "mailer-daemon" },
		"bad message id":  func(r *Report) { r.MessageID = "<a@b>\r\nX: y" },
		"unknown action":  func(r *Report) { r.Rcpts[0].Action = "expanded" },
		"broken quotes":   func(r *Report) { r.To = `"a"b"@b.example` },
		"blank in domain": func(r *Report) { r.To = "a@b example" },
	} {
		r := sample()
		change(&r)
		if b, err := Compose(r); err == nil {
			t.Errorf("%s: composed\n%s", name, b)
		}
	}
	r := sample()
	r.To = `"a <b>"@b.example`
	_, p := compose(t, r)
	h := mail.Header{Header: p.header}
	if l, err := h.AddressList("To"); err != nil || len(l) != 1 || l[0].Address != "a <b>@b.example" {
		t.Errorf("To %v %v", l, err)
	}
}

func TestComposeLongAndHostileFields(t *testing.T) {
	r := sample()
	evil := "550 5.1.1 no\r\nSubject: taken over\r\n\r\n--x\r\n" + strings.Repeat("y", 5000)
	r.EnvID, r.ReportingMTA = "e\r\nAction: delivered", "m\r\n\r\nFinal-Recipient: rfc822; v@x.example"
	r.Rcpts[0].Final, r.Rcpts[0].ORcpt = "a\r\nAction: delivered@b.example", "rfc822;a\r\nStatus: 2.0.0"
	r.Rcpts[0].Diagnostic, r.Rcpts[0].RemoteMTA, r.Rcpts[0].Status = evil, "mx\r\nX: y", "5.1.1\r\nX: y"
	r.Original = []byte("X: " + strings.Repeat("z", 3000) + "\r\n : \r\n\t\r\nSubject: \x00\x1b[2J\r\n\r\n")
	_, p := compose(t, r)
	if len(p.status) != 2 || p.status[1].Get("Action") != "failed" || p.status[1].Get("Status") != "5.0.0" || p.status[1].Get("X") != "" {
		t.Errorf("status %v", p.status)
	}
	if p.header.Get("Subject") != "Your message could not be delivered" {
		t.Errorf("subject %q", p.header.Get("Subject"))
	}
}

func TestComposeManyRecipients(t *testing.T) {
	r := sample()
	one := r.Rcpts[0]
	for i := range 300 {
		one.Final = fmt.Sprintf("u%d@b.example", i)
		r.Rcpts = append(r.Rcpts, one)
	}
	_, p := compose(t, r)
	if len(p.status) != 302 || strings.Contains(p.text, "u200@") || !strings.Contains(p.text, "second part") {
		t.Errorf("%d groups", len(p.status))
	}
}

func FuzzCompose(f *testing.F) {
	f.Add("a@b.example", "c@d.example", "rfc822;x", "5.1.1", "550 no", "mx", "env", []byte("Subject: x\r\n\r\nbody"), false, false)
	f.Add("\"a b\"@x", "ö@x", "utf-8;ö", "4..", "\r\n\r\n", "\x00", "+", []byte("\r\n\r\n--=_"), true, true)
	f.Fuzz(func(t *testing.T, to, final, orcpt, status, diag, mta, env string, original []byte, utf8, full bool) {
		r := sample()
		r.To, r.EnvID, r.Original, r.UTF8, r.Full = to, env, original, utf8, full
		r.Rcpts = append(r.Rcpts, ReportRcpt{Final: final, ORcpt: orcpt, Status: status, Diagnostic: diag, RemoteMTA: mta, Action: Failed})
		b, err := Compose(r)
		if err != nil {
			return
		}
		checkForm(t, b, !utf8 && !full)
		p := parse(t, b)
		if len(p.status) != 3 || p.status[2].Get("Action") != "failed" || len(p.types) < 2 || len(p.types) > 3 || p.header.Get("Auto-Submitted") != "auto-replied" {
			t.Fatalf("taken apart wrongly: %v %v\n%s", p.types, p.status, b)
		}
	})
}
