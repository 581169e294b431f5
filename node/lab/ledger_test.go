package lab

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

func key(n byte) Key { return Key{n} }

func body8(n byte) Hash { return Hash{n} }

func TestLedgerBalances(t *testing.T) {
	tests := []struct {
		name  string
		do    func(l *Ledger)
		want  Counts // of Final
		sound bool
	}{
		{"delivered", func(l *Ledger) { l.Sent(key(1), body8(1), Accepted); l.Arrived(key(1), body8(1)) },
			Counts{Accepted: 1, Delivered: 1}, true},
		{"arrival before the 250 was read", func(l *Ledger) { l.Arrived(key(1), body8(1)); l.Sent(key(1), body8(1), Accepted) },
			Counts{Accepted: 1, Delivered: 1}, true},
		{"bounced", func(l *Ledger) { l.Sent(key(1), body8(1), Accepted); l.Bounced(key(1)) },
			Counts{Accepted: 1, Bounced: 1}, true},
		{"cancelled", func(l *Ledger) { l.Sent(key(1), body8(1), Accepted); l.Cancelled(key(1)) },
			Counts{Accepted: 1, Cancelled: 1}, true},
		{"lost", func(l *Ledger) { l.Sent(key(1), body8(1), Accepted) },
			Counts{Accepted: 1, Lost: 1}, false},
		{"thought missing, came late", func(l *Ledger) {
			l.Sent(key(1), body8(1), Accepted)
			l.Missing(key(1))
			l.Arrived(key(1), body8(1))
		}, Counts{Accepted: 1, Delivered: 1}, true},
		{"twice", func(l *Ledger) {
			l.Sent(key(1), body8(1), Accepted)
			l.Arrived(key(1), body8(1))
			l.Arrived(key(1), body8(1))
		}, Counts{Accepted: 1, Delivered: 1, Twice: 1}, true},
		{"refused and delivered", func(l *Ledger) { l.Sent(key(1), body8(1), Refused); l.Arrived(key(1), body8(1)) },
			Counts{Refused: 1, Ghosts: 1}, false},
		{"postponed and delivered", func(l *Ledger) { l.Sent(key(1), body8(1), Postponed); l.Arrived(key(1), body8(1)) },
			Counts{Postponed: 1, Ghosts: 1}, false},
		{"unknown and delivered", func(l *Ledger) { l.Sent(key(1), body8(1), Unknown); l.Arrived(key(1), body8(1)) },
			Counts{Unknown: 1, Rescued: 1}, true},
		{"unknown and never seen", func(l *Ledger) { l.Sent(key(1), body8(1), Unknown) },
			Counts{Unknown: 1}, true},
		{"altered", func(l *Ledger) { l.Sent(key(1), body8(1), Accepted); l.Arrived(key(1), body8(2)) },
			Counts{Accepted: 1, Delivered: 1, Altered: 1}, false},
		{"second copy altered", func(l *Ledger) {
			l.Sent(key(1), body8(1), Accepted)
			l.Arrived(key(1), body8(1))
			l.Arrived(key(1), body8(2))
		}, Counts{Accepted: 1, Delivered: 1, Twice: 1, Altered: 1}, false},
		{"out of nowhere", func(l *Ledger) { l.Arrived(key(1), body8(1)) },
			Counts{Strays: 1}, false},
		{"delivered and reported failed", func(l *Ledger) {
			l.Sent(key(1), body8(1), Accepted)
			l.Arrived(key(1), body8(1))
			l.Bounced(key(1))
		}, Counts{Accepted: 1, Delivered: 1, Both: 1}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := NewLedger(0)
			tt.do(l)
			got := l.Final()
			if got != tt.want {
				t.Errorf("Final() = %+v, want %+v", got, tt.want)
			}
			if err := got.Sound(); (err == nil) != tt.sound {
				t.Errorf("Sound() = %v, want sound %v", err, tt.sound)
			}
		})
	}
}

// TestLedgerAnyOrder plays the events of many messages in random order, with
// one lost and one doubled among them, and counts anew from the entries.
func TestLedgerAnyOrder(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := NewLedger(0)
		var events []func()
		const n = 200
		lost, twice := rng.IntN(n), rng.IntN(n)
		for twice == lost {
			twice = rng.IntN(n)
		}
		for i := range n {
			k := KeyOf(UID{byte(i), byte(i >> 8)}, "a@b.test")
			events = append(events, func() { l.Sent(k, body8(byte(i)), Accepted) })
			if i != lost {
				events = append(events, func() { l.Arrived(k, body8(byte(i))) })
			}
			if i == twice {
				events = append(events, func() { l.Arrived(k, body8(byte(i))) })
			}
		}
		rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		for _, e := range events {
			e()
		}
		want := Counts{Accepted: n, Delivered: n - 1, Lost: 1, Twice: 1}
		if got := l.Final(); got != want {
			t.Fatalf("seed %d: Final() = %+v, want %+v", seed, got, want)
		}
		if open := l.Open(10); len(open) != 1 || open[0] != KeyOf(UID{byte(lost), byte(lost >> 8)}, "a@b.test") {
			t.Fatalf("seed %d: Open() = %v, want the lost one", seed, open)
		}
	}
}

