package submission

import (
	"net/mail"
	"strings"
	"testing"
)

// FuzzPlainAddress: the short way finds what the whole grammar finds.
func FuzzPlainAddress(f *testing.F) {
	for _, s := range []string{"a@b.test", "Shop <mail@shop.test>", "A B <a.b+c@d.test>", "<a@b.test>", "a@b.test <c@d.test>", "a <b@c.test> d", "a@b@c.test", "x <a@b.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.TrimSpace(s)
		got, ok := plainAddress(s)
		if !ok {
			return
		}
		list, err := mail.ParseAddressList(s)
		if err != nil || len(list) != 1 || list[0].Address != got {
			t.Fatalf("%q: %q, but the grammar says %v %v", s, got, list, err)
		}
	})
}

func TestPath(t *testing.T) {
	for _, c := range []struct {
		in   string
		eai  bool
		want string // the address, or the error
	}{
		{"<a@Example.TEST>", false, "a@example.test"},
		{"<A.b@x.test> SIZE=1", false, "A.b@x.test"},
		{"<>", false, ""},
		{`<"a"@x.test>`, false, "a@x.test"},
		{`<"a b"@x.test>`, false, `"a b"@x.test`},
		{`<"a\"b\\"@x.test>`, false, `"a\"b\\"@x.test`},
		{`<"a@b"@x.test>`, false, `"a@b"@x.test`},
		{`<""@x.test>`, false, `""@x.test`},
		{"<ä@x.test>", false, errAddrUTF8.Error()},
		{"<ä@x.test>", true, "ä@x.test"},
		{"<a@Bücher.test>", true, "a@xn--bcher-kva.test"},
		{"<a@bücher.test>", false, errAddrUTF8.Error()},
		{"<a\u0085@x.test>", true, errAddrSyntax.Error()},
		{"<a\u00a0b@x.test>", true, errAddrSyntax.Error()}, // a space that cannot be seen
		{"<a\ufffdb@x.test>", true, errAddrSyntax.Error()}, // what is left of damaged text
		{"<a\xff@x.test>", true, errAddrSyntax.Error()},
		{"<@b.test:a@x.test>", false, errAddrRoute.Error()},
		{"<" + strings.Repeat("a", 64) + "@x.test>", false, strings.Repeat("a", 64) + "@x.test"},
		{"<" + strings.Repeat("a", 65) + "@x.test>", false, errAddrSyntax.Error()},
		{"<a@" + strings.Repeat("a", 64) + ".test>", false, errAddrSyntax.Error()},
		{"<a@" + strings.Repeat("a.", 125) + "test>", false, errAddrSyntax.Error()},
		{"<a@x..test>", false, errAddrSyntax.Error()},
		{"<a@.test>", false, errAddrSyntax.Error()},
		{"<a@x.test.>", false, errAddrSyntax.Error()},
		{"<a@-x.test>", false, errAddrSyntax.Error()},
		{"<a@test>", false, errAddrSyntax.Error()},
		{"<a@10.0.0.1>", false, errAddrSyntax.Error()},
		{"<a@[10.0.0.1]>", false, "a@[10.0.0.1]"},
		{"<.a@x.test>", false, errAddrSyntax.Error()},
		{"<a..b@x.test>", false, errAddrSyntax.Error()},
		{"<a b@x.test>", false, errAddrSyntax.Error()},
		{"<a@x.test", false, errAddrSyntax.Error()},
		{"a@x.test", false, errAddrSyntax.Error()},
		{"<a@x.test>y", false, errAddrSyntax.Error()},
		{"<\"a\tb\"@x.test>", false, errAddrSyntax.Error()},
		{"", false, errAddrSyntax.Error()},
	} {
		a, _, err := parsePath(c.in, c.eai)
		got := a.String()
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}
