package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"postern/node/lab"
)

// screen prints lines, and on a terminal keeps the footer below them.
type screen struct {
	out interface{ Write([]byte) (int, error) }
	tty bool

	mu     sync.Mutex // guards what follows
	footer string
	shown  bool
}

func newScreen(out interface{ Write([]byte) (int, error) }) *screen {
	s := &screen{out: out}
	if f, ok := out.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		s.tty = err == nil
	}
	return s
}

// say prints one line above the footer.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	if s.shown {
		b.WriteString("\r\x1b[K")
	}
	fmt.Fprintf(&b, format, args...)
	b.WriteByte('\n')
	if s.shown {
		b.WriteString(s.footer)
	}
	_, _ = s.out.Write([]byte(b.String()))
}

// sayFolded says a line, or several with the rest set in.
func (d *demo) sayFolded(format string, args ...any) {
	mark := ""
	for _, line := range fold(clean(fmt.Sprintf(format, args...)), wide-utf8.RuneCountInString("  ")) {
		d.screen.say("%s%s", mark, line)
		mark = "  "
	}
}

// foot shows the footer: in place on a terminal, else as a line of its own.
func (s *screen) foot(text string) {
	if !s.tty {
		s.say("%s", text)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown && s.footer == text {
		return
	}
	s.footer, s.shown = text, true
	_, _ = s.out.Write([]byte("\r\x1b[K" + text))
}

// end leaves the last footer as a line.
func (s *screen) end(c lab.Counts) {
	s.mu.Lock()
	clear := s.shown
	s.shown = false
	s.mu.Unlock()
	if clear {
		_, _ = s.out.Write([]byte("\r\x1b[K"))
	}
	s.say("%s", footerOf(c))
}

func footerOf(c lab.Counts) string {
	s := fmt.Sprintf("accepted %d  delivered %d  bounced %d  queued %d  lost %d  twice %d",
		c.Accepted, c.Delivered, c.Bounced, c.Queued, c.Lost, c.Twice)
	if c.Cancelled > 0 {
		s += fmt.Sprintf("  cancelled %d", c.Cancelled)
	}
	return s
}

// counts is the ledger with the mail of people that waits in the queue.
func (d *demo) counts() lab.Counts {
	c := d.ledger.Counts()
	d.mu.Lock()
	defer d.mu.Unlock()
	c.Accepted += d.queued
	c.Queued += d.queued
	return c
}

const (
	footEvery  = 250 * time.Millisecond
	plainEvery = 10 * time.Second
)

// foot keeps the footer: often on a terminal; else every ten seconds, and at
// once when something is lost or came twice.
func (d *demo) foot(ctx context.Context) error {
	tick := time.NewTicker(footEvery)
	defer tick.Stop()
	var last time.Time
	var lost, twice int64
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			c := d.counts()
			if d.screen.tty || now.Sub(last) >= plainEvery || c.Lost != lost || c.Twice != twice {
				d.screen.foot(footerOf(c))
				last, lost, twice = now, c.Lost, c.Twice
			}
		}
	}
}

