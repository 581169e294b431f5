package tenant

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// note puts aside what will be heard of an hour's mail.
func (x *trial) note(m *mailer, _ int, s sent, at time.Time) {
	for _, d := range s.complaints {
		x.open = append(x.open, complaint{m.n, at.Add(d)})
	}
	x.write(m.n, at, int(s.counts.Tried), s.first)
	if s.fed > 0 {
		x.heard.Fed = append(x.heard.Fed, Fed{AccountID(m.n), at, uint64(s.fed)})
	}
	d := x.dice(x.seed, 6, uint64(m.n), uint64(at.Unix()))
	for range s.traps {
		if d.chance(x.list.known) {
			x.echo(m.n, EchoTrap, at)
		}
	}
	if m.logins > 0 && at.Equal(m.loginAt) {
		for range m.logins {
			x.echo(m.n, EchoLogin, at)
		}
	}
}

func (x *trial) echo(by int, kind EchoKind, at time.Time) {
	x.refs++
	x.heard.Echoes = append(x.heard.Echoes, Echo{AccountID(by), kind, x.dice(x.seed, 7, x.refs).Uint64(), at})
}

// greet is the first login of each account.
func (x *trial) greet() {
	for _, m := range x.accounts {
		at := x.start.AddDate(0, 0, -20)
		if m.began.After(at) {
			at = m.began
		}
		if at.Before(x.start) {
			x.echo(m.n, EchoLogin, at)
		}
	}
	x.tell()
}

// tell tells the cluster what has been heard by now.
func (x *trial) tell() {
	x.open = slices.DeleteFunc(x.open, func(c complaint) bool {
		if c.at.After(x.now) {
			return false
		}
		x.echo(c.by, EchoComplaint, c.at)
		return true
	})
	for echoes := range slices.Chunk(x.heard.Echoes, MaxHeard) {
		x.do(Heard{Node: 1, Echoes: echoes})
	}
	for fed := range slices.Chunk(x.heard.Fed, MaxHeard) {
		x.do(Heard{Node: 1, Fed: fed})
	}
	x.heard = Heard{}
	x.tellWrote()
}

// letter is what an account wrote in some hour and nobody was told of yet.
type letter struct {
	by         int
	at         time.Time
	all, first int
}

func (x *trial) write(by int, at time.Time, all, first int) {
	if all > 0 {
		x.letters = append(x.letters, letter{by, at, all, first})
	}
}

// tellWrote tells of whom the state would keep, some at a time: how many it
// keeps depends on how many it knows. Who was written to before is known to it.
func (x *trial) tellWrote() {
	for letters := range slices.Chunk(x.letters, MaxWrote) {
		var op Wrote
		for _, l := range letters {
			op.Written = append(op.Written, Written{AccountID(l.by), l.at, uint64(l.all)})
		}
		x.do(op)
	}
	for left := x.letters; len(left) > 0; {
		var op Wrote
		for i := range left {
			l, level := &left[i], uint8(0)
			if c := x.s.circles.get(AccountID(l.by)); c != nil {
				level = c.level
			}
			part := min(l.first, maxCircle/2<<level)
			l.first -= part
			d := x.dice(x.seed, 12, uint64(l.by), uint64(l.at.Unix()), uint64(l.first))
			kept := part
			if level > 0 {
				kept = d.some(float64(part) / float64(uint64(1)<<level))
			}
			for range kept {
				op.Recipients = append(op.Recipients, Recipient{AccountID(l.by), d.Uint32() << level, l.at})
			}
		}
		for part := range slices.Chunk(op.Recipients, MaxWrote) {
			x.do(Wrote{Recipients: part})
		}
		left = slices.DeleteFunc(left, func(l letter) bool { return l.first == 0 })
	}
	x.letters = nil
}

// befriend tells of whom each account wrote to before four weeks ago.
func (x *trial) befriend(at time.Time) {
	for _, m := range x.accounts {
		if m.began.Before(at) {
			days := 5.0
			if m.kind == "news" || m.kind == "sloppy" {
				days = 1
			}
			n := int(days * m.usual.volume)
			x.write(m.n, at.Add(7*time.Hour), n, n) // so that it is remembered at all
		}
	}
	x.tell()
}

// advertise tells what accounts' mail had links to: each has a domain of its own,
// every day that it sends. Two nodes were told which of them lists of domains have.
func (x *trial) advertise() {
	var linked []Link
	var seen []SeenDomain
	for i, m := range x.accounts {
		domain, day := fmt.Sprintf("l%d.test", m.n), -1
		for k := range x.pre {
			if at := x.start.Add(time.Duration(k) * time.Hour); x.pre[k][i].counts.Tried > 0 && day != k/24 {
				day = k / 24
				linked = append(linked, Link{AccountID(m.n), domain, at})
			}
		}
		who := "innocent.domain"
		if m == x.spammer {
			who = "spammer.domain"
		}
		if d := x.dice(x.seed, 13, uint64(m.n)); day >= 0 && d.chance(d.draw(who)) {
			seen = append(seen, SeenDomain{Domain: domain, Zone: "dbl.test", At: x.now, Values: []netip.Addr{netip.MustParseAddr("127.0.1.2")}})
		}
	}
	for part := range slices.Chunk(linked, MaxLinked) {
		x.do(Linked{Node: 1, Links: part})
	}
	for n := NodeID(1); n <= 2 && len(seen) > 0; n++ {
		x.do(SawDomains{Node: n, Seen: seen})
	}
}
