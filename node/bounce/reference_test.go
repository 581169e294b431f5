package bounce

import (
	"math"
	"strings"
	"testing"

	"postern/tenant"
)

func signerOf(t testing.TB, secret string) *Signer {
	t.Helper()
	s, err := NewSigner([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const secretA, secretB = "0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdeF"

func TestReferenceHeader(t *testing.T) {
	s := signerOf(t, secretA)
	for _, r := range []Reference{
		{}, {Tenant: 7, Account: 12, Transaction: [16]byte{1, 2, 3, 15: 9}},
		{Tenant: math.MaxUint64, Account: math.MaxUint64, Transaction: [16]byte{0: 255, 15: 255}},
	} {
		v := s.Header(r)
		got, err := s.ReadHeader(v)
		if err != nil || got != r || len(v) > 100 {
			t.Errorf("%+v: %q: %+v, %v", r, v, got, err)
		}
		if _, err := signerOf(t, secretB).ReadHeader(v); err == nil {
			t.Error("another cluster's key took it")
		}
		changedAny(t, v, func(v string) bool { _, err := s.ReadHeader(v); return err == nil })
	}
	for _, v := range []string{"", "v1.", "v1..", "v2.AAAA.AAAA", strings.Repeat("v", 10000)} {
		if _, err := s.ReadHeader(v); err == nil {
			t.Errorf("%.20q was taken", v)
		}
	}
}

func TestReturnPath(t *testing.T) {
	s := signerOf(t, secretA)
	for _, p := range []ReturnPath{
		{}, {Tenant: 7, Epoch: 3<<48 | 12, Seq: 1e9, Rcpt: 49}, {Tenant: 1, Epoch: 1, Seq: 1},
		{Tenant: 65000, Epoch: 1 << 62, Seq: 1 << 40, Rcpt: maxIndex}, {Tenant: 7, Epoch: 3<<48 | 12, Seq: 1e9, Rcpt: AnyRcpt},
	} {
		local, ok := s.Local(p)
		if !ok || len(local) > 64 {
			t.Errorf("%+v: %q, %v", p, local, ok)
		}
		for _, form := range []string{local, strings.ToUpper(local)} {
			if got, err := s.ReadLocal(form); err != nil || got != p {
				t.Errorf("%+v: %q: %+v, %v", p, form, got, err)
			}
		}
		if _, err := signerOf(t, secretB).ReadLocal(local); err == nil {
			t.Error("another cluster's key took it")
		}
		changedAny(t, local, func(v string) bool { _, err := s.ReadLocal(v); return err == nil })
	}
	for _, p := range []ReturnPath{{Rcpt: -2}, {Rcpt: maxIndex + 1}, {Tenant: math.MaxUint64, Epoch: math.MaxUint64, Seq: math.MaxUint64}} {
		if local, ok := s.Local(p); ok {
			t.Errorf("%+v: %q", p, local)
		}
	}
	if _, err := NewSigner([]byte("short")); err == nil {
		t.Error("a short secret was taken")
	}
	// A header's token is no return path, and the other way round.
	if _, err := s.ReadLocal("b-" + s.Header(Reference{})); err == nil {
		t.Error("a reference passed for a return path")
	}
}

// changedAny changes each octet of a token; none of the results may be taken.
func changedAny(t *testing.T, v string, taken func(string) bool) {
	t.Helper()
	for i := range len(v) {
		for _, c := range []byte{'a', 'b', '2', '\n', 0} {
			if w := v[:i] + string(c) + v[i+1:]; w != v && !strings.EqualFold(w, v) && taken(w) {
				t.Fatalf("%q was taken for %q", w, v)
			}
		}
		if taken(v[:i] + "\n" + v[i:]) {
			t.Fatalf("%q with a line end at %d was taken", v, i)
		}
	}
	if taken(v[:len(v)-1]) || taken(v+"a") || taken(v+"\n") {
		t.Fatalf("%q, cut or longer, was taken", v)
	}
}

func FuzzReference(f *testing.F) {
	s := signerOf(f, secretA)
	f.Add(s.Header(Reference{Tenant: 1, Account: 2}), uint64(1), uint64(2), uint64(3), 4)
	local, _ := s.Local(ReturnPath{Tenant: 1, Epoch: 2, Seq: 3, Rcpt: 4})
	f.Add(local, uint64(math.MaxUint64), uint64(0), uint64(1<<40), 999)
	f.Fuzz(func(t *testing.T, token string, a, b, c uint64, n int) {
		if r, err := s.ReadHeader(token); err == nil && s.Header(r) != token {
			t.Fatalf("%q is not what is written for %+v", token, r)
		}
		if p, err := s.ReadLocal(token); err == nil {
			if again, ok := s.Local(p); !ok || again != strings.ToLower(token) {
				t.Fatalf("%q is not what is written for %+v", token, p)
			}
		}
		p := ReturnPath{Tenant: tenant.ID(a), Epoch: b, Seq: c, Rcpt: n}
		if local, ok := s.Local(p); ok {
			if got, err := s.ReadLocal(local); err != nil || got != p {
				t.Fatalf("%+v: %+v, %v", p, got, err)
			}
		}
	})
}
