package links

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/textproto"
)

// Bounds of one message. What lies behind them is not read.
const (
	// MaxRead is how many octets of a message are read at most: the text that
	// people see comes before what is attached.
	MaxRead  = 512 << 10
	maxText  = 256 << 10 // decoded, of all text parts
	maxHead  = 64 << 10
	maxParts = 60
	maxDepth = 6
	maxHosts = 100
	maxTries = 2000 // what looks like a link
)

// Hosts are the hosts that the message's links lead to by http or https, as DNS
// names in lower case and ASCII, each once and 100 at most. Addresses in place of
// names are left out. It reads the text parts, 256 KB of them, and gives what can
// be read of a message that is broken.
func Hosts(r io.Reader) []string {
	f := &finder{seen: make(map[string]bool), left: maxText}
	b := bufio.NewReader(io.LimitReader(r, MaxRead))
	h, err := textproto.ReadHeader(b)
	if err != nil {
		f.text(f.read(b)) // behind the bad header
		return f.hosts
	}
	if e, err := message.New(message.Header{Header: h}, b); e != nil && !unreadable(err) {
		f.part(e, 0)
	}
	return f.hosts
}

// unreadable tells errors behind which there is nothing from those of a body that
// is only not decoded.
func unreadable(err error) bool {
	return err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err)
}

// finder gathers hosts.
type finder struct {
	hosts []string
	seen  map[string]bool // also as they are written
	left  int64           // octets of text that may be read
	buf   bytes.Buffer    // the last text
	parts int
	tries int
}

// full says whether nothing more is to be found.
func (f *finder) full() bool { return len(f.hosts) >= maxHosts || f.tries >= maxTries }

// read reads a text as far as there is room for it, and it can be decoded. It is
// valid until the next.
func (f *finder) read(r io.Reader) []byte {
	f.buf.Reset()
	f.buf.Grow(4 << 10)
	n, _ := f.buf.ReadFrom(io.LimitReader(r, f.left))
	f.left -= n
	return f.buf.Bytes()
}

// part reads one part and those within it.
func (f *finder) part(e *message.Entity, depth int) {
	if f.parts++; f.parts > maxParts || depth > maxDepth || f.full() {
		return
	}
	kind, _, _ := e.Header.ContentType()
	kind = strings.ToLower(strings.TrimSpace(kind))
	switch {
	case strings.HasPrefix(kind, "multipart/"):
		mr := e.MultipartReader()
		if mr == nil {
			return
		}
		for f.parts <= maxParts {
			p, err := mr.NextPart()
			if p == nil || unreadable(err) {
				return // the end, or what cannot be read any further
			}
			f.part(p, depth+1)
		}
	case kind == "message/rfc822" || kind == "message/global":
		if inner, err := message.ReadWithOptions(e.Body, &message.ReadOptions{MaxHeaderBytes: maxHead}); inner != nil && !unreadable(err) {
			f.part(inner, depth+1)
		}
	case kind == "text/html" || kind == "text/x-amp-html" || kind == "application/xhtml+xml":
		r := &io.LimitedReader{R: e.Body, N: f.left}
		f.html(r, 0)
		f.left = r.N
	case strings.HasPrefix(kind, "text/") || kind == "":
		f.text(f.read(e.Body))
	}
}
