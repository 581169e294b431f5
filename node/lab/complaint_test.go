package lab

import (
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
)

// A complaint is a report of three parts, the last of which is the head of the
// mail it is about; what the intake refuses is an error.
func TestComplaint(t *testing.T) {
	l := startLab(t, Config{})
	about := &Mail{Source: "127.77.1.12", From: "daily@choir.test", MessageID: "<a@b>", Reference: "v1.abc"}
	if err := Complain(t.Context(), l.addrOf(t, "inbox.test"), "abuse@smtp.relay.test", about); err != nil {
		t.Fatal(err)
	}
	got, _ := l.Messages(Filter{})
	if len(got) != 1 || got[0].Rcpts[0] != "abuse@smtp.relay.test" {
		t.Fatalf("the intake got %+v", got)
	}
	m, err := mail.ReadMessage(strings.NewReader(got[0].Text))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "feedback-report" {
		t.Errorf("%s %v, %v", kind, params, err)
	}
	var kinds, bodies []string
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		kinds, bodies = append(kinds, p.Header.Get("Content-Type")), append(bodies, string(b))
	}
	if strings.Join(kinds, "; ") != "text/plain; charset=us-ascii; message/feedback-report; text/rfc822-headers" {
		t.Fatalf("parts %q", kinds)
	}
	if !strings.Contains(bodies[1], "Feedback-Type: abuse\r\n") || !strings.Contains(bodies[2], "X-Relay-Ref: v1.abc\r\n") {
		t.Errorf("%q", bodies)
	}
	if err := Complain(t.Context(), l.addrOf(t, "nobody.test"), "abuse@smtp.relay.test", about); err == nil || !strings.Contains(err.Error(), "bring complaint: 550") {
		t.Errorf("refused: %v", err)
	}
}
