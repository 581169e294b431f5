package links

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"slices"
	"strings"
	"testing"
	"time"
)

// mail is a message of one part.
func mail(kind, encoding, text string) string {
	var b bytes.Buffer
	switch encoding {
	case "base64":
		for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString([]byte(text))), 76) {
			b.Write(append(line, "\r\n"...))
		}
	case "quoted-printable":
		w := quotedprintable.NewWriter(&b)
		_, _ = io.WriteString(w, text)
		_ = w.Close()
	default:
		b.WriteString(text)
	}
	return fmt.Sprintf("Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s\r\n", kind, encoding, b.String())
}

func parts(kind string, all ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "MIME-Version: 1.0\r\nContent-Type: multipart/%s; boundary=\"b%d\"\r\n\r\npreamble http://preamble.example\r\n", kind, len(all[0]))
	for _, p := range all {
		fmt.Fprintf(&b, "--b%d\r\n%s\r\n", len(all[0]), p)
	}
	fmt.Fprintf(&b, "--b%d--\r\n", len(all[0]))
	return b.String()
}

// TestHosts has a row for each way of writing a link that mail has, or that hides
// one from who reads along.
func TestHosts(t *testing.T) {
	plain := func(text string) string { return mail("text/plain", "7bit", text) }
	page := func(text string) string { return mail("text/html; charset=utf-8", "8bit", text) }
	for _, x := range []struct {
		what, message, want string
	}{
		{"words", plain("Buy at http://pills.example/now today"), "pills.example"},
		{"https", plain("https://pills.example"), "pills.example"},
		{"upper case", plain("HTTP://WWW.Pills.EXAMPLE/"), "www.pills.example"},
		{"www without a scheme", plain("see www.pills.example."), "www.pills.example"},
		{"no www within a name", plain("awww.pills.example and x@www.mail.example"), ""},
		{"the end of a sentence", plain("Go to http://pills.example. Then (http://two.example), \"http://three.example\"."), "pills.example three.example two.example"},
		{"a comma follows", plain("http://pills.example, and more"), "pills.example"},
		{"quotation marks of a book", plain("“http://pills.example” «http://two.example»"), "pills.example two.example"},
		{"a port", plain("http://pills.example:8080/x"), "pills.example"},
		{"a dot at the end", page(`<a href="http://pills.example./x">`), "pills.example"},
		{"userinfo that deceives", page(`<a href="http://bank.example@pills.example/">bank</a>`), "pills.example"},
		{"userinfo with a password", plain("http://bank.example:443@pills.example:80/x@other.example"), "pills.example"},
		{"escapes in the host", page(`<a href="http://%70ills%2Eexample/">`), "pills.example"},
		{"a bad escape in the host", page(`<a href="http://%zz.example/">`), ""},
		{"an address", plain("http://192.0.2.1/x http://[2001:db8::1]/ http://3221225985/ http://0xc0000201/ http://192.0.2.0x1/"), ""},
		{"no host", plain("http:// http:/// http://?x http://localhost/ http://.. https://a..b/"), ""},
		{"other schemes", page(`<a href="mailto:x@pills.example">ftp://files.example <a href="cid:1@x.example">`), ""},
		{"a name in words", plain("pills.example"), ""},
		{"href, src, action", page(`<a href=http://one.example/><img src='https://two.example/p.gif'><form action="http://three.example">`), "one.example three.example two.example"},
		{"spaces around the sign", page("<A HREF = \"http://pills.example/\" >"), "pills.example"},
		{"entities", page(`<a href="&#104;ttp&colon;&#x2f;/pills&#46;example">x</a>`), "pills.example"},
		{"tabs and line breaks within", page("<a href=\" ht\ttp:/\r\n/pi\nlls.example/\">"), "pills.example"},
		{"slashes the other way", page(`<a href="http:\\pills.example\x">`), "pills.example"},
		{"too few and too many slashes", page(`<a href="http:pills.example"><a href="https:/two.example"><a href="http:////three.example">`), "pills.example three.example two.example"},
		{"the scheme of the page", page(`<img src="//pills.example/i.png">`), "pills.example"},
		{"a base for the others", page(`<base href="http://pills.example/"><a href="buy">`), "pills.example"},
		{"styles and a refresh", page(`<td style="background:url(http://one.example/i)"><meta content="0; url=http://two.example/"><style>@import "http://three.example/";</style>`), "one.example three.example two.example"},
		{"several sizes of a picture", page(`<img srcset="http://one.example/1 1x, http://two.example/2 2x">`), "one.example two.example"},
		{"words of a page", page("<p>http://pills.example<br>"), "pills.example"},
		{"a split name in words of a page", page("<p>http://pi<b></b>lls.example"), ""},
		{"names of name spaces are no links", page(`<!DOCTYPE html PUBLIC "x" "http://www.w3.org/TR/x.dtd"><html xmlns="http://www.w3.org/1999/xhtml" xmlns:o="http://office.example/">`), ""},
		{"comments are not read", page(`<!-- http://hidden.example <a href="http://two.example"> -->`), ""},
		{"but those for one program", page(`<!--[if mso]><a href="http://pills.example"><![endif]-->`), "pills.example"},
		{"a script", page(`<script>location="http://pills.example/x"</script><a href="javascript:go('https://two.example')">`), "pills.example two.example"},
		{"a link that leads on", page(`<a href="https://search.example/url?q=http://pills.example/&x=1">`), "pills.example search.example"},
		{"the same in escapes", plain("https://search.example/url?q=https%3A%2F%2Fpills.example%2Fx%3Fy&z"), "pills.example search.example"},
		{"letters of other scripts", page(`<a href="http://bücher.example/">`), "xn--bcher-kva.example"},
		{"wide letters and dots", page(`<a href="http://ｐｉｌｌｓ。ｅｘａｍｐｌｅ/">`), "pills.example"},
		{"a soft hyphen", page("<a href=\"http://pi\u00adlls.example/\">"), "pills.example"},
		{"an A-label", plain("http://xn--bcher-kva.example/"), "xn--bcher-kva.example"},
		{"an underscore", plain("http://my_shop.pills.example/"), "my_shop.pills.example"},
		{"the same again", plain("http://pills.example http://PILLS.example/x"), "pills.example"},
		{"base64", mail("text/html", "base64", `<a href="http://pills.example/">`), "pills.example"},
		{"quoted-printable", mail("text/html", "quoted-printable", strings.Repeat("x", 70)+` <a href="http://pills.example/">`), "pills.example"},
		{"a soft line break within", "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhttp://pil=\r\nls=2Eexample/\r\n", "pills.example"},
		{"base64 that breaks off", "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naHR0cDovL3BpbGxzLmV4YW1wbGUvIGFuZCBtb3Jl!!!!\r\n", "pills.example"},
		{"an encoding nobody knows", mail("text/plain", "x-odd", "http://pills.example"), "pills.example"},
		{"a charset nobody knows", mail("text/plain; charset=x-odd", "7bit", "http://pills.example"), "pills.example"},
		{"no type", "Subject: x\r\n\r\nhttp://pills.example\r\n", "pills.example"},
		{"no header", "\r\nhttp://pills.example\r\n", "pills.example"},
		{"a bad header", "no field here\r\n\r\nhttp://pills.example\r\n", "pills.example"},
		{"alternatives", parts("alternative", plain("http://one.example"), mail("text/html", "base64", `<a href="http://two.example">`)), "one.example two.example"},
		{"parts within parts", parts("mixed", parts("related", parts("alternative", plain("http://one.example")), page("http://two.example"))), "one.example two.example"},
		{"a message within", parts("mixed", "Content-Type: message/rfc822\r\n\r\n"+page(`<a href="http://pills.example">`)), "pills.example"},
		{"an attached page", parts("mixed", plain("see the invoice"), "Content-Disposition: attachment; filename=i.html\r\n"+page(`<a href="http://pills.example">`)), "pills.example"},
		{"a picture", parts("mixed", mail("image/svg+xml", "7bit", "http://pills.example"), mail("application/pdf", "base64", "http://two.example")), ""},
		{"parts without an end", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhttp://pills.example\r\n", "pills.example"},
		{"nothing", "", ""},
	} {
		t.Run(x.what, func(t *testing.T) {
			got := Hosts(strings.NewReader(x.message))
			slices.Sort(got)
			if s := strings.Join(got, " "); s != x.want {
				t.Errorf("found %q, want %q", s, x.want)
			}
		})
	}
}

// TestHostsBounds says what one message costs at most, whatever it holds.
func TestHostsBounds(t *testing.T) {
	page := func(text string) string { return mail("text/html", "8bit", text) }
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format+"\r\n", i)
		}
		return b.String()
	}
	nest := func(n int) string {
		m := page("http://deep.example")
		for range n {
			m = parts("mixed", m)
		}
		return m
	}
	for _, x := range []struct {
		what, message string
		want          int
	}{
		{"many hosts", page(many(5000, `<a href="http://h%d.example">`)), maxHosts},
		{"many that are none", page(many(5000, "http://%d/") + "http://late.example"), 0},
		{"long text", page(strings.Repeat("x ", maxText/2) + "http://late.example"), 0},
		{"a long message", parts("mixed", mail("image/png", "7bit", many(MaxRead/70, strings.Repeat("x", 70)+"%d")), page("http://late.example")), 0},
		{"many parts", parts("mixed", append(slices.Repeat([]string{page("x")}, maxParts), page("http://late.example"))...), 0},
		{"deep", nest(maxDepth), 1},
		{"too deep", nest(maxDepth + 1), 0},
		{"nothing but beginnings", page(strings.Repeat("<a href=\"http://", 16<<10)), 0},
		{"one endless tag", page("<a " + strings.Repeat("href=http:// ", 20<<10)), 0},
		{"one endless name", page("http://" + strings.Repeat("a.", maxText/2)), 0},
		{"escapes", page(strings.Repeat("http%3a%2f%2f", 20<<10)), 0},
	} {
		t.Run(x.what, func(t *testing.T) {
			began := time.Now()
			if got := Hosts(strings.NewReader(x.message)); len(got) != x.want {
				t.Errorf("found %d, want %d", len(got), x.want)
			}
			t.Logf("%d KB in %s", len(x.message)>>10, time.Since(began).Round(10*time.Microsecond))
		})
	}
}

