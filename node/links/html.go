package links

import (
	"bytes"
	"io"

	"golang.org/x/net/html"
)

// html finds the links of a page: in attributes that hold one, and in words, which
// mail programs make links of. Names of document types and of name spaces look
// like links and lead nowhere.
func (f *finder) html(r io.Reader, depth int) {
	z := html.NewTokenizer(r)
	for !f.full() {
		switch z.Next() {
		case html.ErrorToken:
			return
		case html.TextToken:
			if leads(z.Raw()) {
				f.text(z.Text())
			}
		case html.CommentToken:
			// One mail program reads what stands in such comments.
			if b := z.Text(); depth == 0 && bytes.HasPrefix(bytes.TrimSpace(b), []byte("[if")) {
				f.html(bytes.NewReader(b), depth+1)
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			if !leads(z.Raw()) {
				continue
			}
			_, more := z.TagName()
			for more && !f.full() {
				var key, value []byte
				key, value, more = z.TagAttr()
				f.attribute(string(key), value)
			}
		}
	}
}

// leads says whether a token may hold a link at all: most hold none, and need not
// be decoded.
func leads(raw []byte) bool {
	return bytes.IndexByte(raw, '/') >= 0 || bytes.IndexByte(raw, '.') >= 0 || bytes.IndexByte(raw, '&') >= 0 || bytes.IndexByte(raw, '%') >= 0 ||
		bytes.IndexByte(raw, '\\') >= 0
}

func (f *finder) attribute(key string, value []byte) {
	switch key {
	case "href", "xlink:href", "src", "action", "formaction", "background", "poster", "data", "longdesc":
		f.url(value)
	case "style", "content", "srcset", "onclick":
		f.text(value)
	}
}
