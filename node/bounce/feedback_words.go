package bounce

import "strings"

// Words by which a report without a status part is known for a bounce.
var (
	bounceSubjects = []string{
		"undeliver", "delivery status notification", "delivery failure", "failure notice", "returned mail", "mail delivery failed",
		"delivery failed", "mail delivery system", "non-delivery", "nondeliverable", "could not be delivered", "message not delivered",
		"delivery notification", "mail system error", "permanent delivery failure", "unzustellbar", "nicht zugestellt", "unzustellbarkeit",
		"mancata consegna", "messaggio non recapitato", "non remis", "échec de la remise", "no se puede entregar", "warning: could not send",
		"delivery delayed", "message delayed", "delivery has been delayed", "delayed mail"}
	bounceSenders = []string{"mailer-daemon", "postmaster", "mail-daemon", "maildaemon", "mdaemon", "mailerdaemon", "mailer_daemon"}
	delayWords    = []string{"delay", "could not send message for past", "still trying", "not yet been delivered", "will be retried", "verzögert"}
	replySubjects = []string{"out of office", "automatic reply", "auto reply", "autoreply", "auto-reply", "auto response", "abwesenheit", "automatische antwort",
		"risposta automatica", "fuori ufficio", "réponse automatique", "vacation", "respuesta automática"}
	// Behind these lines the original begins.
	originalMarks = []string{
		"--- below this line is a copy of the message", "------ this is a copy of", "----- original message", "-----original message",
		"original message follows", "--- the header of the original message", "----- message header follows", "--- original message",
		"message headers follow", "--- unsent message below", "----- unsent message", "the original message was:", "original message headers:",
		"--- returned message", "----- transcript of message follows", "received:", "return-path:"}
)

func hasAny(s string, words []string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// saysBounce reports whether the report's own header looks like a bounce's.
func (r *reader) saysBounce() bool {
	if r.field("x-failed-recipients") != "" || hasAny(strings.ToLower(r.field("subject")), bounceSubjects) {
		return true
	}
	from := strings.ToLower(mailbox(r.field("from")))
	if from == "" {
		from = strings.ToLower(r.field("from"))
	}
	local, _, _ := strings.Cut(from, "@")
	return hasAny(local, bounceSenders)
}

// saysReply reports whether it is somebody's automatic answer.
func (r *reader) saysReply() bool {
	auto := strings.ToLower(r.field("auto-submitted"))
	return auto != "" && auto != "no" && !strings.HasPrefix(auto, "auto-generated") ||
		r.field("x-autoreply") != "" || r.field("x-autorespond") != "" || hasAny(strings.ToLower(r.field("subject")), replySubjects)
}

// maxLines bounds the lines of text that are read for recipients.
const maxLines = 2000

// wordRcpts reads the recipients out of a bounce that has no status part, and
// what stands behind its text of the original.
func (r *reader) wordRcpts() []FeedbackRcpt {
	var list []FeedbackRcpt
	text, now := r.text.String(), -1
	lower := strings.ToLower(r.field("subject"))
	action := Failed
	if hasAny(lower, delayWords) {
		action = Delayed
	}
	failed := func(addr string) {
		for i := range list {
			if strings.EqualFold(list[i].Addr, addr) {
				now = i
				return
			}
		}
		if len(list) < maxFailed {
			list, now = append(list, FeedbackRcpt{Addr: addr, Action: action}), len(list)
		}
	}
	for _, a := range strings.Split(r.field("x-failed-recipients"), ",") {
		if a = mailbox(a); a != "" {
			failed(a)
		}
	}
	named := len(list) > 0
	now = -1
	n, before := 0, 0 // octets that stand before the original
	for line := range strings.Lines(text) {
		if n++; n > maxLines {
			break
		}
		flat := flatten([]byte(strings.TrimSpace(line)))
		if beginsWithAny(strings.ToLower(flat), originalMarks) {
			break
		}
		before += len(line)
		switch addr, rest := addressLine(flat); {
		case addr != "":
			if failed(addr); rest != "" && now >= 0 {
				list[now].Text = rest
			}
		case flat != "" && now >= 0 && len(list[now].Text) < maxRead:
			list[now].Text = strings.TrimSpace(list[now].Text + " " + flat)
		}
	}
	text = text[:before]
	if len(list) == 0 {
		if a := onlyAddress(text); a != "" {
			failed(a)
		}
	}
	if len(list) == 1 && list[0].Text == "" || named && len(list) > 0 && list[0].Text == "" {
		list[0].Text = flatten([]byte(cutText(strings.Join(strings.Fields(text), " "), maxRead)))
	}
	for i := range list {
		rc := &list[i]
		rc.Text = cutText(rc.Text, maxRead)
		rc.Status = statusIn(rc.Text)
		rc.read("")
	}
	return list
}

// onlyAddress gives the one address in angle brackets that a text names, or "".
func onlyAddress(text string) string {
	found := ""
	for line := range strings.Lines(text) {
		for rest := flatten([]byte(line)); ; {
			i := strings.IndexByte(rest, '<')
			if i < 0 {
				break
			}
			rest = rest[i:]
			a := mailbox(rest[:min(len(rest), maxFeedAddr+2)])
			if a != "" && domainOf(a) != "" && !strings.EqualFold(a, found) {
				if found != "" {
					return ""
				}
				found = a
			}
			rest = rest[1:]
		}
	}
	return found
}

func beginsWithAny(s string, words []string) bool {
	s = strings.TrimLeft(s, ">| ")
	for _, w := range words {
		if strings.HasPrefix(s, w) || strings.HasPrefix(w, "--") && strings.HasPrefix(strings.TrimLeft(s, "-"), strings.TrimLeft(w, "-")) && strings.HasPrefix(s, "--") {
			return true
		}
	}
	return false
}

// addressLine reads a line that names a recipient: "<a@b.c>:", "a@b.c",
// "<a@b.c>: reason", "Recipient: a@b.c", "a@b.c (expanded from …)".
func addressLine(s string) (addr, rest string) {
	for _, label := range []string{"recipient:", "recipient address:", "to:", "failed recipient:", "address:", "user:"} {
		if len(s) > len(label) && strings.EqualFold(s[:len(label)], label) {
			return mailbox(s[len(label):]), ""
		}
	}
	word := s
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		word, rest = s[:i], strings.TrimSpace(s[i:])
	}
	bare := strings.Trim(word, "<>:;,\"'()*")
	at := strings.LastIndexByte(bare, '@')
	if at < 1 || domainOf(bare) == "" || strings.ContainsAny(bare, "<>:,;/=") || len(bare) > maxFeedAddr {
		return "", ""
	}
	switch {
	case rest == "" || strings.HasSuffix(word, ":"):
		return bare, rest
	case rest[0] == '(' || strings.HasPrefix(rest, "on ") || rest[0] == '-' || strings.HasPrefix(rest, "..."):
		return bare, rest
	case word[0] == '<' && word[len(word)-1] == '>':
		return bare, rest
	}
	return "", ""
}
