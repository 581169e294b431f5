package lab

import (
	"bytes"
	"strings"
	"sync"
	"time"
)

// Mail is one message a mail exchanger took.
type Mail struct {
	N      uint64    `json:"n"` // 1 for the first of this lab
	At     time.Time `json:"at"`
	MX     string    `json:"mx"`
	Source string    `json:"source"` // IP the client came from
	EHLO   string    `json:"ehlo"`
	TLS    string    `json:"tls,omitempty"`
	From   string    `json:"from"`
	Rcpts  []string  `json:"rcpts"`
	Size   int64     `json:"size"` // octets behind DATA, without dot-stuffing
	// Body is the hash of what follows the header.
	Body       Hash   `json:"-"`
	BodyHex    string `json:"body"`
	MessageID  string `json:"message_id,omitempty"`
	ReceivedID string `json:"received_id,omitempty"` // of the newest Received field
	UID        string `json:"uid,omitempty"`
	Reference  string `json:"reference,omitempty"` // X-Relay-Ref: what a complaint is attributed by
	// Bare counts CR and LF that were not a pair; Early says that bytes of the
	// message came before the 354. Both are faults of the client.
	Bare  int  `json:"bare,omitempty"`
	Early bool `json:"early,omitempty"`
	// Text is the message, at most keepText octets, of mail that no load made.
	Text string `json:"text,omitempty"`
}

const (
	keepHead = 16 << 10 // octets of header looked into
	keepText = 64 << 10 // octets kept of a message of a person or a notice
	keepFull = 256      // how many such messages keep their text
)

// ID reads the mail's UID.
func (m *Mail) ID() (UID, bool) { return ParseUID(m.UID) }

// readHead fills in what the header says.
func (m *Mail) readHead(head []byte) {
	field := ""
	for line := range bytes.Lines(head) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return
		}
		if line[0] == ' ' || line[0] == '\t' {
			if field == "received" && m.ReceivedID == "" {
				m.ReceivedID = receivedID(string(line))
			}
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return
		}
		switch {
		case len(name) == len(UIDHeader) && bytes.EqualFold(name, []byte(UIDHeader)):
			m.UID = string(bytes.TrimSpace(value))
		case bytes.EqualFold(name, []byte(referenceHeader)):
			m.Reference = string(bytes.TrimSpace(value))
		case bytes.EqualFold(name, []byte("Message-ID")):
			m.MessageID = string(bytes.TrimSpace(value))
		case bytes.EqualFold(name, []byte("Received")):
			if field == "received" || m.ReceivedID != "" {
				field = "older"
				continue
			}
			field = "received"
			m.ReceivedID = receivedID(string(value))
			continue
		}
		if field == "received" && m.ReceivedID != "" {
			field = "older"
		} else if field != "older" {
			field = ""
		}
	}
}

// receivedID finds the "id" clause of a piece of a Received field (RFC 5321 §4.4).
func receivedID(s string) string {
	words := strings.Fields(s)
	for i, w := range words {
		if w == "id" && i+1 < len(words) {
			return strings.TrimRight(words[i+1], ";")
		}
	}
	return ""
}

// ring keeps the newest mails and counts all.
type ring struct {
	mu    sync.Mutex // guards what follows
	mails []Mail
	size  int
	total uint64
	texts []uint64 // numbers of the mails that still have their text
}

func newRing(size int) *ring { return &ring{size: size} }

// add numbers and keeps m.
func (r *ring) add(m *Mail) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	m.N = r.total
	if len(r.mails) < r.size {
		r.mails = append(r.mails, *m)
	} else {
		r.mails[(r.total-1)%uint64(r.size)] = *m
	}
	if m.Text == "" {
		return
	}
	r.texts = append(r.texts, m.N)
	if len(r.texts) > keepFull {
		if old := &r.mails[(r.texts[0]-1)%uint64(r.size)]; old.N == r.texts[0] {
			old.Text = ""
		}
		r.texts = r.texts[1:]
	}
}

// Filter narrows what Messages lists; zero fields match all.
type Filter struct {
	MX, Source, To, From, UID, ReceivedID, MessageID string
	// After skips mails up to that number.
	After uint64
	// Limit is at most 10,000; 0 means 100.
	Limit int
}

func (f Filter) match(m *Mail) bool {
	return (f.MX == "" || strings.EqualFold(f.MX, m.MX)) &&
		(f.Source == "" || f.Source == m.Source) &&
		(f.From == "" || strings.EqualFold(f.From, m.From)) &&
		(f.UID == "" || f.UID == m.UID) &&
		(f.ReceivedID == "" || f.ReceivedID == m.ReceivedID) &&
		(f.MessageID == "" || strings.Trim(f.MessageID, "<>") == strings.Trim(m.MessageID, "<>")) &&
		(f.To == "" || hasRcpt(m.Rcpts, f.To))
}

// hasRcpt takes an address, or "@domain" for any address there.
func hasRcpt(rcpts []string, to string) bool {
	for _, r := range rcpts {
		if strings.EqualFold(r, to) || (strings.HasPrefix(to, "@") && len(r) > len(to) && strings.EqualFold(r[len(r)-len(to):], to)) {
			return true
		}
	}
	return false
}

// list gives matching mails, oldest first; without After the newest ones.
func (r *ring) list(f Filter) (mails []Mail, total uint64) {
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	limit = min(limit, 10_000)
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := uint64(1)
	if n := uint64(len(r.mails)); r.total > n {
		oldest = r.total - n + 1
	}
	at := func(n uint64) *Mail { return &r.mails[(n-1)%uint64(r.size)] }
	if f.After > 0 {
		for n := max(oldest, f.After+1); n <= r.total && len(mails) < limit; n++ {
			if m := at(n); f.match(m) {
				mails = append(mails, *m)
			}
		}
		return mails, r.total
	}
	for n := r.total; n >= oldest && n > 0 && len(mails) < limit; n-- {
		if m := at(n); f.match(m) {
			mails = append(mails, *m)
		}
	}
	for i, j := 0, len(mails)-1; i < j; i, j = i+1, j-1 {
		mails[i], mails[j] = mails[j], mails[i]
	}
	return mails, r.total
}
