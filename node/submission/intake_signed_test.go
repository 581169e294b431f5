package submission

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"postern/node/bounce"
	"postern/tenant"
)

// keyBook is a DNS that knows some keys, and what it was asked.
type keyBook struct {
	mu    sync.Mutex
	texts map[string][]string
	fails bool
	asked []string
}

func (b *keyBook) TXT(_ context.Context, name string) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, name)
	if b.fails {
		return nil, errors.New("no server answered")
	}
	return b.texts[name], nil
}

const notice = "From: SpamCop robot <77@reports.spamcop.net>\r\nTo: abuse@in-1.relay.test\r\nSubject: [SpamCop (192.0.2.10) id:77]\r\n\r\nspam from 192.0.2.10\r\n"

var noticeKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

func signedAs(t testing.TB, text, domain string) string {
	t.Helper()
	var out bytes.Buffer
	err := dkim.Sign(&out, strings.NewReader(text), &dkim.SignOptions{Domain: domain, Selector: "s1", Signer: crypto.Signer(noticeKey), HeaderKeys: []string{"From", "Subject"}})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func noticeBook() *keyBook {
	record := []string{"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(noticeKey.Public().(ed25519.PublicKey))}
	return &keyBook{texts: map[string][]string{"s1._domainkey.spamcop.net": record, "s1._domainkey.devnull.spamcop.net": record,
		"s1._domainkey.spamhaus.org": record, "s1._domainkey.evil.test": record}}
}

// Only the operator's own signature over the whole of a notice proves it, and no
// other names' keys are asked for.
func TestProveNotice(t *testing.T) {
	short := func(text string) string { // a signature over a part of the body
		return strings.Replace(text, "; d=", "; l=5; d=", 1)
	}
	for _, x := range []struct {
		name, text string
		extra      int64 // octets that were not kept
		fails      bool
		want       Proof
		asked      string
	}{
		{"signed", signedAs(t, notice, "spamcop.net"), 0, false, ProofSigned, "s1._domainkey.spamcop.net"},
		{"below its domain", signedAs(t, notice, "devnull.spamcop.net"), 0, false, ProofSigned, "s1._domainkey.devnull.spamcop.net"},
		{"beside a stranger's", signedAs(t, signedAs(t, notice, "spamcop.net"), "evil.test"), 0, false, ProofSigned, "s1._domainkey.spamcop.net"},
		{"not signed", notice, 0, false, ProofAbsent, ""},
		{"by a stranger", signedAs(t, notice, "evil.test"), 0, false, ProofAbsent, ""},
		{"by another operator", signedAs(t, notice, "spamhaus.org"), 0, false, ProofAbsent, ""},
		{"by who looks like it", signedAs(t, notice, "notspamcop.net"), 0, false, ProofAbsent, ""},
		{"a key that is not there", signedAs(t, notice, "x.spamcop.net"), 0, false, ProofAbsent, "s1._domainkey.x.spamcop.net"},
		{"changed since", signedAs(t, notice, "spamcop.net") + "and from 192.0.2.11\r\n", 0, false, ProofAbsent, "s1._domainkey.spamcop.net"},
		{"another subject", strings.Replace(signedAs(t, notice, "spamcop.net"), "192.0.2.10) id", "192.0.2.11) id", 1), 0, false, ProofAbsent, "s1._domainkey.spamcop.net"},
		{"over a part of it", short(signedAs(t, notice, "spamcop.net")), 0, false, ProofAbsent, "s1._domainkey.spamcop.net"},
		{"too long to be read", signedAs(t, notice, "spamcop.net"), 1, false, ProofAbsent, ""},
		{"nobody answers", signedAs(t, notice, "spamcop.net"), 0, true, ProofBlind, "s1._domainkey.spamcop.net"},
		{"of nobody's list", signedAs(t, strings.Replace(notice, "spamcop.net", "evil.test", 1), "spamcop.net"), 0, false, ProofNone, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			b := noticeBook()
			b.fails = x.fails
			in := &Intake{cfg: IntakeConfig{TXT: b.TXT}}
			f := bounce.ReadFeedback([]byte(x.text), bounce.RoleAbuse)
			got := in.prove(t.Context(), f, []byte(x.text), int64(len(x.text))+x.extra)
			if asked := strings.Join(b.asked, " "); got != x.want || asked != x.asked {
				t.Errorf("%q after asking for %q, want %q after %q", got, asked, x.want, x.asked)
			}
		})
	}
	in := &Intake{}
	if got := in.prove(t.Context(), bounce.Feedback{Kind: bounce.KindList}, nil, 0); got != ProofBlind {
		t.Errorf("without a resolver: %q", got)
	}
}

// A notice is proved as it comes in, dots and all.
func TestIntakeProvesNotice(t *testing.T) {
	r := newIntakeRig(t, func(c *IntakeConfig) { c.TXT = noticeBook().TXT })
	text := signedAs(t, notice+".one line begins with a dot\r\n", "spamcop.net")
	got := r.bring("abuse@in-1.relay.test", strings.TrimSuffix(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n.one", "\n..one"), "\n"))
	if got.Kind != bounce.KindList || got.Zone != "bl.spamcop.net" || got.Proof != ProofSigned {
		t.Errorf("%s of %q: %q", got.Kind, got.Zone, got.Proof)
	}
}

// FuzzProve: whatever claims to be signed has an end and a verdict.
func FuzzProve(f *testing.F) {
	good := signedAs(f, notice, "spamcop.net")
	f.Add([]byte(good))
	f.Add([]byte(signedAs(f, good, "spamcop.net")))
	f.Add([]byte(strings.Replace(good, "bh=", "bh=!", 1)))
	f.Add([]byte("DKIM-Signature: v=1; d=spamcop.net; s=s1; a=ed25519-sha256; h=from; bh=; b=\r\nFrom: a@spamcop.net\r\n\r\n"))
	f.Add([]byte("DKIM-Signature:;;;=\r\nDKIM-Signature: h=:\r\nFrom: a@spamcop.net\r\n"))
	in := &Intake{cfg: IntakeConfig{TXT: noticeBook().TXT, State: tenant.New}}
	f.Fuzz(func(t *testing.T, b []byte) {
		x := bounce.ReadFeedback(b, bounce.RoleAbuse)
		x.Kind, x.Zone = bounce.KindList, "bl.spamcop.net"
		switch got := in.prove(t.Context(), x, b, int64(len(b))); got {
		case ProofSigned, ProofAbsent, ProofBlind:
		default:
			t.Fatalf("%q", got)
		}
	})
}
