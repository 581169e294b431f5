package lab

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// referenceHeader is the field by which the relay knows its own mail again.
const referenceHeader = "X-Relay-Ref"

// complainBy bounds each step of bringing a complaint in.
const complainBy = 10 * time.Second

// Complain brings a mailbox provider's complaint (ARF, RFC 5965) about a mail to
// the intake at addr (host:port): the provider's user has called it spam.
func Complain(ctx context.Context, addr, to string, m *Mail) error {
	c, err := dialClient(ctx, addr, nil, false, "fbl.lab.test", complainBy)
	if err != nil {
		return fmt.Errorf("bring complaint: %w", err)
	}
	defer c.quit()
	const from = "feedback@fbl.lab.test"
	out, err := c.send(from, []string{to}, complaint(from, to, m))
	if err == nil && out.end.Code/100 != 2 {
		err = fault("bring complaint", out.end, nil)
	}
	return err
}

func complaint(from, to string, m *Mail) []byte {
	text := fmt.Sprintf(`From: <%s>
To: <%s>
Subject: complaint about mail from %s
Date: %s
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="part"

--part
Content-Type: text/plain; charset=us-ascii

A user has called this message spam.

--part
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: lab/1
Version: 1
Source-IP: %s

--part
Content-Type: text/rfc822-headers

From: <%s>
Message-ID: %s
%s: %s

--part--
`, from, to, m.Source, time.Now().Format(time.RFC1123Z), m.Source, m.From, m.MessageID, referenceHeader, m.Reference)
	return []byte(strings.ReplaceAll(text, "\n", "\r\n"))
}
