package bounce

import (
	"bytes"
	"strings"
)

// maxReturned is the longest line that is returned as it is (RFC 5321 §4.5.3.1.6).
const maxReturned = 998

// returned makes the third part: its type, its octets, and whether some are
// above 127. A message that cannot be carried unchanged gives its header only.
func returned(r Report) (kind string, body []byte, eight bool) {
	whole, header := "message/rfc822", "text/rfc822-headers"
	if r.UTF8 {
		whole, header = "message/global", "message/global-headers"
	}
	if len(r.Original) == 0 {
		return header, nil, false
	}
	if r.Full {
		if body := crlf(r.Original); carried(body) {
			return whole, body, !isASCII(string(body))
		}
	}
	w := &writer{utf8: r.UTF8}
	for line := range bytes.Lines(headerOf(r.Original)) {
		text := clean(string(bytes.TrimRight(line, "\r\n")), r.UTF8)
		for len(text) > maxLine {
			cut := len(text[:maxLine])
			for cut > 1 && text[cut]&0xc0 == 0x80 {
				cut--
			}
			w.raw(text[:cut] + "\r\n")
			text = " " + text[cut:]
		}
		if strings.TrimSpace(text) != "" { // an empty line would end the header
			w.raw(text + "\r\n")
		}
	}
	return header, w.take(), false
}

// headerOf is the part before the first empty line.
func headerOf(m []byte) []byte {
	end := len(m)
	for _, sep := range [...]string{"\r\n\r\n", "\n\n"} {
		if i := bytes.Index(m, []byte(sep)); i >= 0 && i < end {
			end = i
		}
	}
	return m[:end]
}

// crlf ends every line with CRLF: a notice that has a bare CR or LF could not
// be sent.
func crlf(m []byte) []byte {
	if !bytes.HasSuffix(m, []byte("\n")) {
		m = append(bytes.Clone(m), '\n')
	}
	m = bytes.ReplaceAll(m, []byte("\r\n"), []byte("\n"))
	m = bytes.ReplaceAll(m, []byte("\r"), []byte("\n"))
	return bytes.ReplaceAll(m, []byte("\n"), []byte("\r\n"))
}

// carried reports whether a message can be a part as it is.
func carried(m []byte) bool {
	if bytes.IndexByte(m, 0) >= 0 {
		return false
	}
	for line := range bytes.Lines(m) {
		if len(line) > maxReturned+2 {
			return false
		}
	}
	return true
}

// originalID is the Message-ID of the message the report is about, or "".
func originalID(m []byte) string {
	for line := range bytes.Lines(headerOf(m)) {
		name, value, ok := strings.Cut(string(line), ":")
		if ok && strings.EqualFold(strings.TrimSpace(name), "Message-ID") {
			if id := strings.TrimSpace(value); msgID(id) {
				return id
			}
			return ""
		}
	}
	return ""
}
