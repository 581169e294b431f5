package bounce

import (
	"net/mail"
	"strings"
)

// clues gathers what may tell the message: the fields of the report first, then
// the original's header, then the words, where somebody quoted a header.
func (r *reader) clues(c *Clues) {
	for _, f := range r.status {
		switch f.name {
		case "original-envelope-id":
			addClue(&c.EnvIDs, f.value)
		case "arrival-date":
			if at, err := mail.ParseDate(f.value); err == nil && c.Arrived.IsZero() {
				c.Arrived = at
			}
		}
	}
	for _, f := range r.feedback {
		switch f.name {
		case "original-envelope-id":
			addClue(&c.EnvIDs, f.value)
		case "original-mail-from":
			addClue(&c.Returns, mailbox(f.value))
		case "arrival-date", "received-date":
			if at, err := mail.ParseDate(f.value); err == nil && c.Arrived.IsZero() {
				c.Arrived = at
			}
		case "source-ip":
			if a, ok := addressIn(f.value); ok {
				c.addSource(a)
			}
		case "reported-domain":
			addClue(&c.Domains, domainOf(f.value))
		}
	}
	c.header(r.original)
	c.quoted(r.text.String())
	// The report may be an answer that quotes nothing but the message it means.
	addClue(&c.MessageIDs, messageID(r.field("in-reply-to")))
	for _, id := range strings.Fields(r.field("references")) {
		addClue(&c.MessageIDs, messageID(id))
	}
	if a, ok := addressIn(r.field("x-source-ip")); ok {
		c.addSource(a)
	}
	if a, ok := addressIn(r.field("subject")); ok {
		c.addSource(a)
	}
}

// header reads the original's header.
func (c *Clues) header(list []headField) {
	for _, f := range list {
		switch f.name {
		case refName:
			addClue(&c.Refs, strings.Join(strings.Fields(f.value), ""))
		case "return-path", "x-original-return-path":
			addClue(&c.Returns, mailbox(f.value))
		case "message-id":
			addClue(&c.MessageIDs, messageID(f.value))
		case "from":
			addClue(&c.Domains, domainOf(mailbox(f.value)))
		case "dkim-signature":
			addClue(&c.Domains, domainOf(tag(f.value, "d")))
		case "received":
			addClue(&c.Received, transactionIn(f.value))
		case "x-originating-ip", "x-sid-pra-ip":
			if a, ok := addressIn(f.value); ok {
				c.addSource(a)
			}
		}
	}
}

// quoted looks for a header in text, quoted or not, and for addresses.
func (c *Clues) quoted(text string) {
	n, pending := 0, ""
	for line := range strings.Lines(text) {
		if n++; n > maxLines {
			return
		}
		s := flatten([]byte(strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(line), ">| "))))
		s = s[:min(len(s), maxValue)]
		name, value, ok := strings.Cut(s, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		value = strings.TrimSpace(value)
		if pending != "" && !ok && s != "" { // the field was folded
			name, value = pending, s
		}
		pending = ""
		switch name {
		case refName, "message-id", "return-path", "received":
			if value == "" {
				pending = name
			}
			c.header([]headField{{name, value}})
		case "original-mail-from", "source-ip", "ip", "ip address":
			if a, ok := addressIn(value); ok {
				c.addSource(a)
			}
		default:
			if i := strings.Index(s, " id "); i >= 0 && strings.Contains(s, " by ") {
				addClue(&c.Received, transactionIn(s))
			}
			c.named(s)
		}
	}
}

// named takes the IP literals of a line of text.
func (c *Clues) named(s string) {
	for word := range strings.FieldsFuncSeq(s, func(ch rune) bool { return ch > 0x7f || !literalOctet(byte(ch)) }) {
		if a, ok := literal(word); ok && (a.Is4() || strings.Count(word, ":") > 2) && !a.IsLoopback() {
			c.addSource(a)
		}
	}
}

// messageID takes "<a@b>" out of a value.
func messageID(s string) string {
	i := strings.IndexByte(s, '<')
	if i < 0 {
		return ""
	}
	j := strings.IndexByte(s[i:], '>')
	if j < 2 || j > 250 {
		return ""
	}
	return s[i : i+j+1]
}

// tag reads one tag of a DKIM signature.
func tag(s, name string) string {
	for part := range strings.SplitSeq(s, ";") {
		k, v, ok := strings.Cut(part, "=")
		if ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// transactionIn finds the id of a Received line of ours: 32 hexadecimal digits
// behind the word id.
func transactionIn(s string) string {
	for {
		i := strings.Index(s, "id ")
		if i < 0 {
			return ""
		}
		if s = s[i+3:]; len(s) >= 32 && strings.Trim(s[:32], "0123456789abcdef") == "" && (len(s) == 32 || !alnum(s[32])) {
			return s[:32]
		}
	}
}
