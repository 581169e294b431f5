package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) noticesCommand() *cobra.Command {
	return family("notices", "Who is told what happened, by mail and webhook", a.noticesShow(), a.noticesSet(), a.noticesOff(), a.noticesTest())
}

func (a *app) noticesShow() *cobra.Command {
	return a.verb("show", "Show where notices go, and which wait", "  postern notices show",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			n, err := c.Notices(ctx)
			if err != nil {
				return err
			}
			return a.show(n, func() { a.notices(n) })
		})
}

func (a *app) notices(n admin.Notices) {
	if n.Smarthost == "" && n.Webhook == "" {
		a.say("Notices go nowhere. postern notices set says where.")
		return
	}
	by, tenants := n.Smarthost, "not told"
	if n.User != "" {
		by += ", as " + n.User
	}
	if n.Plain {
		by += ", without TLS"
	}
	if n.Tenants {
		tenants = "told at their reference addresses"
	}
	a.fields("operator", strings.Join(n.Operators, ", "), "from", n.From, "smarthost", by, "webhook", n.Webhook, "tenants", tenants,
		"waiting", count(len(n.Waiting)))
	for _, w := range n.Waiting {
		text := fmt.Sprintf("%s: %s %s, %s", w.To, w.Act, w.Subject, some(int(w.Tries), "try"))
		if w.Error != "" {
			text += ": " + w.Error
		}
		a.hang("  ", "    ", text)
	}
}

func (a *app) noticesSet() *cobra.Command {
	var n admin.SetNotices
	var passwordFile, secretFile string
	c := a.verb("set", "Say where notices go; what is not given ends", `  postern notices set --operator ops@provider.example \
      --from postern@provider.example --smarthost mail.provider.example:587 \
      --user postern --password-file smarthost.password --tenants
  postern notices set --webhook https://hooks.provider.example/postern \
      --secret-file webhook.secret`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			if n.Smarthost == "" && n.Webhook == "" {
				return usagef("give --smarthost or --webhook; postern notices off ends them")
			}
			for _, x := range []struct {
				file string
				to   *string
			}{{passwordFile, &n.Password}, {secretFile, &n.Secret}} {
				if x.file == "" {
					continue
				}
				text, err := readToken(x.file)
				if err != nil {
					return err
				}
				*x.to = text
			}
			v, err := c.SetNotices(ctx, n)
			if err != nil {
				return err
			}
			return a.show(v, func() {
				a.notices(v)
				a.say("to try it: postern notices test")
			})
		})
	c.Long = `Say where notices go. Mail goes through a smarthost outside this cluster, by
STARTTLS with a certificate that is checked; a webhook is called with JSON,
signed: Postern-Signature is "v1=" and the hexadecimal HMAC-SHA256 of
Postern-Timestamp, a dot and the body. A notice that is sent again has the same
Message-ID and Idempotency-Key. Secrets are kept only encrypted; without a
file, that of the same user, or URL, stays.`
	f := c.Flags()
	f.StringSliceVar(&n.Operators, "operator", nil, "address of an operator (repeatable)")
	f.StringVar(&n.From, "from", "", "sender of the mails")
	f.StringVar(&n.Smarthost, "smarthost", "", "HOST:PORT of a mail server outside the cluster")
	f.StringVar(&n.User, "user", "", "user of the smarthost")
	f.StringVar(&passwordFile, "password-file", "", "file with the user's password")
	f.BoolVar(&n.Plain, "plain", false, "without TLS and password, on a network of your own")
	f.StringVar(&n.Webhook, "webhook", "", "URL to call")
	f.StringVar(&secretFile, "secret-file", "", "file with the secret the webhook is signed with")
	f.BoolVar(&n.Tenants, "tenants", false, "tell tenants, too, at their reference addresses")
	return c
}

func (a *app) noticesOff() *cobra.Command {
	return a.verb("off", "Tell nobody any more; what waits is dropped", "  postern notices off",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			n, err := c.SetNotices(ctx, admin.SetNotices{})
			if err != nil {
				return err
			}
			return a.show(n, func() { a.notices(n) })
		})
}

func (a *app) noticesTest() *cobra.Command {
	return a.verb("test", "Send a notice every way the operator has", "  postern notices test",
		func(ctx context.Context, c *admin.Client, _ []string) error {
			n, err := c.TestNotices(ctx)
			if err != nil {
				return err
			}
			return a.show(n, func() {
				a.say("%s will be tried within seconds; postern notices show tells what waits.", some(len(n.Waiting), "notice"))
			})
		})
}
