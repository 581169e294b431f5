package dnsbl

import (
	"errors"
	"path/filepath"
	"strings"
)

// secret is a zone's key. Whatever prints it prints the mask, or an address: fmt
// reaches into structs that hold it without asking its methods, so the text lies
// behind a pointer. Only the name of a question holds it.
type secret struct{ key *string }

func newSecret(text string) secret { return secret{&text} }

func (s secret) text() string {
	if s.key == nil {
		return ""
	}
	return *s.key
}

const mask = "[key]"

func (s secret) String() string {
	if s.text() == "" {
		return ""
	}
	return mask
}

// GoString keeps the key out of %#v as well.
func (s secret) GoString() string { return s.String() }

// MarshalText keeps the key out of every encoding.
func (s secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// hide takes the key out of a text that came from elsewhere, such as a list's
// own words, whatever its case.
func (s secret) hide(text string) string {
	if s.text() == "" {
		return text
	}
	var b strings.Builder
	for low := lower(text); ; {
		at := strings.Index(low, s.text())
		if at < 0 {
			return b.String() + text
		}
		b.WriteString(text[:at] + mask)
		low, text = low[at+len(s.text()):], text[at+len(s.text()):]
	}
}

var (
	errNoCredentials = errors.New("there is no directory of credentials; start with systemd's LoadCredential=, or use key_file")
	errKeyForm       = errors.New("it is not one word of letters, digits and hyphens, 8 to 63 of them")
)

func (z *Zone) readKey(beside, credentials string) error {
	name := z.KeyFile
	switch {
	case !z.Keyed():
		return nil
	case name != "" && !filepath.IsAbs(name):
		name = filepath.Join(beside, name)
	case name == "" && credentials == "":
		return errNoCredentials
	case name == "":
		name = filepath.Join(credentials, filepath.Base(z.KeyCredential))
	}
	text, err := readBounded(name, maxKeyFile)
	if err != nil {
		return err
	}
	key := strings.ToLower(strings.TrimSpace(string(text)))
	if len(key) < 8 || len(key) > 63 || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return errKeyForm // never the text: it may be most of a key
	}
	z.key = newSecret(key)
	return nil
}

// lower changes A-Z only, so that places in it are places in s.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
