package delivery

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"
)

func TestReadReply(t *testing.T) {
	long := strings.Repeat("250-0123456789\r\n", maxReplyLines-1)
	cases := []struct {
		in       string
		code     int
		enhanced string
		text     string
		err      error
	}{
		{"250 ok\r\n", 250, "", "ok", nil},
		{"250\r\n", 250, "", "", nil},
		{"250 \r\n", 250, "", "", nil},
		{"250 2.1.0 ok\r\n", 250, "2.1.0", "ok", nil},
		{"250 2.1.0\r\n", 250, "2.1.0", "", nil},
		{"550-5.1.1 no such\r\n550 5.1.1 user\r\n", 550, "5.1.1", "no such user", nil},
		{"550-5.1.1 a\r\n550 5.7.1 b\r\n", 550, "5.1.1", "a 5.7.1 b", nil},
		{"554-No SMTP service\r\n554-\r\n554 IP address is block listed\r\n", 554, "", "No SMTP service IP address is block listed", nil},
		{"250 5.1.0 class differs\r\n", 250, "", "5.1.0 class differs", nil},
		{"250 2.1000.0 x\r\n", 250, "", "2.1000.0 x", nil},
		{"250 2.1.0x\r\n", 250, "", "2.1.0x", nil},
		{"250 2.1 x\r\n", 250, "", "2.1 x", nil},
		{"250 ok\n", 250, "", "ok", nil},
		{"250 a\tb\x00c\x1bd\r\n", 250, "", "a b?c?d", nil},
		{"550 gr\xc3\xbc\xc3\x9fe \xff \u202e\r\n", 550, "", "gr\u00fc\u00dfe ? ?", nil},
		{long + "250 last\r\n", 250, "", strings.Repeat("0123456789 ", maxReplyLines-1) + "last", nil},
		{long + "250-x\r\n250 last\r\n", 0, "", "", errReplySize},
		{"250 " + strings.Repeat("x", maxReplySize) + "\r\n", 0, "", "", errReplySize},
		{strings.Repeat("250-"+strings.Repeat("x", 1000)+"\r\n", 20), 0, "", "", errReplySize},
		{"", 0, "", "", io.EOF},
		{"250-x\r\n", 0, "", "", io.ErrUnexpectedEOF},
		{"25\r\n", 0, "", "", errReplySyntax},
		{"\r\n", 0, "", "", errReplySyntax},
		{"abc hello\r\n", 0, "", "", errReplySyntax},
		{"2500 x\r\n", 0, "", "", errReplySyntax},
		{"250_x\r\n", 0, "", "", errReplySyntax},
		{"650 x\r\n", 0, "", "", errReplySyntax},
		{"150 x\r\n", 0, "", "", errReplySyntax},
		{"250-a\r\n251 b\r\n", 0, "", "", errReplySyntax},
	}
	for _, c := range cases {
		for _, src := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in)), iotest.DataErrReader(strings.NewReader(c.in))} {
			var r replyReader
			r.reset(src)
			p, err := r.read()
			if !errors.Is(err, c.err) || p.code != c.code || p.enhanced != c.enhanced || string(p.text) != c.text {
				t.Errorf("%.60q: %d %q %.80q %v", c.in, p.code, p.enhanced, p.text, err)
			}
			if len(r.buf) > 2*maxReplySize {
				t.Errorf("%.60q: buffer of %d octets", c.in, len(r.buf))
			}
		}
	}
}

func TestKeptReplyHasHeadAndTail(t *testing.T) {
	r := reply{code: 554, text: []byte("the beginning " + strings.Repeat("\u00fc", 2000) + " the reason")}
	k := r.keep()
	if len(k.Text) > maxReplyText || !utf8.ValidString(k.Text) || !strings.HasPrefix(k.Text, "the beginning") || !strings.HasSuffix(k.Text, "the reason") {
		t.Errorf("%d octets: %s", len(k.Text), k.Text)
	}
}

func TestTalkIsBoundedAndKeepsTheEnd(t *testing.T) {
	var k talk
	k.reset(testTime)
	for range 300 {
		k.say([]byte("RCPT TO:<somebody-with-a-name@a-domain.example>"))
	}
	k.hear(reply{code: 250, text: bytes.Repeat([]byte("x"), 10000)})
	k.note("the end")
	s := k.String()
	if len(s) > 4200 || !strings.HasSuffix(s, "* the end\n") || !strings.Contains(s, "...\n") || !strings.Contains(s, "< 250 xxx") {
		t.Errorf("%d octets:\n%s", len(s), s)
	}
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n250 2.0.0 again\r\n", "550-5.1.1 a\n550 5.1.1 b\n", "220", "\xff\xfe", "250-\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r, slow replyReader
		r.reset(bytes.NewReader(b))
		slow.reset(iotest.OneByteReader(bytes.NewReader(b)))
		for {
			p, err := r.read()
			q, err2 := slow.read()
			if (err == nil) != (err2 == nil) {
				t.Fatalf("depends on how it arrives: %v %v", err, err2)
			}
			if err != nil {
				return
			}
			k := p.keep()
			if k != q.keep() || k.Code < 200 || k.Code > 599 || len(k.Text) > maxReplyText || !utf8.ValidString(k.Text) {
				t.Fatalf("kept %+v", k)
			}
			for _, ch := range k.Text {
				if !unicode.IsPrint(ch) {
					t.Fatalf("%q is not printable", k.Text)
				}
			}
			var e extensions
			for i := range r.ends {
				e.read(r.lineAt(i))
			}
			if e.size < 0 {
				t.Fatal("negative size")
			}
		}
	})
}
