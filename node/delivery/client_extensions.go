package delivery

import (
	"bytes"
	"strconv"
)

// extensions are what a host offers in its EHLO reply and we can use.
type extensions struct {
	pipelining, eightBit, utf8, dsn, startTLS, hasSize bool

	size int64 // the largest message taken; 0: not said
}

// read takes one line of the EHLO reply. Keywords have no case (RFC 5321 §4.1.1.1).
func (e *extensions) read(line []byte) {
	word, rest, _ := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
	switch string(bytes.ToUpper(word)) {
	case "PIPELINING":
		e.pipelining = true
	case "8BITMIME":
		e.eightBit = true
	case "SMTPUTF8":
		e.utf8 = true
	case "DSN":
		e.dsn = true
	case "STARTTLS":
		e.startTLS = true
	case "SIZE":
		e.hasSize = true
		// No number, zero or nonsense: no fixed limit is known (RFC 1870 §4).
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(rest)), 10, 64); err == nil && n > 0 {
			e.size = n
		}
	}
}
