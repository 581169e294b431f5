package bounce

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"

	"postern/tenant"
)

// RefHeader names the field by which a message that comes back is known for
// ours: opaque, signed, without a name or address in clear.
const RefHeader = "X-Relay-Ref"

const (
	refName  = "x-relay-ref"
	refMark  = "v1."
	verpMark = "b-"

	refSum  = 12 // octets of its HMAC kept
	verpSum = 8  // a local part has 64 octets in all (RFC 5321 §4.5.3.1.1)

	maxLocalPart = 64
	maxIndex     = 999 // of a recipient
)

// errToken says that a reference or return path is none of ours.
var errToken = errors.New("read reference: not made with this key")

// Reference says which message a reference header belongs to. It is known
// before the message has a queue id: the header is covered by the signature.
type Reference struct {
	Tenant      tenant.ID
	Account     tenant.AccountID
	Transaction [16]byte // of the SMTP transaction that brought it
}

// AnyRcpt stands in a return path of a transaction with several recipients: the
// report must say which of them it means.
const AnyRcpt = -1

// ReturnPath says which recipient of which message a return path was made for.
type ReturnPath struct {
	Tenant tenant.ID
	Epoch  uint64
	Seq    uint64
	Rcpt   int // index in the envelope, or AnyRcpt
}

// Signer makes and checks references and return paths. All nodes of a cluster
// have the same key, so a report may come in anywhere. It is safe for
// concurrent use.
type Signer struct{ key []byte }

// NewSigner makes a Signer of a secret of 16 octets or more.
func NewSigner(secret []byte) (*Signer, error) {
	if len(secret) < 16 {
		return nil, errors.New("make reference key: the secret is shorter than 16 octets")
	}
	return &Signer{key: mac(secret, "postern intake", nil)}, nil
}

func mac(key []byte, purpose string, payload []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(purpose))
	h.Write([]byte{0})
	h.Write(payload)
	return h.Sum(nil)
}

// Number makes a number of parts, the same on all nodes, that tells who does not
// have the key nothing about them.
func (s *Signer) Number(parts ...[]byte) uint64 {
	var b []byte
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	return binary.BigEndian.Uint64(mac(s.key, "number", b))
}

// Header is the value of the reference header.
func (s *Signer) Header(r Reference) string {
	b := binary.AppendUvarint(nil, uint64(r.Tenant))
	b = binary.AppendUvarint(b, uint64(r.Account))
	b = append(b, r.Transaction[:]...)
	return refMark + base64.RawURLEncoding.EncodeToString(b) + "." +
		base64.RawURLEncoding.EncodeToString(mac(s.key, "ref", b)[:refSum])
}

// ReadHeader reads what Header made; anything else is an error.
func (s *Signer) ReadHeader(v string) (Reference, error) {
	var r Reference
	rest, ok := strings.CutPrefix(v, refMark)
	payload, sum, found := strings.Cut(rest, ".")
	if !ok || !found || len(v) > 200 {
		return r, errToken
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(payload)
	if err != nil {
		return r, errToken
	}
	got, err := base64.RawURLEncoding.Strict().DecodeString(sum)
	if err != nil || !hmac.Equal(got, mac(s.key, "ref", b)[:refSum]) {
		return r, errToken
	}
	if v != refMark+base64.RawURLEncoding.EncodeToString(b)+"."+base64.RawURLEncoding.EncodeToString(got) {
		return r, errToken // the decoder passes line ends over
	}
	list, rest2, ok := uvarints(b, 2)
	if !ok || len(rest2) != len(r.Transaction) {
		return r, errToken
	}
	r.Tenant, r.Account = tenant.ID(list[0]), tenant.AccountID(list[1])
	copy(r.Transaction[:], rest2)
	return r, nil
}

var verpLetters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Local is the local part of a return path, letters and digits that no host
// changes by writing them in capitals. ok is false when the numbers are too
// large for one; the message then keeps its own return path.
func (s *Signer) Local(p ReturnPath) (local string, ok bool) {
	if p.Rcpt < AnyRcpt || p.Rcpt > maxIndex {
		return "", false
	}
	b := binary.AppendUvarint(nil, uint64(p.Tenant))
	b = binary.AppendUvarint(b, p.Epoch)
	b = binary.AppendUvarint(b, p.Seq)
	if p.Rcpt != AnyRcpt {
		b = binary.AppendUvarint(b, uint64(p.Rcpt))
	}
	b = append(b, mac(s.key, "verp", b)[:verpSum]...)
	local = verpMark + verpLetters.EncodeToString(b)
	return local, len(local) <= maxLocalPart
}

// ReadLocal reads what Local made, in whatever case it came back.
func (s *Signer) ReadLocal(local string) (ReturnPath, error) {
	var p ReturnPath
	if len(local) > maxLocalPart {
		return p, errToken
	}
	token, ok := strings.CutPrefix(strings.ToLower(local), verpMark)
	if !ok {
		return p, errToken
	}
	b, err := verpLetters.DecodeString(token)
	if err != nil || len(b) < verpSum+3 || verpLetters.EncodeToString(b) != token {
		return p, errToken
	}
	b, sum := b[:len(b)-verpSum], b[len(b)-verpSum:]
	if !hmac.Equal(sum, mac(s.key, "verp", b)[:verpSum]) {
		return p, errToken
	}
	list, rest, ok := uvarints(b, 3)
	if !ok {
		return p, errToken
	}
	p = ReturnPath{Tenant: tenant.ID(list[0]), Epoch: list[1], Seq: list[2], Rcpt: AnyRcpt}
	if len(rest) > 0 {
		last, rest, ok := uvarints(rest, 1)
		if !ok || len(rest) != 0 || last[0] > maxIndex {
			return ReturnPath{}, errToken
		}
		p.Rcpt = int(last[0])
	}
	return p, nil
}

// uvarints reads n numbers, each in its shortest form.
func uvarints(b []byte, n int) (list []uint64, rest []byte, ok bool) {
	for range n {
		v, size := binary.Uvarint(b)
		if size <= 0 || size > 1 && b[size-1] == 0 {
			return nil, nil, false
		}
		list, b = append(list, v), b[size:]
	}
	return list, b, true
}
