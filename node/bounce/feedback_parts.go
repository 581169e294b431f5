package bounce

import (
	"bytes"
	"io"
	"strings"

	"github.com/emersion/go-message"
)

// reader gathers what a report's parts hold.
type reader struct {
	head  []headField // of the report itself
	text  strings.Builder
	parts int

	status   []headField // of the delivery status
	feedback []headField // of the feedback report
	original []headField // the original's header
	redacted bool        // an original was there and is unreadable
}

// message reads the report itself. A header too bad for the library leaves the
// words, which are read as one text.
func (r *reader) message(b []byte) {
	for bytes.HasPrefix(b, []byte("From ")) || bytes.HasPrefix(b, []byte(">From ")) { // of a mailbox file
		_, b, _ = bytes.Cut(b, []byte{'\n'})
	}
	head, body := b[:min(len(b), maxHead)], []byte(nil)
	r.head, body = scanFields(head, false)
	body = b[len(head)-len(body):]
	e, err := message.ReadWithOptions(bytes.NewReader(b), &message.ReadOptions{MaxHeaderBytes: maxHead})
	if e == nil || unreadable(err) {
		e, err = r.mended(body)
	}
	if e == nil || unreadable(err) {
		r.words(bytes.NewReader(body))
		return
	}
	r.part(e, 0)
}

// mended reads the body under what could be made out of a bad header.
func (r *reader) mended(body []byte) (*message.Entity, error) {
	var h message.Header
	for _, name := range []string{"Content-Type", "Content-Transfer-Encoding"} {
		if v := r.field(strings.ToLower(name)); v != "" {
			h.Set(name, v)
		}
	}
	return message.New(h, bytes.NewReader(body))
}

// unreadable tells errors behind which there is nothing from those of a body
// that is only not decoded.
func unreadable(err error) bool {
	return err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err)
}

// part reads one part and those within it.
func (r *reader) part(e *message.Entity, depth int) {
	if r.parts++; r.parts > maxParts || depth > maxDepth {
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
		for r.parts <= maxParts {
			p, err := mr.NextPart()
			if p == nil || unreadable(err) {
				return // the end, or what cannot be read any further
			}
			r.part(p, depth+1)
		}
	case kind == "message/delivery-status" || kind == "message/global-delivery-status":
		r.status = append(r.status, r.fields(e.Body)...)
	case kind == "message/feedback-report":
		r.feedback = append(r.feedback, r.fields(e.Body)...)
	case kind == "message/rfc822" || kind == "message/global" || kind == "text/rfc822-headers" ||
		kind == "message/rfc822-headers" || kind == "message/global-headers" || kind == "text/rfc822-header":
		r.returned(e.Body)
	case strings.HasPrefix(kind, "text/") || kind == "":
		r.words(e.Body)
	}
}

// fields reads a part that is made of fields and nothing else.
func (r *reader) fields(body io.Reader) []headField {
	b, _ := io.ReadAll(io.LimitReader(body, maxText)) // what could be decoded
	list, _ := scanFields(b, true)
	return append(list, headField{})
}

// returned reads the header of the original. An original that is a report
// itself is read no further.
func (r *reader) returned(body io.Reader) {
	b, _ := io.ReadAll(io.LimitReader(body, maxHead))
	list, _ := scanFields(b, false)
	if len(list) == 0 {
		r.redacted = true
		return
	}
	r.original = append(r.original, list[:min(len(list), maxFields-min(len(r.original), maxFields))]...)
}

// words keeps text for what no field says.
func (r *reader) words(body io.Reader) {
	room := maxText - r.text.Len()
	if room <= 0 {
		return
	}
	b, _ := io.ReadAll(io.LimitReader(body, int64(room)))
	r.text.Write(b)
	r.text.WriteByte('\n')
}

// field gives the first field of a name in the report's own header.
func (r *reader) field(name string) string { return first(r.head, name) }

func first(list []headField, name string) string {
	for _, f := range list {
		if f.name == name {
			return f.value
		}
	}
	return ""
}
