package submission

import (
	"crypto"
	"fmt"
	"io"

	"github.com/emersion/go-msgauth/dkim"

	"postern/node/bounce"
)

// signedFields are covered by the signature where they are there (RFC 6376
// §5.4.1, RFC 8058 §4); those that over names are listed once more, so that
// nobody can add another one.
var signedFields = []struct {
	bit  field
	name string
	over bool
}{
	{fFrom, "From", true},
	{fSender, "Sender", false},
	{fReplyTo, "Reply-To", true},
	{fTo, "To", true},
	{fCc, "Cc", true},
	{fSubject, "Subject", true},
	{fDate, "Date", true},
	{fMessageID, "Message-ID", false},
	{fInReplyTo, "In-Reply-To", false},
	{fReferences, "References", false},
	{fMIMEVersion, "MIME-Version", false},
	{fContentType, "Content-Type", true},
	{fEncoding, "Content-Transfer-Encoding", false},
	{fListID, "List-Id", false},
	{fUnsubscribe, "List-Unsubscribe", false},
	{fUnsubscribePost, "List-Unsubscribe-Post", false},
	{fFeedbackID, "Feedback-ID", false},
	{fReference, bounce.RefHeader, false},
}

func headerKeys(has field) []string {
	keys := make([]string, 0, 2*len(signedFields))
	for _, f := range signedFields {
		if has&f.bit != 0 {
			keys = append(keys, f.name)
		}
		if f.over {
			keys = append(keys, f.name)
		}
	}
	return keys
}

// signature is a DKIM signature in the making; a nil one signs nothing.
type signature struct {
	s   *dkim.Signer
	key *gatedKey
}

// newSignature starts signing for the From domain; nil when it has no key.
func (s *Server) newSignature(domain string, has field) (*signature, error) {
	if s.cfg.Signer == nil {
		return nil, nil
	}
	selector, key, err := s.cfg.Signer.Key(domain)
	if err != nil {
		return nil, fmt.Errorf("find DKIM key: %w", err)
	}
	if key == nil {
		return nil, nil
	}
	gated := &gatedKey{Signer: key, gate: s.signing}
	d, err := dkim.NewSigner(&dkim.SignOptions{
		Domain: domain, Selector: selector, Signer: gated, Hash: crypto.SHA256,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed,
		BodyCanonicalization:   dkim.CanonicalizationRelaxed,
		HeaderKeys:             headerKeys(has),
	})
	if err != nil {
		return nil, fmt.Errorf("start DKIM signature: %w", err)
	}
	return &signature{s: d, key: gated}, nil
}

func (g *signature) write(p []byte) error {
	if g == nil {
		return nil
	}
	if _, err := g.s.Write(p); err != nil {
		return fmt.Errorf("sign message: %w", err)
	}
	return nil
}

// finish returns the header field, "" for an unsigned message.
func (g *signature) finish() (string, error) {
	if g == nil {
		return "", nil
	}
	if err := g.s.Close(); err != nil {
		return "", fmt.Errorf("sign message: %w", err)
	}
	return g.s.Signature(), nil
}

// abandon ends the signer's goroutine; harmless behind finish.
func (g *signature) abandon() {
	if g == nil {
		return
	}
	g.key.abandoned = true // the library signs whatever it has when it is closed
	_ = g.s.Close()
}

// gatedKey bounds how many signatures are computed at once: an RSA one takes a
// millisecond of a core, and a flood of them must not starve the rest.
type gatedKey struct {
	crypto.Signer
	gate      chan struct{}
	abandoned bool // set before the signer is closed, read behind it
}

func (k *gatedKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.abandoned {
		return nil, errGone
	}
	k.gate <- struct{}{}
	defer func() { <-k.gate }()
	sig, err := k.Signer.Sign(rand, digest, opts)
	if err != nil {
		return nil, fmt.Errorf("use DKIM key: %w", err)
	}
	return sig, nil
}
