package report

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"postern/tenant"
)

// Message is a notice for people.
type Message struct {
	ID      string // stable: a notice that is sent again has the same
	Subject string
	Body    string
	Date    time.Time
}

// Payload is a notice for a program: what a webhook is given.
type Payload struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Act     string    `json:"act"`
	Subject string    `json:"subject"`
	Why     string    `json:"why,omitempty"`
	Case    uint64    `json:"case,omitempty"`
	Seq     uint64    `json:"journal_seq"`
	Hash    string    `json:"journal_hash,omitempty"` // kept elsewhere, it shows a journal that was written anew
	Text    string    `json:"text"`
}

// noticeID names a notice for ever: mail servers and programs know by it what
// they have had already.
func noticeID(st *tenant.State, n *tenant.Notice) string {
	cluster := "alone"
	if a := st.Authority(); a != nil {
		cluster = hex.EncodeToString(a.Cluster[:])
	}
	return fmt.Sprintf("notice-%d-%s", n.ID, cluster)
}

// Notice writes a notice for whom it is for: the operator reads what happened and
// what to do, a tenant what it means for its mail and nothing of others.
func Notice(st *tenant.State, n *tenant.Notice) Message {
	m := Message{ID: noticeID(st, n), Date: n.At}
	if n.Tenant != 0 {
		m.Subject, m.Body = tenantNotice(n)
		return m
	}
	m.Subject = "Postern: " + n.Act + " " + n.Subject
	m.Body = operatorNotice(st, n)
	return m
}

// Webhook is the body a webhook is given.
func Webhook(st *tenant.State, n *tenant.Notice) (id string, body []byte, err error) {
	p := Payload{ID: noticeID(st, n), At: n.At, Act: n.Act, Subject: n.Subject, Why: n.Why, Case: n.Case, Seq: n.Entry, Text: operatorNotice(st, n)}
	if e := st.JournalEntry(n.Entry); e != nil {
		p.Hash = hex.EncodeToString(e.Hash[:])
	}
	body, err = json.Marshal(p)
	if err != nil {
		return "", nil, fmt.Errorf("write notice: %w", err)
	}
	return p.ID, body, nil
}

func operatorNotice(st *tenant.State, n *tenant.Notice) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("%s: %s %s", clock(n.At), n.Act, n.Subject)
	if n.Why != "" {
		say("%s", n.Why)
	}
	if n.Act == "domain listed" && strings.HasPrefix(n.Subject, "link ") {
		say("")
		say("Spammers advertise it. Whose mail links to it may be one, or had a password stolen.")
		say("Ask, and meanwhile: postern account hold USERNAME --reason TEXT")
		say("All of it: postern listing domains")
	} else if n.Act == "domain listed" {
		say("")
		say("Another IP does not help, so nobody is moved for it.")
		say("All of it: postern listing domains")
	}
	if c := st.Case(n.Case); c != nil {
		say("")
		for _, f := range c.Fates {
			name := "a tenant that is removed"
			if t := st.Tenant(f.Tenant); t != nil {
				name = t.Name
			}
			say("  %s %s: %s", name, f.Kind, f.Why)
		}
		_, next := Incident(st, c)
		if len(next) > 0 {
			say("")
			say("To do next:")
			for _, x := range next {
				say("- %s", x)
			}
		}
		say("")
		say("All of it: postern listing show %s", c.Addr)
	}
	if e := st.JournalEntry(n.Entry); e != nil {
		say("")
		say("Journal entry %d:%s", e.Seq, hex.EncodeToString(e.Hash[:]))
	}
	return b.String()
}

// tenantTexts are what an act means for a tenant's mail. They say nothing of
// others, nor of how it was found out.
var tenantTexts = map[string]struct{ subject, body string }{
	"hold":    {"Sending is stopped", "Sending by %s was stopped at %s.\n\nNew messages are refused for now; what was accepted is kept and waits. Please contact us to\nsettle the matter.\n"},
	"suspend": {"The account is suspended", "Sending by %s was suspended at %s.\n\nNew messages are refused for now; what was accepted is kept and waits. Please contact us to\nsettle the matter.\n"},
	"close":   {"The account is closed", "Sending by %s was stopped for good at %s.\n\nPlease contact us if you have questions.\n"},
	"release": {"Sending goes on", "Sending by %s goes on since %s. What waited leaves now.\n"},
	"move":    {"Your mail leaves by another server", "Since %[2]s the mail of %[1]s leaves by another of our servers. You need not change anything;\nnothing was lost.\n"},
	"wait":    {"Your mail waits", "Since %[2]s the mail of %[1]s waits: the server it leaves by cannot be used just now. Nothing is\nlost, new messages are accepted, and all leaves as soon as it can. Messages expire later by as\nmuch as they wait.\n"},
}

func tenantNotice(n *tenant.Notice) (subject, body string) {
	x, ok := tenantTexts[n.Act]
	if !ok {
		return "About your mail", fmt.Sprintf("%s: %s\n", clock(n.At), n.Subject)
	}
	body = fmt.Sprintf(x.body, n.Subject, clock(n.At))
	// What stopped a tenant by an operator's hand has the operator's words, which
	// its screens show, too; a case's are not for tenants.
	if n.Case == 0 && n.Why != "" && (n.Act == "hold" || n.Act == "close" || n.Act == "suspend") {
		body += "\nReason: " + n.Why + "\n"
	}
	return x.subject, body
}
