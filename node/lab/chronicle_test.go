package lab

import (
	"strings"
	"testing"
	"time"
)

// forged is a history made up by hand: seconds from a common start.
type forged struct {
	*Chronicle
	start time.Time
}

func newForged() *forged {
	return &forged{
		Chronicle: NewChronicle(
			map[string]string{"127.77.1.11": "n1", "127.77.2.11": "n2", "127.77.2.12": "n2", "127.77.3.11": "n3"},
			map[string]string{"shoes.test": "shoes"}),
		start: time.Now().Add(-time.Hour),
	}
}

func (f *forged) at(s float64) time.Time { return f.start.Add(time.Duration(s * float64(time.Second))) }

func (f *forged) reign(s float64, epoch uint64, node string) {
	f.Reigns(Reign{Tenant: "shoes", Epoch: epoch, Node: node, At: f.at(s)})
}

func (f *forged) dot(s float64, source string) {
	f.Taken(&Mail{From: "mail@shoes.test", Rcpts: []string{"a@inbox.test"}, Source: source, At: f.at(s)})
}

func (f *forged) mail(s float64, n byte, rcpt string) {
	f.Taken(&Mail{From: "mail@shoes.test", Rcpts: []string{rcpt}, Source: "127.77.1.11", At: f.at(s), UID: UID{n}.String()})
}

func (f *forged) fault(what, node string, from, to float64) {
	x := Fault{What: what, Node: node, From: f.at(from)}
	if to != 0 {
		x.To = f.at(to)
	}
	f.Chronicle.faults = append(f.Chronicle.faults, x)
}

