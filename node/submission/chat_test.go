package submission

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

// TestChats runs the dialogues in testdata against a real server:
//
//	open clear|tls|net   connect; net is the address that needs no login
//	connect IP           from there, without waiting for the banner; 127.0.0.5 is a balancer
//	c -> TEXT            send TEXT and CRLF; {plain USER} is USER's AUTH PLAIN response
//	raw "TEXT"           send a Go string as it is
//	s <~ REGEXP          the next reply (its lines joined by "|") matches
//	starttls             shake hands
//	login USER           EHLO and AUTH PLAIN
//	closed               the server has hung up
//	kept N               so many messages are in the queue
//	body "TEXT"          the last one's body
//	rcpts A,B            the last one's recipients
//	header REGEXP        somewhere in the last one's header section
//	noheader REGEXP      nowhere there
//	hold|lift|drop USER  hold an account, lift that, take it away
//	suspend USER         suspend an account for a bill
//	newpass USER         give an account a new password
//	quota MAILS KIND     from now on no more than that; KIND is month, minute, hour, halfday or day
//	gap DURATION USER    least time between two messages of an account
//	full                 the queue has no room
func TestChats(t *testing.T) {
	files, err := filepath.Glob("testdata/*.chat")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	for _, f := range files {
		for _, way := range ways {
			t.Run(strings.TrimSuffix(filepath.Base(f), ".chat")+" "+way.name, func(t *testing.T) {
				t.Parallel()
				script, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				(&chat{t: t, r: way.rig(t)}).run(string(script))
			})
		}
	}
}

func (h *chat) run(script string) {
	h.t.Helper()
	for n, line := range strings.Split(script, "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			h.where = strconv.Itoa(n+1) + ": " + line
			h.step(line)
		}
	}
	for _, c := range h.all {
		c.conn.Close()
	}
	h.r.quota.settled(h.t)
}

type chat struct {
	t     *testing.T
	r     *rig
	c     *client
	all   []*client
	where string
}

func (h *chat) step(line string) {
	h.t.Helper()
	verb, arg, _ := strings.Cut(line, " ")
	switch verb {
	case "open":
		h.open(arg)
	case "connect":
		h.c = h.r.from(arg, h.r.addr)
		h.all = append(h.all, h.c)
	case "c":
		h.c.send(h.expand(strings.TrimPrefix(strings.TrimPrefix(arg, "->"), " ")) + "\r\n")
	case "raw":
		h.c.send(h.unquote(arg))
	case "s":
		h.match(strings.TrimPrefix(arg, "<~ "), strings.ReplaceAll(h.reply(), "\n", "|"), true)
	case "starttls":
		h.c.startTLS(h.r)
	case "login":
		h.c.cmd("EHLO client.test", "250")
		h.c.cmd("AUTH PLAIN "+plain(arg, h.r.pass[arg]), "235")
	case "closed":
		h.c.gone()
	case "kept":
		if got := len(h.r.kept()); strconv.Itoa(got) != arg {
			h.t.Fatalf("line %s: %d kept", h.where, got)
		}
	case "body":
		if got, want := h.last().body(), h.unquote(arg); got != want {
			h.t.Fatalf("line %s: got %q", h.where, got)
		}
	case "rcpts":
		var got []string
		for _, rc := range h.last().env.Rcpts {
			got = append(got, rc.Addr)
		}
		if strings.Join(got, ",") != arg {
			h.t.Fatalf("line %s: got %q", h.where, got)
		}
	case "header":
		h.match(arg, h.last().header(), true)
	case "noheader":
		h.match(arg, h.last().header(), false)
	default:
		h.world(verb, arg)
	}
}

