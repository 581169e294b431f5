package declare

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"postern/node/admin"
	"postern/tenant"
)

// plainWord is what needs no quotes: no number, no word YAML knows, and nothing
// that means something in it.
var plainWord = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/@+-]*$`)

// plainPEM is what can stand as lines of its own and is read as the same.
var plainPEM = regexp.MustCompile(`^(-----(BEGIN|END) [A-Z ]+-----\n|[A-Za-z0-9+/=]+\n)+$`)

func word(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n", "inf", "nan":
	default:
		if plainWord.MatchString(s) {
			return s
		}
	}
	b, _ := json.Marshal(s) // a string always has a JSON form, which YAML reads
	return string(b)
}

// writer writes lines; its first error ends it.
type writer struct {
	to  io.Writer
	err error
}

func (w *writer) line(indent int, format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.to, strings.Repeat(" ", indent)+format+"\n", args...)
	}
}

// pair writes a key unless its value is the default.
func (w *writer) pair(indent int, key, value string) {
	if value != "" {
		w.line(indent, "%s: %s", key, word(value))
	}
}

func (w *writer) raw(indent int, key, value string) {
	if value != "" {
		w.line(indent, "%s: %s", key, value)
	}
}

// Write writes a declaration as a file: Load gives it again, but for the secrets
// of notices, which are not in it.
func Write(to io.Writer, d *admin.Declaration, head string) error {
	w := &writer{to: to}
	for line := range strings.Lines(head) {
		w.line(0, "# %s", strings.TrimSpace(line))
	}
	w.line(0, "version: 1")
	w.pair(0, "import", d.Import)
	w.pair(0, "automation", d.Automation)
	w.pair(0, "on_listing", d.OnListing)
	if n := d.Notices; n != nil {
		w.notices(n)
	}
	if len(d.Retention) > 0 {
		w.line(0, "retention:")
		for _, class := range slices.Sorted(maps.Keys(d.Retention)) {
			w.pair(2, class, tenant.DaysText(d.Retention[class]))
		}
	}
	if d.Sources != nil {
		w.list(0, "sources", len(*d.Sources))
		for _, x := range *d.Sources {
			w.source(x)
		}
	}
	if d.Tenants != nil {
		w.list(0, "tenants", len(*d.Tenants))
		for _, x := range *d.Tenants {
			w.tenant(x)
		}
	}
	if d.Routes != nil {
		w.list(0, "routes", len(*d.Routes))
		for _, x := range *d.Routes {
			w.line(2, "- {domain: %s, host: %s, port: %d}", word(x.Domain), word(x.Host), x.Port)
		}
	}
	if z := d.Zones; z != nil {
		w.line(0, "zones:")
		w.pair(2, "round", z.Round)
		w.line(2, "text: |")
		for line := range strings.Lines(z.File) {
			w.line(4, "%s", strings.TrimRight(line, "\n"))
		}
	}
	return w.err
}

// list writes a list's key; an empty list says that there is nothing.
func (w *writer) list(indent int, key string, n int) {
	if n == 0 {
		w.line(indent, "%s: []", key)
		return
	}
	w.line(indent, "%s:", key)
}

func (w *writer) notices(n *admin.DeclaredNotices) {
	if n.Smarthost == "" && n.Webhook == "" {
		w.line(0, "notices: {}")
		return
	}
	w.line(0, "notices:")
	if len(n.Operators) > 0 {
		w.line(2, "operators: [%s]", words(n.Operators))
	}
	w.pair(2, "from", n.From)
	w.pair(2, "smarthost", n.Smarthost)
	w.pair(2, "user", n.User)
	if n.User != "" {
		w.line(2, "# password_file: the kept password stays without one")
	}
	w.raw(2, "plain", yes(n.Plain))
	w.pair(2, "webhook", n.Webhook)
	if n.Webhook != "" {
		w.line(2, "# secret_file: the kept secret stays without one")
	}
	w.raw(2, "tenants", yes(n.Tenants))
}

func (w *writer) source(x admin.DeclaredSource) {
	more := ""
	if x.Shared {
		more = ", shared: true"
	}
	if x.Class != "" {
		more += ", class: " + word(x.Class)
	}
	if x.WarmSince != "" {
		more += ", warm_since: " + word(x.WarmSince)
	}
	if x.Enrolments != nil {
		all := make([]string, len(*x.Enrolments))
		for i, e := range *x.Enrolments {
			all[i] = "{programme: " + word(e.Programme)
			if e.State != "" {
				all[i] += ", state: " + word(e.State)
			}
			if e.Note != "" {
				all[i] += ", note: " + word(e.Note)
			}
			all[i] += "}"
		}
		more += ", enrolments: [" + strings.Join(all, ", ") + "]"
	}
	w.line(2, "- {addr: %s, node: %s, ehlo: %s%s}", word(x.Addr), word(x.Node), word(x.EHLO), more)
}

func (w *writer) tenant(x admin.DeclaredTenant) {
	w.line(2, "- name: %s", word(x.Name))
	w.pair(4, "hostname", x.Hostname)
	w.pair(4, "home", x.Home)
	w.pair(4, "backup", x.Backup)
	w.pair(4, "customer", x.Customer)
	w.pair(4, "automation", x.Automation)
	w.pair(4, "on_listing", x.OnListing)
	w.raw(4, "probation", yes(x.Probation))
	if x.Domains != nil {
		w.list(4, "domains", len(*x.Domains))
		for _, d := range *x.Domains {
			more := ""
			if d.Key != "" {
				w.signed(d)
				continue
			}
			if d.Selector != "" {
				more = ", dkim: {selector: " + word(d.Selector) + "}"
			}
			if d.Bounce != "" {
				more += ", bounce: " + word(d.Bounce)
			}
			w.line(6, "- {name: %s%s}", word(d.Name), more)
		}
	}
	if x.Accounts != nil {
		w.list(4, "accounts", len(*x.Accounts))
		for _, a := range *x.Accounts {
			w.account(a)
		}
	}
}

// signed is a domain with its private key.
func (w *writer) signed(d admin.DeclaredDomain) {
	w.line(6, "- name: %s", word(d.Name))
	w.pair(8, "bounce", d.Bounce)
	w.line(8, "dkim:")
	w.pair(10, "selector", d.Selector)
	if !plainPEM.MatchString(d.Key) {
		w.pair(10, "key", d.Key)
		return
	}
	w.line(10, "key: |")
	for line := range strings.Lines(d.Key) {
		w.line(12, "%s", strings.TrimRight(line, "\n"))
	}
}

func (w *writer) account(a admin.DeclaredAccount) {
	w.line(6, "- address: %s", word(a.Address))
	w.pair(8, "class", a.Class)
	w.raw(8, "bytes_per_month", octets(a.BytesPerMonth))
	w.raw(8, "mails_per_month", number(a.MailsPerMonth))
	w.raw(8, "max_recipients", number(uint64(a.MaxRecipients)))
	w.raw(8, "max_size", octets(a.MaxSize))
	if len(a.Networks) > 0 {
		w.line(8, "networks: [%s]", words(a.Networks))
	}
	w.pair(8, "reference", a.Reference)
	var limits []string
	for _, l := range a.Limits {
		text := l.Window + "=" + number(l.Mails)
		if l.Bytes > 0 {
			text += "/" + octets(l.Bytes)
		}
		limits = append(limits, text)
	}
	if len(limits) > 0 {
		w.line(8, "limits: [%s]", words(limits))
	}
	if a.GapMS > 0 {
		w.line(8, "gap: %s", time.Duration(a.GapMS*float64(time.Millisecond)))
	}
	w.pair(8, "password_sha256", a.PasswordSHA256)
	w.pair(8, "password_hash", a.PasswordHash)
}

func words(all []string) string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = word(s)
	}
	return strings.Join(out, ", ")
}

func yes(b bool) string {
	if b {
		return "true"
	}
	return ""
}

func octets(n uint64) string {
	if n == 0 {
		return ""
	}
	return tenant.SizeText(n)
}

func number(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
