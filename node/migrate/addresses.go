package migrate

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"postern/node/admin"
	"postern/tenant"
)

// Bounds of a list of addresses.
const (
	MaxAddresses     = 1_000_000
	maxAddressLine   = 4096 // octets of one line
	AddressesAtOnce  = 1000 // of one part
	maxAddressReason = 400  // octets
)

// NoAddress is a line of a list that names no address, and why.
type NoAddress struct {
	Line int
	Text string // its first words
	Why  string
}

func (e *NoAddress) Error() string { return fmt.Sprintf("line %d: %q %s", e.Line, e.Text, e.Why) }

// ReadAddresses gives the addresses of a list in parts: plain lines, CSV, whose
// first column is the address and the second, if any, why, or a Postfix access
// table, of which those count that are refused or discarded. What postern wrote
// is read back. A first line without an address is a heading. What names no
// address goes to skip, whose error ends it.
func ReadAddresses(in io.Reader, take func([]admin.SuppressAddress) error, skip func(*NoAddress) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, maxAddressLine), maxAddressLine)
	r := &addressReader{skip: skip}
	var part []admin.SuppressAddress
	for no := 1; lines.Scan(); no++ {
		x, ok, err := r.line(no, lines.Text())
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if r.n++; r.n > MaxAddresses {
			return fmt.Errorf("read addresses: more than %d; split the file", MaxAddresses)
		}
		if part = append(part, x); len(part) == AddressesAtOnce {
			if err := take(part); err != nil {
				return err
			}
			part = nil
		}
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("a line is longer than %d octets", maxAddressLine)
		}
		return fmt.Errorf("read addresses: %w", err)
	}
	if len(part) == 0 {
		return nil
	}
	return take(part)
}

type addressReader struct {
	skip    func(*NoAddress) error
	heading []string
	n       int
}

func (r *addressReader) line(no int, text string) (x admin.SuppressAddress, ok bool, err error) {
	text = strings.TrimSpace(strings.TrimPrefix(text, "\ufeff"))
	if text == "" || strings.HasPrefix(text, "#") {
		return x, false, nil
	}
	if key, action, found := accessLine(text); found {
		return r.access(no, key, action)
	}
	c := csv.NewReader(strings.NewReader(text))
	c.LazyQuotes = true
	row, err := c.Read()
	if err != nil {
		return x, false, fmt.Errorf("read addresses: line %d: %w", no, err)
	}
	x = addressOf(row, r.heading)
	if tenant.ValidAddress(strings.ToLower(x.Address)) {
		return x, true, nil
	}
	if r.n == 0 && r.heading == nil {
		r.heading = row
		return x, false, nil
	}
	return x, false, r.skip(&NoAddress{no, clip(x.Address), "is no address"})
}

// accessLine reads a line of an access(5) table: a key, and what to do.
func accessLine(text string) (key, action string, ok bool) {
	n := strings.IndexAny(text, " \t")
	if n < 0 || strings.ContainsAny(text[:n], `,;"`) {
		return "", "", false
	}
	key, action = text[:n], strings.TrimSpace(text[n:])
	verb, _, _ := strings.Cut(action, " ")
	switch strings.ToUpper(verb) {
	case "REJECT", "DISCARD", "HOLD", "OK", "DUNNO", "PERMIT", "DEFER", "DEFER_IF_PERMIT", "DEFER_IF_REJECT", "WARN", "INFO", "FILTER", "REDIRECT", "PREPEND", "BCC":
		return key, action, true
	}
	code := len(verb) == 3 && (verb[0] == '4' || verb[0] == '5') && verb[1] >= '0' && verb[1] <= '9' && verb[2] >= '0' && verb[2] <= '9'
	return key, action, code
}

func (r *addressReader) access(no int, key, action string) (x admin.SuppressAddress, ok bool, err error) {
	if r.heading == nil {
		r.heading = []string{} // what comes is no heading
	}
	verb, why, _ := strings.Cut(action, " ")
	if verb = strings.ToUpper(verb); verb != "REJECT" && verb != "DISCARD" && verb[0] != '5' {
		return x, false, r.skip(&NoAddress{no, clip(key), "is not refused for good: " + verb})
	}
	if verb[0] == '5' {
		why = action
	}
	x = admin.SuppressAddress{Address: key, Text: cut(strings.TrimSpace(why))}
	if !tenant.ValidAddress(strings.ToLower(key)) {
		return x, false, r.skip(&NoAddress{no, clip(key), "is no address"})
	}
	return x, true, nil
}

// addressOf reads a row; of a file that postern wrote the reply is the reason.
func addressOf(row, heading []string) admin.SuppressAddress {
	x := admin.SuppressAddress{Address: strings.TrimPrefix(strings.TrimSpace(row[0]), "'")}
	at := func(name string) string {
		if i := slices.Index(heading, name); i >= 0 && i < len(row) {
			return row[i]
		}
		return ""
	}
	switch {
	case slices.Contains(heading, "reason"):
		if at("reason") == "complaint" {
			x.Reason = "complaint"
		}
		x.Text = strings.TrimSpace(strings.Join([]string{at("code"), at("status"), at("text")}, " "))
	case len(row) > 1:
		x.Text = strings.TrimSpace(row[1])
	}
	x.Text = cut(x.Text)
	return x
}

func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxAddressReason)], "") }