// welcome is the first screen: what runs where, who may send, and how.
func (d *demo) welcome(ctx context.Context) {
	st := d.dir.state
	say := d.screen.say
	if len(d.nodes) == 1 {
		say("Postern demo: a node and a pretend Internet. Nothing leaves this machine.")
	} else {
		say("Postern demo: %d nodes and a pretend Internet. Nothing leaves this machine.", len(d.nodes))
	}
	say("")
	for _, m := range d.nodes {
		say("node %s (pid %d)", m.name, m.proc.pid)
		say("  submission  %s, %s (STARTTLS), %s (TLS)", hostPort(m.ports.Submission), hostPort(m.ports.Submission2), hostPort(m.ports.SubmissionTLS))
		say("  intake      %s (bounces and complaints: abuse@smtp.%s)", hostPort(m.ports.Intake), demoDomain)
		say("  API         http://%s   metrics http://%s/metrics", hostPort(m.ports.Admin), hostPort(m.ports.Metrics))
	}
	say("lab")
	say("  DNS %s   API http://%s", d.lab.DNS(), d.lab.API())
	say("  (GET /messages; PUT /mood/MX, /dns, /listing/IP, /listing/DOMAIN)")
	say("state, logs, CA (ca.pem), demo.json")
	say("  %s", d.dir.path)
	say("operator's verbs, such as postern tenant list or postern top, after")
	say("  export POSTERN_API=http://%s", hostPort(d.nodes[0].ports.Admin))
	say("  export POSTERN_TOKEN_FILE=%s", d.nodes[0].tokens)
	say("")
	say("%-17s %-33s %s", "username", "password", "leaves by; plan")
	for i, t := range st.Tenants {
		home, backup := demoPlaces(i, len(d.nodes))
		by := first(home.Source, "pool")
		if backup != nil {
			by = home.Node + ", backup " + backup.Node
		}
		line := fmt.Sprintf("%-17s %-33s %s", t.Username, t.Password, by)
		if says := "; " + planOf(i).says; len(line)+len(says) <= 80 {
			line += says
		}
		say("%s", line)
	}
	if len(d.nodes) == 1 {
		say("The pool is 127.77.1.12; %s has %s.", st.Tenants[0].Username, demoPlans()[0].says)
	} else {
		say("Node n1's pool is 127.77.1.12, nN's are 127.77.N.12 and .13; %s", st.Tenants[0].Username)
		say("has a plan of millions and its own sources: 127.77.1.11, as backup 127.77.2.11.")
	}
	d.firstMessage(st.Tenants[0])
	say("Other recipients: anyone at secure.test (TLS), grey.test (comes after 5 s),")
	say("nobody.test (550), busy.test (451), full.test (452), slow.test, hangup.test,")
	say("forgetful.test (comes twice), blackhole.test, blocked.test, nullmx.test,")
	say("servfail.test, gone.test, sixfirst.test, spare.test, implicit.test, trap.test.")
	say("")
	d.invite(ctx)
	d.inviteListing()
	d.inviteSpam()
	say("What becomes of your message is said here. Ctrl-C ends the demo.")
	say("")
}

// firstMessage shows how to send with programs people have, ready to paste.
func (d *demo) firstMessage(t demoTenant) {
	p, say := d.nodes[0].ports, d.screen.say
	ca := d.dir.file("ca.pem")
	say("")
	// Nothing is indented: what is pasted must run as it stands.
	say("Send a first message with curl:")
	say("")
	say(`printf 'From: %s\nSubject: hello\n\nHello!\n' |`, t.Username)
	if len(d.nodes) == 1 {
		say(`curl -sS -T - --crlf --url smtp://%s --ssl-reqd \`, hostPort(p.Submission))
	} else { // a name with all nodes' addresses: curl tries one after the other
		name, port := "smtp."+demoDomain, d.dir.state.Ports.Any
		say(`curl -sS -T - --crlf --url smtp://%s:%d --ssl-reqd \`, name, port)
		var ips []string
		for i := range d.nodes {
			ips = append(ips, nodeIP(i, 1).String())
		}
		say(`  --resolve %s:%d:%s \`, name, port, strings.Join(ips, ","))
	}
	say(`  --cacert %s \`, ca)
	say(`  --user %s:%s \`, t.Username, t.Password)
	say(`  --mail-from %s --mail-rcpt you@inbox.test`, t.Username)
	say("")
	say("with swaks:")
	say("")
	say(`swaks --server %s --tls --auth PLAIN --au %s \`, hostPort(p.Submission), t.Username)
	say(`  --ap %s \`, t.Password)
	say(`  --from %s --to you@inbox.test`, t.Username)
	say("")
	say("with Python:")
	say("")
	say(`python3 - <<'EOF'`)
	say(`import smtplib, ssl`)
	say(`c = ssl.create_default_context(cafile="%s")`, ca)
	say(`s = smtplib.SMTP("%s", %d); s.starttls(context=c)`, demoHost, p.Submission)
	say(`s.login("%s", "%s")`, t.Username, t.Password)
	say(`s.sendmail("%s", "you@inbox.test",`, t.Username)
	say(`  "From: %s\nSubject: hello\n\nHello!\n")`, t.Username)
	say(`EOF`)
	say("")
}
