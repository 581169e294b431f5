package submission

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"postern/node/bounce"
)

const (
	maxSignatures = 4               // looked at of one notice
	signedWait    = 8 * time.Second // for the keys of all of them
)

// Proof is what became of a notice's signature, a closed set.
type Proof string

// Proofs of a list operator's notice.
const (
	ProofNone   Proof = ""         // it is no such notice
	ProofSigned Proof = "signed"   // its operator signed it
	ProofAbsent Proof = "unsigned" // nothing shows that it did
	ProofBlind  Proof = "unknown"  // a key could not be asked for
)

var errNoKey = errors.New("look up key: it is no list operator's")

// prove finds out whether a notice in the name of a list's operator is signed by
// that operator (DKIM, RFC 6376). A signature that leaves a part of the body or
// the author out proves nothing, and the library takes none. Nobody else's keys
// are asked for, or anybody could make us ask anything.
func (in *Intake) prove(ctx context.Context, f bounce.Feedback, body []byte, size int64) Proof {
	switch {
	case f.Kind != bounce.KindList:
		return ProofNone
	case in.cfg.TXT == nil:
		return ProofBlind
	case size > int64(len(body)):
		return ProofAbsent // it was not read to its end
	}
	ctx, cancel := context.WithTimeout(ctx, signedWait)
	defer cancel()
	of := func(domain string) bool { return bounce.ListOperator(domain) == f.Zone }
	var blind atomic.Bool // the library verifies several at once
	all, err := dkim.VerifyWithOptions(bytes.NewReader(body), &dkim.VerifyOptions{
		MaxVerifications: maxSignatures,
		LookupTXT: func(name string) ([]string, error) {
			_, domain, ok := strings.Cut(strings.ToLower(name), "._domainkey.")
			if !ok || !of(domain) {
				return nil, errNoKey
			}
			texts, err := in.cfg.TXT(ctx, name)
			switch {
			case err != nil:
				blind.Store(true)
			case len(texts) == 0:
				err = errNoKey
			}
			return texts, err
		},
	})
	if err != nil && !errors.Is(err, dkim.ErrTooManySignatures) {
		return ProofAbsent
	}
	for _, v := range all {
		if v.Err == nil && of(v.Domain) {
			return ProofSigned
		}
	}
	if blind.Load() {
		return ProofBlind
	}
	return ProofAbsent
}
