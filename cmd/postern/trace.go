package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) traceCommand() *cobra.Command {
	return a.verb("trace ID", "Show what became of a message, with every SMTP dialogue", "  postern trace 3-1-42\n  postern trace 3-1-42 --json",
		func(ctx context.Context, c *admin.Client, args []string) error {
			t, err := c.Trace(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(t, func() { a.trace(t) })
		})
}

func (a *app) trace(t admin.Trace) {
	a.fields("message", t.ID, "result", a.verdict(t), "tenant", t.Tenant, "account", t.Account, "from", first(t.From, "<>"),
		"size", bytesText(uint64(max(t.Size, 0))), "arrived", at(t.Arrived), "Message-ID", t.MessageID)
	for _, o := range t.Outcomes {
		a.say("")
		a.paragraph("", fmt.Sprintf("%s %s, %s", first(o.Rcpt, "(recipient no longer kept)"), o.Result, at(o.At)))
		a.paragraph("  ", replyText(o.Reply))
	}
	for _, x := range t.Attempts {
		a.attempt(x)
	}
}

// verdict is the answer to "did it arrive, and if not, what now".
func (a *app) verdict(t admin.Trace) string {
	n := map[string]int{}
	for _, o := range t.Outcomes {
		n[o.Result]++
	}
	var parts []string
	for _, r := range []string{"delivered", "bounced", "expired", "suppressed", "cancelled"} {
		if n[r] > 0 {
			parts = append(parts, count(n[r])+" "+r)
		}
	}
	waiting := 0
	var next time.Time
	for _, i := range t.Items {
		waiting += len(i.Rcpts)
		if next.IsZero() || i.Due.Before(next) {
			next = i.Due
		}
	}
	if waiting > 0 && !t.Ended {
		when := "next try " + a.from(next)
		if t.Stopped != "" {
			when = "stopped: " + t.Stopped
		}
		parts = append(parts, count(waiting)+" waiting, "+when)
	}
	if len(parts) == 0 {
		return "nothing is known of its recipients"
	}
	return strings.Join(parts, ", ")
}

func (a *app) attempt(x admin.Attempt) {
	a.say("")
	took := time.Duration(x.Millis * float64(time.Millisecond))
	a.paragraph("", fmt.Sprintf("attempt %d to %s, %s, took %s", x.N, x.Domain, at(x.At), span(took)))
	by := "in the clear"
	if x.TLS != "" {
		by = x.TLS
	}
	to := x.Addr
	if x.Host != "" && !strings.HasPrefix(x.Addr, x.Host+":") {
		to = x.Host + " " + x.Addr
	}
	if to == "" { // it ended before a connection
		to, by = "nowhere", "no host was reached"
	}
	if x.Source == "" {
		a.paragraph("  ", by)
	} else {
		a.paragraph("  ", fmt.Sprintf("from %s (EHLO %s) to %s, %s", x.Source, x.EHLO, to, by))
	}
	for _, o := range x.Outcomes {
		a.paragraph("  ", fmt.Sprintf("%s %s: %s", o.Rcpt, o.Result, replyText(o.Reply)))
	}
	if x.DotSent && len(x.Outcomes) == 0 {
		a.paragraph("  ", "the whole message left, its answer never came: in doubt")
	}
	for line := range strings.Lines(x.Dialogue) {
		a.paragraph("  | ", strings.TrimRight(line, "\r\n"))
	}
}
