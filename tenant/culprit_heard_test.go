package tenant

import (
	"slices"
	"time"
)

// note puts aside what will be heard of an hour's mail.
func (x *trial) note(m *mailer, _ int, s sent, at time.Time) {
	for _, d := range s.complaints {
		x.open = append(x.open, complaint{m.n, at.Add(d)})
	}
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
}
