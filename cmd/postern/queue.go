package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) queueCommand() *cobra.Command {
	return family("queue", "Waiting mail", a.queueList(), a.queueShow(), a.queueFlush(), a.queueCancel(), a.queuePurge())
}

func matchFlags(c *cobra.Command, m *admin.Match) *cobra.Command {
	c.Flags().StringVar(&m.Tenant, "tenant", "", "only of this tenant")
	c.Flags().StringVar(&m.Account, "account", "", "only of this account")
	c.Flags().StringVar(&m.Domain, "domain", "", "only to this recipient domain")
	return c
}

func matchText(m admin.Match) string {
	var parts []string
	if m.Account != "" {
		parts = append(parts, "of "+m.Account)
	} else if m.Tenant != "" {
		parts = append(parts, "of tenant "+m.Tenant)
	}
	if m.Domain != "" {
		parts = append(parts, "to "+m.Domain)
	}
	return clean(strings.Join(append([]string{""}, parts...), " "))
}

func (a *app) queueList() *cobra.Command {
	var l listing
	var m admin.Match
	return matchFlags(l.flags(a.verb("list", "List waiting messages by tenant, oldest first", `  postern queue list
  postern queue list --tenant acme --domain example.org`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			p, err := pages(ctx, &l, func(ctx context.Context, l admin.List) (admin.Page[admin.Message], error) {
				return c.Queue(ctx, m, l)
			})
			if err != nil {
				return err
			}
			return a.show(p, func() { a.messages(p) })
		})), &m)
}

func (a *app) messages(p admin.Page[admin.Message]) {
	if len(p.Items) == 0 {
		a.say("Nothing waits.")
		return
	}
	t := newTable("ID", "ACCOUNT~", "TO~", "AGE>", "SIZE>", "TRIES>", "NEXT>")
	stopped := map[string]bool{}
	for _, x := range p.Items {
		tries, next := 0, "now"
		for i, item := range x.Items {
			tries = max(tries, item.Attempts)
			if i == 0 || item.Due.Before(x.Items[0].Due) {
				next = a.from(item.Due)
			}
			if item.Active {
				next = "trying"
				break
			}
			if !item.Due.After(a.now()) {
				next = "now"
			}
		}
		if x.Stopped != "" {
			next = "stopped"
			stopped[first(x.Account, x.Tenant)+": "+x.Stopped] = true
		}
		t.row(x.ID, first(x.Account, x.Tenant), rcptText(x), strings.TrimSuffix(a.from(x.Arrived), " ago"), bytesText(uint64(max(x.Size, 0))), count(tries), next)
	}
	a.say("%s", strings.TrimSuffix(t.String(), "\n"))
	a.more(p.Next)
	for why := range stopped {
		a.paragraph("", "stopped: "+why)
	}
	a.say("postern trace ID tells why one waits; postern queue flush tries them now.")
}

func rcptText(m admin.Message) string {
	n, one := 0, ""
	for _, i := range m.Items {
		n += len(i.Rcpts)
		if one == "" && len(i.Rcpts) > 0 {
			one = i.Rcpts[0]
		}
	}
	if n > 1 {
		return fmt.Sprintf("%s +%d", one, n-1)
	}
	return one
}

func (a *app) queueShow() *cobra.Command {
	return a.verb("show ID", "Show one waiting message", "  postern queue show 3-1-42",
		func(ctx context.Context, c *admin.Client, args []string) error {
			m, err := c.Message(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(m, func() { a.message(m) })
		})
}

func (a *app) message(m admin.Message) {
	a.fields("message", m.ID, "tenant", m.Tenant, "account", m.Account, "class", m.Class, "from", first(m.From, "<> (a report made here)"),
		"size", bytesText(uint64(max(m.Size, 0))), "arrived", at(m.Arrived)+", "+a.from(m.Arrived), "expires", at(m.Expires)+", "+a.from(m.Expires),
		"Message-ID", m.MessageID, "stopped", m.Stopped)
	for _, i := range m.Items {
		when := "next try " + a.from(i.Due)
		if i.Active {
			when = "being tried now"
		}
		a.say("")
		a.paragraph("", fmt.Sprintf("%s: %s, %s", i.Domain, some(i.Attempts, "attempt"), when))
		for _, r := range i.Rcpts {
			a.paragraph("  ", r)
		}
		if i.Last != nil {
			a.paragraph("  ", "last answer: "+replyText(*i.Last))
		}
	}
}

func replyText(r admin.Reply) string {
	parts := []string{}
	if r.Code != 0 {
		parts = append(parts, fmt.Sprint(r.Code))
	}
	if r.Enhanced != "" {
		parts = append(parts, r.Enhanced)
	}
	return strings.Join(append(parts, r.Text), " ")
}

func (a *app) queueFlush() *cobra.Command {
	var m admin.Match
	return matchFlags(a.verb("flush", "Try waiting messages now", "  postern queue flush --domain example.org",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			d, err := c.Flush(ctx, m)
			if err != nil {
				return err
			}
			return a.show(d, func() { a.say("%s%s due now", some(d.Count, "attempt"), matchText(m)) })
		}), &m)
}

func (a *app) queueCancel() *cobra.Command {
	return a.verb("cancel ID", "End one message; nobody is told", "  postern queue cancel 3-1-42",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if err := c.Cancel(ctx, args[0]); err != nil {
				return err
			}
			return a.done("message", args[0], "cancelled")
		})
}

func (a *app) queuePurge() *cobra.Command {
	var m admin.Match
	var yes bool
	c := matchFlags(a.verb("purge", "End all matching messages; nobody is told", `  postern queue purge --tenant acme
  postern queue purge --account news@acme.example --yes`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			if !yes {
				if err := a.confirmPurge(ctx, c, m); err != nil {
					return err
				}
			}
			d, err := c.Purge(ctx, m)
			if err != nil {
				return err
			}
			return a.show(d, func() { a.say("%s%s cancelled", some(d.Count, "message"), matchText(m)) })
		}), &m)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// confirmPurge says how much a purge ends.
func (a *app) confirmPurge(ctx context.Context, c *admin.Client, m admin.Match) error {
	p, err := c.Queue(ctx, m, admin.List{Limit: 1000})
	if err != nil {
		return err
	}
	what := some(len(p.Items), "message")
	if p.Next != "" {
		what = "1,000 messages or more"
	}
	return a.confirm(fmt.Sprintf("This ends %s%s for ever; senders are not told.", what, matchText(m)), "nothing was cancelled")
}

// confirm asks on stderr, so that --json output stays pure.
func (a *app) confirm(what, nothing string) error {
	fmt.Fprintf(a.err, "%s Type yes: ", what)
	line, err := bufio.NewReader(io.LimitReader(a.in, 1000)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read answer: %w", err)
	}
	if strings.TrimSpace(line) != "yes" {
		return fmt.Errorf("%s: the answer was not yes (--yes does not ask)", nothing)
	}
	return nil
}