// TestHostsReadsNoMore leaves a long message where it is.
func TestHostsReadsNoMore(t *testing.T) {
	r := &counting{r: io.MultiReader(strings.NewReader(mail("text/plain", "7bit", "http://pills.example ")), strings.NewReader(strings.Repeat("x", 4*MaxRead)))}
	if got := Hosts(r); !slices.Equal(got, []string{"pills.example"}) || r.n > MaxRead {
		t.Errorf("found %q and read %d octets", got, r.n)
	}
}

type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func FuzzHosts(f *testing.F) {
	f.Add([]byte(mail("text/html", "quoted-printable", `<a href="http://bücher.example:80/?u=http%3A%2F%2Ftwo.example">www.three.example`)))
	f.Add([]byte(parts("mixed", mail("text/plain", "base64", "http://one.example"), "Content-Type: message/rfc822\r\n\r\n"+mail("text/html", "7bit", "<!--[if mso]><a href=//two.example>"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := Hosts(bytes.NewReader(b))
		if len(got) > maxHosts {
			t.Fatalf("%d hosts", len(got))
		}
		for i, h := range got {
			if again, ok := hostName([]byte(h)); !ok || again != h || slices.Contains(got[:i], h) {
				t.Fatalf("%q is %q, %v", h, again, ok)
			}
		}
	})
}

func BenchmarkHosts(b *testing.B) {
	line := `<tr><td style="color:#333;font:14px Arial"><a href="https://shop%d.example/item?id=17&amp;c=news"><img src="https://cdn.example/i.png" alt="A shoe"></a> Only today and only here: twenty per cent off.</td></tr>` + "\r\n"
	var page, words strings.Builder
	for i := 0; page.Len() < 7<<10; i++ {
		fmt.Fprintf(&page, line, i)
	}
	for i := 0; words.Len() < 2<<10; i++ {
		fmt.Fprintf(&words, "Only today and only here: twenty per cent off.\r\nhttps://shop%d.example/item?id=17\r\n", i)
	}
	m := parts("alternative", mail("text/plain; charset=utf-8", "7bit", words.String()), mail("text/html; charset=utf-8", "quoted-printable", page.String()))
	b.SetBytes(int64(len(m)))
	b.ReportAllocs()
	for b.Loop() {
		if n := len(Hosts(strings.NewReader(m))); n < 20 {
			b.Fatal(n)
		}
	}
}
