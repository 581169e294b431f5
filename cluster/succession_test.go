package cluster

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestHandOverAgain: a second attempt to hand leadership over to a server that
// the first one did not reach must not end in a raft that refuses every command
// for ever once it leads again. Whether raft falls for it is a throw of a coin,
// so it is thrown some times.
func TestHandOverAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := emptyTrio(t)
		var off atomic.Int64 // of the clock of n1
		clocks := x.set
		x.set = func(cfg *Config) {
			clocks(cfg)
			if cfg.Name == "n1" {
				cfg.Now = func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
			}
		}
		x.grow(3)
		for round := range 12 {
			n1 := x.leadBy(t, "n1")
			n1.mustAdd(numbered("before", round))
			time.Sleep(2 * askPause)
			// n2 hears nothing, so it lacks an entry, and is the first to be asked.
			x.lan.sever("n1", "n2")
			n1.mustAdd(numbered("alone", round))
			off.Store(int64(-2 * maxSkew))
			time.Sleep(election - leaderLease + 2*tickPause)
			x.lan.isolate("n1")
			time.Sleep(election)
			off.Store(0)
			x.lan.rejoin("n1")
			x.follower().mustAdd(numbered("after", round))
		}
	})
}

// leadBy makes a node lead, and waits until it does.
func (x *trio) leadBy(t *testing.T, name string) *running {
	t.Helper()
	eventually(t, 5*time.Minute, name+" leads", func() bool {
		l := x.leader()
		if l == nil {
			return false
		}
		if l.cfg.Name == name {
			return true
		}
		for _, s := range l.raft.GetConfiguration().Configuration().Servers {
			if string(s.ID) == name {
				_ = l.cede([]raft.Server{s})
			}
		}
		return false
	})
	x.converge()
	return x.node(name)
}

// TestCede: a leader that has nobody left to ask falls silent, so that another
// one is elected, and speaks again in a later term.
func TestCede(t *testing.T) {
	bubble(t, func(t *testing.T) {
		x := newTrio(t, 3)
		l := x.awaitLeader()
		term := l.leadTerm.Load()
		for _, heir := range l.heirs() {
			l.succession.claim(term, heir.ID)
		}
		if err := l.cede(l.heirs()); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, "another term", func() bool {
			next := x.leader()
			return next != nil && next.leadTerm.Load() > term
		})
		x.mustAdd("after")
		x.leadBy(t, l.cfg.Name).mustAdd("again")
		x.converge()
	})
}