// world changes what is outside the dialogue.
func (h *chat) world(verb, arg string) {
	h.t.Helper()
	st := h.r.current()
	a := st.AccountByUsername(arg)
	switch verb {
	case "hold":
		h.r.apply(tenant.Hold{Tenant: a.Tenant, Account: a.ID, Reason: "spam"})
	case "suspend":
		version := uint32(tenant.NewestVersion)
		for n := range st.Nodes() {
			h.r.apply(tenant.SetNode{Node: n.ID, Version: &version})
		}
		h.r.apply(tenant.Suspend{Account: a.ID, Kind: tenant.SuspendBilling, Reason: "invoice 4711 f\u00fcr M\u00e4rz is not paid"})
	case "lift":
		h.r.apply(tenant.Hold{Tenant: a.Tenant, Account: a.ID})
	case "close":
		version := uint32(tenant.NewestVersion)
		for n := range st.Nodes() {
			h.r.apply(tenant.SetNode{Node: n.ID, Version: &version})
		}
		h.r.apply(tenant.Close{Account: a.ID, Reason: "spam"})
	case "newpass":
		password, secret := NewPassword()
		h.r.pass[arg] = password
		h.r.apply(tenant.SetAccount{Account: a.ID, Secret: &secret})
	case "gap":
		text, user, _ := strings.Cut(arg, " ")
		gap, err := time.ParseDuration(text)
		if err != nil {
			h.t.Fatal(err)
		}
		h.r.apply(tenant.SetAccount{Account: st.AccountByUsername(user).ID, Gap: &gap})
	case "drop":
		h.r.apply(tenant.RemoveAccount{Account: a.ID})
	case "quota":
		n, kind, _ := strings.Cut(arg, " ")
		mails, err := strconv.ParseUint(n, 10, 64)
		if err != nil {
			h.t.Fatal(err)
		}
		over := &OverLimit{Window: tenant.Month, Limit: mails, Resets: time.Date(2031, 2, 1, 0, 0, 0, 0, time.UTC)}
		if short, ok := map[string]tenant.WindowKind{"minute": tenant.Minute, "hour": tenant.Hour,
			"halfday": tenant.HalfDay, "day": tenant.Day}[kind]; ok {
			over.Window, over.Resets = short, time.Now().Add(30*time.Second)
		}
		h.r.quota.mu.Lock()
		h.r.quota.mails, h.r.quota.limit = mails, over
		h.r.quota.mu.Unlock()
	case "full":
		h.r.notes.inject("full", errFullQueue)
	default:
		h.t.Fatalf("line %s: unknown", h.where)
	}
}

func (h *chat) open(how string) {
	switch how {
	case "clear":
		h.c = h.r.dial()
	case "tls":
		h.c = h.r.dialTLS()
	case "net":
		h.c = h.r.byNet()
		h.all = append(h.all, h.c)
		return
	}
	h.all = append(h.all, h.c)
	h.c.expect("220 in-1.relay.test ESMTP", "banner")
}

func (h *chat) reply() string {
	h.t.Helper()
	got, err := h.c.tryReply()
	if err != nil {
		h.t.Fatalf("line %s: %v", h.where, err)
	}
	return got
}

func (h *chat) last() keptMessage {
	h.t.Helper()
	k := h.r.kept()
	if len(k) == 0 {
		h.t.Fatalf("line %s: nothing kept", h.where)
	}
	return k[len(k)-1]
}

func (h *chat) match(re, got string, want bool) {
	h.t.Helper()
	if regexp.MustCompile(re).MatchString(got) != want {
		h.t.Fatalf("line %s: got %q", h.where, got)
	}
}

func (h *chat) unquote(s string) string {
	h.t.Helper()
	u, err := strconv.Unquote(s)
	if err != nil {
		h.t.Fatalf("line %s: %v", h.where, err)
	}
	return h.expand(u)
}

var macro = regexp.MustCompile(`\{(plain|wrong|b64|pass|long) ?([^}]*)\}`)

func (h *chat) expand(s string) string {
	return macro.ReplaceAllStringFunc(s, func(m string) string {
		p := macro.FindStringSubmatch(m)
		switch p[1] {
		case "plain":
			return plain(p[2], h.r.pass[p[2]])
		case "wrong":
			return plain(p[2], "wrong")
		case "pass":
			return base64text(h.r.pass[p[2]])
		case "b64":
			return base64text(p[2])
		}
		n, err := strconv.Atoi(p[2])
		if err != nil {
			h.t.Fatal(err)
		}
		return strings.Repeat("a", n)
	})
}
