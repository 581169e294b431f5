package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"postern/tenant"
)

func FuzzToken(f *testing.F) {
	t := newToken([32]byte{1, 2, 3}, []string{"127.0.0.1:7946", "[::1]:1", "relay.example:25"})
	f.Add(t.String())
	f.Add(newToken([32]byte{}, nil).String())
	f.Add("postern1.")
	f.Add("postern1.AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := parseToken(s)
		if err != nil {
			if !errors.Is(err, ErrToken) {
				t.Errorf("error %v is no ErrToken", err)
			}
			return
		}
		again, err := parseToken(tok.String())
		if err != nil || again.String() != tok.String() || again.hash() != tok.hash() {
			t.Errorf("%q does not come back: %v", s, err)
		}
		if len(tok.addrs) > maxTokenAddrs {
			t.Errorf("%d addresses", len(tok.addrs))
		}
	})
}

func FuzzCallFrames(f *testing.F) {
	f.Add(putRequest("lease", time.Second, []byte(`{"a":1}`)))
	f.Add(putAnswer(time.Millisecond, []byte("body"), nil))
	f.Add(putAnswer(0, nil, ErrNoLeader))
	f.Add([]byte{recordVersion, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		payload, err := readRecord(bytes.NewReader(b), maxCall)
		if err != nil {
			payload = b // and straight to what lies within
		}
		if verb, left, body, err := getRequest(payload); err == nil {
			again, err := readRecord(bytes.NewReader(putRequest(verb, left, body)), maxCall+maxCallHead)
			if err != nil || !bytes.Equal(again, payload) {
				t.Errorf("request %q does not come back: %v", payload, err)
			}
		}
		if body, _, remote, err := getAnswer(payload); err == nil && remote == nil && !bytes.Equal(body, payload[5:]) {
			t.Errorf("answer %q became %q", payload, body)
		} else if remote != nil && len(remote.Error()) > maxErrorText {
			t.Errorf("an error of %d octets", len(remote.Error()))
		}
	})
}

func FuzzJoinRequest(f *testing.F) {
	good, err := json.Marshal(joinRequest{Secret: make([]byte, secretSize), Name: "b", Advertise: "127.0.0.1:1", Request: []byte{1}})
	if err != nil {
		f.Fatal(err)
	}
	key, _, err := newKey()
	if err != nil {
		f.Fatal(err)
	}
	request, err := newRequest(key, "b")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(request)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := readJoin(b); err == nil && (len(r.Secret) != secretSize || !tenant.ValidPeer(r.Advertise) || r.Name == "") {
			t.Errorf("let through %+v", r)
		}
		if public, _, err := readRequest(b); err == nil && public == nil {
			t.Error("a request without a key")
		}
	})
}

// TestCutFrames: a frame that ends early is an error, never a shorter frame.
func TestCutFrames(t *testing.T) {
	whole := putRequest("lease", time.Second, []byte("body"))
	for n := range whole {
		_, err := readRecord(bytes.NewReader(whole[:n]), maxCall)
		if n == 0 && !errors.Is(err, io.EOF) || n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 0x40
		if got, err := readRecord(bytes.NewReader(bad), maxCall); err == nil {
			t.Errorf("octet %d flipped: %q", i, got)
		}
	}
	if _, err := readRecord(bytes.NewReader(whole), len(whole)-recordHead-1); err == nil {
		t.Error("a frame over the limit was read")
	}
}