func TestChronicleFindsWhatMustNotBe(t *testing.T) {
	tests := []struct {
		name  string
		do    func(f *forged)
		wrong string // part of the only complaint; "" is none
	}{
		{"one owner", func(f *forged) { f.reign(0, 1, "n1"); f.dot(1, "127.77.1.11"); f.dot(2, "127.77.1.11") }, ""},
		{"a failover", func(f *forged) {
			f.reign(0, 1, "n1")
			f.dot(1, "127.77.1.11")
			f.reign(9, 3, "n2")
			f.dot(10, "127.77.2.11")
			f.dot(11, "127.77.2.12")
		}, ""},
		{"there and back, entered in any order", func(f *forged) {
			f.dot(30, "127.77.1.11")
			f.reign(9, 3, "n2")
			f.dot(10, "127.77.2.11")
			f.reign(20, 5, "n1")
			f.reign(0, 1, "n1")
			f.dot(1, "127.77.1.11")
		}, ""},
		{"one reign told twice", func(f *forged) { f.reign(9, 1, "n1"); f.reign(0, 1, "n1"); f.dot(1, "127.77.1.11") }, ""},
		{"a dot a little before its log line", func(f *forged) { f.reign(1, 1, "n1"); f.dot(0.5, "127.77.1.11") }, ""},
		{"a source changes without an epoch", func(f *forged) {
			f.reign(0, 1, "n1")
			f.dot(1, "127.77.1.11")
			f.dot(2, "127.77.2.11")
			f.dot(3, "127.77.1.11")
		}, "without an epoch"},
		{"a source changes before its epoch", func(f *forged) {
			f.reign(0, 1, "n1")
			f.dot(2, "127.77.2.11")
			f.reign(4, 2, "n2")
		}, "without an epoch"},
		{"back to the old node under its old epoch", func(f *forged) {
			f.reign(0, 1, "n1")
			f.dot(1, "127.77.1.11")
			f.reign(9, 3, "n2")
			f.dot(10, "127.77.2.11")
			f.dot(10.1, "127.77.1.11")
		}, "without an epoch"},
		{"the old owner sends on beside the silent new one", func(f *forged) {
			f.reign(0, 1, "n1")
			f.reign(9, 3, "n2")
			f.dot(10, "127.77.1.11")
		}, "after node n2 owned it"},
		{"the same from a node that had owned it twice", func(f *forged) {
			f.reign(0, 1, "n1")
			f.reign(1, 2, "n1")
			f.dot(2, "127.77.1.11")
			f.reign(9, 3, "n2")
			f.reign(10, 4, "n2")
			f.dot(12, "127.77.1.11")
		}, "after node n2 owned it"},
		{"a node that never owned it", func(f *forged) { f.reign(0, 1, "n1"); f.dot(1, "127.77.3.11") }, "without an epoch"},
		{"nobody is known to own it", func(f *forged) { f.dot(1, "127.77.1.11") }, "without an epoch"},
		{"no source of anybody", func(f *forged) { f.reign(0, 1, "n1"); f.dot(1, "127.0.0.1") }, "is no source"},
		{"two owners of one epoch", func(f *forged) { f.reign(0, 1, "n1"); f.reign(0, 1, "n2") }, "under one epoch"},
		{"a thawed node's last dot", func(f *forged) {
			f.reign(0, 1, "n1")
			f.fault("freeze", "n1", 5, 15)
			f.reign(9, 3, "n2")
			f.dot(10, "127.77.2.11")
			f.dot(15.2, "127.77.1.11")
		}, ""},
		{"a thawed node that goes on sending", func(f *forged) {
			f.reign(0, 1, "n1")
			f.fault("freeze", "n1", 5, 15)
			f.reign(9, 3, "n2")
			f.dot(10, "127.77.2.11")
			f.dot(18, "127.77.1.11")
		}, "without an epoch"},
		{"a double at a kill", func(f *forged) {
			f.reign(0, 1, "n1")
			f.fault("kill", "n1", 20, 0)
			f.mail(19.9, 1, "a@inbox.test")
			f.mail(30, 1, "a@inbox.test")
		}, ""},
		{"a double during a cut", func(f *forged) {
			f.reign(0, 1, "n1")
			f.fault("cut", "n1", 20, 40)
			f.mail(30, 1, "a@inbox.test")
			f.mail(39, 1, "a@inbox.test")
		}, ""},
		{"a double long before the kill", func(f *forged) {
			f.reign(0, 1, "n1")
			f.fault("kill", "n1", 20, 0)
			f.mail(9, 1, "a@inbox.test")
			f.mail(10, 1, "a@inbox.test")
		}, "no fault was near"},
		{"a double after the kill", func(f *forged) {
			f.reign(0, 1, "n1")
			f.fault("kill", "n1", 20, 0)
			f.mail(29, 1, "a@inbox.test")
			f.mail(30, 1, "a@inbox.test")
		}, "no fault was near"},
		{"the second of three arrivals has no excuse", func(f *forged) {
			f.reign(0, 1, "n1")
			f.fault("kill", "n1", 20, 0)
			f.mail(20, 1, "a@inbox.test")
			f.mail(30, 1, "a@inbox.test")
			f.mail(40, 1, "a@inbox.test")
		}, "no fault was near"},
		{"a forgetful receiver", func(f *forged) {
			f.reign(0, 1, "n1")
			f.mail(1, 1, "a@forgetful.test")
			f.mail(2, 1, "a@forgetful.test")
		}, ""},
		{"a bare line end", func(f *forged) { f.Taken(&Mail{MX: "mx.inbox.test", Bare: 1}) }, "bare line ends"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newForged()
			tt.do(f)
			got := f.Check(StandardRules())
			switch {
			case tt.wrong == "" && len(got.Wrong) > 0:
				t.Errorf("Check found %v", got.Wrong)
			case tt.wrong != "" && (len(got.Wrong) != 1 || !strings.Contains(got.Wrong[0], tt.wrong)):
				t.Errorf("Check found %q, want only %q", got.Wrong, tt.wrong)
			}
		})
	}
}