func TestLedgerForgetsButKeepsItsCounts(t *testing.T) {
	const remember = 100
	l := NewLedger(remember)
	const n = 10 * remember
	for i := range n {
		k := KeyOf(UID{byte(i), byte(i >> 8)}, "a@b.test")
		l.Sent(k, body8(1), Accepted)
		l.Arrived(k, body8(1))
	}
	if kept := len(l.open) + len(l.ended[0]) + len(l.ended[1]); kept > 2*remember {
		t.Errorf("%d entries kept, want at most %d", kept, 2*remember)
	}
	last := n - 1
	l.Arrived(KeyOf(UID{byte(last), byte(last >> 8)}, "a@b.test"), body8(1))
	want := Counts{Accepted: n, Delivered: n, Twice: 1}
	if got := l.Counts(); got != want {
		t.Errorf("Counts() = %+v, want %+v", got, want)
	}
}

func TestKeyOfFoldsCase(t *testing.T) {
	if KeyOf(UID{1}, "A@B.Test") != KeyOf(UID{1}, "a@b.test") {
		t.Error("keys differ by case")
	}
	if KeyOf(UID{1}, "a@b.test") == KeyOf(UID{2}, "a@b.test") {
		t.Error("keys of two messages are the same")
	}
}

func TestReadNotice(t *testing.T) {
	uid := UID{7}
	text := "From: <mailer-daemon@x.test>\r\nContent-Type: multipart/report;\r\n\treport-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n" +
		"Reporting-MTA: dns; out.test\r\n\r\n" +
		"Final-Recipient: rfc822; a@nobody.test\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1\r\n no such user\r\n\r\n" +
		"Final-Recipient: rfc822;b@slow.test\r\nAction: delayed\r\n\r\n" +
		"Original-Recipient: rfc822; C@full.test\r\nAction: failed\r\nFinal-Recipient: rfc822; c@full.test\r\n" +
		"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nReceived: by x\r\n\twith ESMTPSA id 1-2-3; now\r\n" + UIDHeader + ": " + uid.String() + "\r\nMessage-ID: <m@x>\r\n--b--\r\n"
	n, ok := ReadNotice(text)
	want := Notice{Failed: []FailedRcpt{{"a@nobody.test", "5.1.1", "550 5.1.1 no such user"}, {"c@full.test", "", ""}},
		UID: uid.String(), ReceivedID: "1-2-3", MessageID: "<m@x>"}
	if !ok || !reflect.DeepEqual(n, want) {
		t.Errorf("ReadNotice = %+v %v, want %+v", n, ok, want)
	}
	if _, ok := ReadNotice("Subject: hello\r\n\r\nAction: failed\r\n"); ok {
		t.Error("an ordinary mail passed for a notice")
	}
}

func TestBookLeavesOtherLoadsAlone(t *testing.T) {
	l := NewLedger(0)
	mine, other := UID{1}, UID{2}
	if !Book(l, mine.Run(), &Mail{UID: mine.String(), From: "a@b", Rcpts: []string{"x@y"}}) {
		t.Error("own mail was not booked")
	}
	if Book(l, mine.Run(), &Mail{UID: other.String(), From: "a@b", Rcpts: []string{"x@y"}}) {
		t.Error("another load's mail was booked")
	}
	if Book(l, mine.Run(), &Mail{From: "a@b", Rcpts: []string{"x@y"}, Text: "Final-Recipient: rfc822; x@y\nAction: failed\n"}) {
		t.Error("a person's mail passed for a notice")
	}
	if got := l.Counts(); got != (Counts{Strays: 1}) {
		t.Errorf("Counts() = %+v", got)
	}
}

func FuzzReadNotice(f *testing.F) {
	f.Add("Final-Recipient: rfc822; a@b\r\nAction: failed\r\n\r\nContent-Type: message/rfc822\r\n\r\nX-Lab-Id: 00112233445566778899aabbccddeeff\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		n, ok := ReadNotice(text)
		if ok != (len(n.Failed) > 0) || len(n.Failed) > maxFailed {
			t.Errorf("ok %v with %d recipients", ok, len(n.Failed))
		}
	})
}
