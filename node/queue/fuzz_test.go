package queue

import (
	"bytes"
	"reflect"
	"testing"
	"time"
)

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"1-2-3", "18446744073709551615-1-1", "0-1-1", "01-1-1", "1-1", "1-1-1-1", "-1-1", "+1-1-1", "1-1-1 ", "１-1-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			return
		}
		if id.String() != s || id.Tenant == 0 || id.Epoch == 0 || id.Seq == 0 {
			t.Fatalf("%q read as %v", s, id)
		}
	})
}

func TestParseIDRefuses(t *testing.T) {
	for _, s := range []string{"", "-", "--", "1-2-03", "0-1-1", "1-0-1", "1-1-0", "+1-1-1", "1-1-18446744073709551616", "1-1-1-1", "1_0-1-1", " 1-1-1"} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("%q read as %v", s, id)
		}
	}
	if id, err := ParseID("7-20-300"); err != nil || id != (ID{7, 20, 300}) {
		t.Errorf("%v %v", id, err)
	}
}

func fullHead() *head {
	e := envelope("x@one.test", "y@two.test", "z@ONE.test")
	e.Size, e.EightBit, e.UTF8, e.Ret, e.EnvID = 77, true, true, "FULL", "env id"
	e.Rcpts[1].Notify, e.Rcpts[1].ORcpt = NotifyDelay|NotifyFailure, "rfc822;y@two.test"
	copy(e.Transaction[:], "0123456789abcdef")
	h := &head{env: e, due0: 1234567890, place: bodyChunk, prefix: 12, crc: 0xdeadbeef}
	copy(h.chunk[:], "fedcba9876543210")
	if err := h.split(); err != nil {
		panic(err)
	}
	return h
}

// FuzzRecords feeds whatever may lie on a damaged disk to every decoder. None
// may panic, and what is read is written back alike.
func FuzzRecords(f *testing.F) {
	h := fullHead()
	st := &shareState{ended: true, attempts: 3, due: 99, at: 98, delayed: true, rcpts: []int{0, 2}, last: Reply{451, "4.7.1", "wait"}}
	enc := h.append(nil)
	msg := append([]byte{0, 0, byte(len(enc) >> 8), byte(len(enc))}, enc...)
	for _, b := range [][]byte{msg, append(msg[:len(msg):len(msg)], "body"...), st.append(nil), sum{-5, 1 << 40}.append(nil), seal(newRecord(nil)), dueKey(nil, Lane{1, 2, 1, "d.test"}, dueAt{1, 2, 3, 4, 5}), {}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, body, err := splitMessage(b); err == nil {
			again := h.append(nil)
			h2, err := readHead(again)
			if err != nil || !reflect.DeepEqual(h, h2) || len(body) > len(b) {
				t.Fatalf("message read twice differs: %v", err)
			}
		}
		if st, err := readShare(b); err == nil {
			st2, err := readShare(st.append(nil))
			if err == nil && len(st.last.Text) <= maxReplyText && len(st.last.Enhanced) <= 16 && !reflect.DeepEqual(st, st2) {
				t.Fatal("item read twice differs")
			}
		}
		if v, err := readSum(b); err == nil {
			if v2, err := readSum(v.append(nil)); err != nil || v2 != v {
				t.Fatal("sum read twice differs")
			}
		}
		if l, at, ok := parseDueKey(b); ok && bytes.IndexByte([]byte(l.Domain), 0) < 0 && !bytes.Equal(dueKey(nil, l, at), b) {
			t.Fatal("due key read twice differs")
		}
		_, _ = readTraced(b)
		var r startRecord
		_ = r.decode(b)
		_, _ = unseal(b)
	})
}

func TestHeadSurvives(t *testing.T) {
	h := fullHead()
	got, err := readHead(h.append(nil))
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Fatalf("%+v %v", got, err)
	}
	if got.domains[0] != "one.test" || got.domains[1] != "two.test" || len(got.domains) != 2 {
		t.Fatalf("domains %v", got.domains)
	}
	h.env.Expires = time.Time{}
	if got, err = readHead(h.append(nil)); err != nil || !got.env.Expires.IsZero() {
		t.Fatalf("zero time: %v %v", got.env.Expires, err)
	}
}

func TestLaneDomains(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a@B.Test", "b.test"}, {"a@b.test.", "b.test"}, {`"x@y"@b.test`, "b.test"}, {"ü@BÜCHER.test", "xn--bcher-kva.test"},
		{"a@[192.0.2.1]", "[192.0.2.1]"}, {"a", ""}, {"a@", ""}, {"a@.", ""}, {"a@b\x00c", ""},
	} {
		got, err := laneDomain(c.in)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q: %q %v", c.in, got, err)
		}
	}
}