func TestChronicleCounts(t *testing.T) {
	f := newForged()
	f.reign(0, 1, "n1")
	f.dot(1, "127.77.1.11")
	f.reign(9, 3, "n2")
	f.dot(10, "127.77.2.11")
	f.reign(19, 5, "n1")
	f.dot(20, "127.77.1.11")
	f.fault("freeze", "n2", 9, 20)
	f.dot(20.5, "127.77.2.12")
	f.fault("kill", "n1", 25, 0)
	f.mail(25, 1, "a@inbox.test")
	f.mail(26, 1, "a@inbox.test")
	got := f.Check(StandardRules())
	if got.Moves != 2 || got.Thawed != 1 || got.Doubles != 1 || got.Dots != 6 || len(got.Wrong) > 0 {
		t.Errorf("Check = %+v", got)
	}
	if first := f.FirstFrom("shoes", "n1", f.at(5)); !first.Equal(f.at(10)) {
		t.Errorf("the first dot of another node than n1 came at %v, want %v", first, f.at(10))
	}
	if first := f.FirstFrom("shoes", "n2", f.at(25)); !first.Equal(f.at(25)) && !first.Equal(f.at(26)) {
		t.Errorf("the first dot of another node than n2 after 25 s came at %v", first)
	}
	if all := f.Arrivals(KeyOf(UID{1}, "a@inbox.test")); len(all) != 2 || !all[0].Equal(f.at(25)) {
		t.Errorf("the doubled message arrived at %v", all)
	}
	if first := f.FirstFrom("shoes", "n1", f.at(21)); !first.IsZero() {
		t.Errorf("a dot of another node than n1 after 21 s: %v", first)
	}
}

func TestChronicleKnowsTenants(t *testing.T) {
	c := newForged()
	for _, tt := range []struct {
		from string
		rcpt string
		want string
	}{
		{"mail@shoes.test", "a@inbox.test", "shoes"},
		{"Mail@Shoes.Test", "a@inbox.test", "shoes"},
		{"", "mail@shoes.test", "shoes"}, // a notice goes back to its tenant
		{"mail@elsewhere.test", "mail@shoes.test", ""},
		{"", "a@inbox.test", ""},
	} {
		if got := c.Tenant(&Mail{From: tt.from, Rcpts: []string{tt.rcpt}}); got != tt.want {
			t.Errorf("mail from <%s> to <%s> is of %q, want %q", tt.from, tt.rcpt, got, tt.want)
		}
	}
}

func TestOverLimit(t *testing.T) {
	for _, tt := range []struct {
		c    Counts
		over bool
	}{
		{Counts{Accepted: 10}, false},
		{Counts{Accepted: 11}, true},
		{Counts{Accepted: 9, Unknown: 5, Rescued: 1}, false},
		{Counts{Accepted: 9, Unknown: 5, Rescued: 2}, true},
	} {
		if err := OverLimit(tt.c, 10); (err != nil) != tt.over {
			t.Errorf("OverLimit(%+v, 10) = %v", tt.c, err)
		}
	}
}

func TestChronicleSeesUnforcedMoves(t *testing.T) {
	for _, tt := range []struct {
		name     string
		fault    func(f *forged)
		unforced int
	}{
		{"a kill of the owner", func(f *forged) { f.fault("kill", "n1", 5, 20) }, 0},
		{"a cut of nobody in particular", func(f *forged) { f.fault("cut", "", 5, 0) }, 0},
		{"no fault", func(*forged) {}, 1},
		{"a kill of another node", func(f *forged) { f.fault("kill", "n3", 5, 20) }, 1},
		{"a kill that came after", func(f *forged) { f.fault("kill", "n1", 11, 20) }, 1},
		{"a kill long ago", func(f *forged) { f.fault("kill", "n1", -100, -50) }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newForged()
			f.reign(0, 1, "n1")
			f.reign(1, 2, "n1")
			tt.fault(f)
			f.reign(10, 3, "n2")
			if got := f.Check(StandardRules()); len(got.Unforced) != tt.unforced || len(got.Wrong) > 0 {
				t.Errorf("Check = %+v, want %d moves without a cause", got, tt.unforced)
			}
		})
	}
}
