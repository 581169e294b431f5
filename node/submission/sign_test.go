package submission

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"postern/node/bounce"
)

func keyRecord(t *testing.T, key crypto.Signer) string {
	t.Helper()
	switch pub := key.Public().(type) {
	case ed25519.PublicKey:
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(pub)
	default:
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
	}
}

// TestDKIM: what is stored verifies to the last octet, whatever the client's
// line ends, dots and header were; and it breaks when something is added.
func TestDKIM(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"rsa": rsaKey, "ed25519": edKey} {
		t.Run(name, func(t *testing.T) {
			ref, err := bounce.NewSigner([]byte(tSecret))
			if err != nil {
				t.Fatal(err)
			}
			r := newRig(t, func(c *Config, _ *rig) {
				c.Signer, c.Reference = oneKey{domain: "shop.test", selector: "s1", key: key}, ref
			})
			lookup := func(name string) ([]string, error) {
				if name != "s1._domainkey.shop.test" {
					return nil, errors.New("no such record " + name)
				}
				return []string{keyRecord(t, key)}, nil
			}
			verify := func(raw string) error {
				vs, err := dkim.VerifyWithOptions(strings.NewReader(raw), &dkim.VerifyOptions{LookupTXT: lookup})
				if err != nil {
					return err
				}
				if len(vs) != 1 || vs[0].Domain != "shop.test" {
					t.Fatalf("%d signatures", len(vs))
				}
				return vs[0].Err
			}
			c := r.byNet()
			for _, m := range []struct{ verb, text string }{
				{"DATA", simple},
				{"DATA", "From: mail@shop.test\r\nBcc: x\r\nX-Originating-IP: 1\r\nReceived: y\r\n\r\n"},
				{"DATA", "From: mail@shop.test"},
				{"DATA", "From: mail@shop.test\nList-Unsubscribe: <https://shop.test/u>\n\n..bare\n.\nx  \t y \n\n\n"},
				{"BDAT", "From: mail@shop.test\r\nSubject: a\r\n b\r\n\r\n.\r\nno end"},
				{"BDAT in pieces", "From: mail@shop.test\r\nDate: x\r\nMessage-ID: y\r\n\r\na.b\r\n.\r\nc"},
				{"DATA", "From: mail@shop.test\r\n\r\n" + strings.Repeat("a long text\r\n", 100_000)},
			} {
				c.envelope("mail@shop.test", "a@example.test")
				c.message(m.verb, m.text, "250")
			}
			for i, k := range r.kept() {
				if err := verify(k.raw); err != nil {
					t.Errorf("message %d: %v in %.600q", i, err, k.raw)
				}
				for _, add := range []string{"From: other@shop.test\r\n", "Subject: other\r\n", "Reply-To: other@shop.test\r\n"} {
					if verify(add+k.raw) == nil {
						t.Errorf("message %d still verifies behind %q", i, add)
					}
				}
				if changed := strings.Replace(k.raw, bounce.RefHeader+": v1.", bounce.RefHeader+": v1.A", 1); changed == k.raw || verify(changed) == nil {
					t.Errorf("message %d has no signed reference: %.600q", i, k.raw)
				}
				if verify(k.raw+"added\r\n") == nil {
					t.Errorf("message %d still verifies with more text", i)
				}
			}
			if n := len(r.kept()); n != 7 {
				t.Errorf("%d kept", n)
			}
		})
	}
}

func TestUnsignedDomainAndBrokenKey(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config, _ *rig) { c.Signer = oneKey{domain: "other.test", selector: "s1", key: key} })
	c := r.byNet()
	c.envelope("mail@shop.test", "a@example.test")
	c.message("DATA", simple, "250")
	if m := r.one(); strings.Contains(m.raw, "DKIM-Signature") {
		t.Error("signed with another domain's key")
	}
	r = newRig(t, func(c *Config, _ *rig) {
		c.Signer = oneKey{domain: "shop.test", err: errors.New("cannot unseal")}
	})
	c = r.byNet()
	c.envelope("mail@shop.test", "a@example.test")
	c.message("DATA", simple, "451 4.3.0")
	r = newRig(t, func(c *Config, _ *rig) { c.Signer = oneKey{domain: "shop.test", selector: "s", key: badKey{key}} })
	c = r.byNet()
	c.envelope("mail@shop.test", "a@example.test")
	c.message("DATA", simple, "451 4.3.0")
}

type badKey struct{ crypto.Signer }

func (badKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("no signature")
}

// TestSigningIsBounded: no more signatures at once than there are places, and a
// client that leaves costs none.
func TestSigningIsBounded(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	slow := &countingKey{Signer: key, wait: make(chan struct{})}
	r := newRig(t, func(c *Config, _ *rig) { c.Signer = oneKey{domain: "shop.test", selector: "s", key: slow} })
	const n = 12
	var all []*client
	for range n {
		c := r.byNet()
		c.envelope("mail@shop.test", "a@example.test")
		c.cmd("DATA", "354")
		c.send(simple + ".\r\n")
		all = append(all, c)
	}
	gone := r.byNet()
	gone.envelope("mail@shop.test", "a@example.test")
	gone.cmd("DATA", "354")
	gone.send(simple)
	gone.conn.Close()
	places := int64(cap(r.srv.signing))
	eventually(t, "all places taken", func() bool { return slow.now.Load() == places })
	close(slow.wait)
	for _, c := range all {
		c.expect("250", "message")
	}
	if slow.most.Load() > places || slow.all.Load() != n {
		t.Errorf("%d at once, %d in all", slow.most.Load(), slow.all.Load())
	}
}

type countingKey struct {
	crypto.Signer
	wait           chan struct{}
	now, most, all atomic.Int64
}

func (k *countingKey) Sign(r io.Reader, d []byte, o crypto.SignerOpts) ([]byte, error) {
	k.all.Add(1)
	if n := k.now.Add(1); n > k.most.Load() {
		k.most.Store(n)
	}
	<-k.wait
	defer k.now.Add(-1)
	return k.Signer.Sign(r, d, o)
}

// TestNothingOfTheClient: no trace of where the client is, of this machine or
// of the login stays in what is sent.
func TestNothingOfTheClient(t *testing.T) {
	r := newRig(t)
	for _, how := range []string{"clear", "tls"} {
		c := r.sender(how)
		c.cmd("EHLO laptop-of-anna.local", "250")
		c.envelope("mail@shop.test", "a@example.test")
		c.message("DATA", "From: mail@shop.test\r\nX-Originating-IP: [127.0.0.9]\r\nX-Sender-IP: 127.0.0.1\r\n"+
			"Received: from laptop ([127.0.0.9]) by x with ESMTPSA id 0123456789abcdef0123456789abcdef;\r\n\tMon, 02 Jan 2006 15:04:05 +0000\r\n"+
			"Received: by "+tHost+" with ESMTPSA id 0123456789abcdef0123456789abcdef (127.0.0.9);\r\n\tMon, 02 Jan 2006 15:04:05 +0000\r\n\r\nx", "250")
	}
	for _, m := range r.kept() {
		if regexp.MustCompile(`127\.0\.0|::1|laptop|anna|in-1|` + regexp.QuoteMeta(tUser+" ")).MatchString(m.header()) {
			t.Errorf("kept %q", m.header())
		}
		if strings.Count(m.header(), "Received:") != 1 {
			t.Errorf("kept %q", m.header())
		}
	}
}
