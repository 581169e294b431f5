package tenant

import (
	"testing"
	"time"
)

func (d *draft) changeDenial(id SourceID, change func(*Denial)) {
	x := *d.denials.get(id)
	change(&x)
	put(d, &d.denials, id, &x)
}

func denialOf(attempts uint64, by ...uint64) *Denial {
	x := &Denial{Source: 1, Attempts: attempts}
	for i, n := range by {
		p := ProviderDenial{string(rune('a' + i)), n, n}
		x.Providers, x.Refused, x.Messages = append(x.Providers, p), x.Refused+n, x.Messages+n
	}
	return x
}

// One part in twenty of the attempts, twenty messages, three groups: each is
// needed.
func TestDenialReaches(t *testing.T) {
	for _, c := range []struct {
		name string
		x    *Denial
		want bool
	}{
		{"just enough", denialOf(400, 10, 5, 5), true},
		{"too few of all", denialOf(401, 10, 5, 5), false},
		{"too few messages", denialOf(20, 10, 5, 4), false},
		{"two groups", denialOf(40, 20, 20), false},
		{"nothing tried", &Denial{}, false},
	} {
		if got := c.x.Reaches(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// A node tells what matters, and so little that the log does not grow with the
// mail: a day of steady refusals is told of once in ten minutes.
func TestDenialTells(t *testing.T) {
	r, now := DefaultListingRule(), time.Unix(1e9, 0)
	at := func(x *Denial, after time.Duration, named ...Naming) *Denial {
		x.At, x.Named = now.Add(after), named
		return x
	}
	old := at(denialOf(400, 10, 5, 5), 0, Naming{"zen.test", now})
	named := Naming{"zen.test", now.Add(time.Minute)}
	for _, c := range []struct {
		name string
		x    *Denial
		old  *Denial
		want bool
	}{
		{"nothing, as before", at(denialOf(500), 0), nil, false},
		{"the first", at(denialOf(500, 1), 0), nil, true},
		{"a list's name, by a stranger", at(denialOf(500), 0, named), nil, true},
		{"as before", at(denialOf(400, 10, 5, 5), time.Minute, named), old, false},
		{"a few more", at(denialOf(500, 10, 8, 7), time.Minute, named), old, false},
		{"half more", at(denialOf(600, 11, 10, 10), time.Minute, named), old, true},
		{"not enough any more", at(denialOf(500, 10, 5, 5), time.Minute, named), old, true},
		{"another provider", at(denialOf(400, 10, 5, 5, 1), time.Minute, named), old, true},
		{"another list", at(denialOf(400, 10, 5, 5), time.Minute, Naming{"cop.test", now}), old, true},
		{"the list again, later", at(denialOf(400, 10, 5, 5), 11*time.Minute, Naming{"zen.test", now.Add(11 * time.Minute)}), old, true},
		{"a third of the window later", at(denialOf(400, 10, 5, 5), 10*time.Minute, named), old, true},
		{"it is over", at(denialOf(400), time.Minute), old, true},
	} {
		if got := c.x.Tells(c.old, r); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	told, last := 0, (*Denial)(nil)
	for s := range 24 * 3600 {
		x := at(denialOf(uint64(3000+s%97), uint64(300+s%7), uint64(200+s%5), 100), time.Duration(s)*time.Second, Naming{"zen.test", now.Add(time.Duration(s) * time.Second)})
		if x.Tells(last, r) {
			told, last = told+1, x
		}
	}
	if told < 144 || told > 150 {
		t.Errorf("told %d times a day", told)
	}
}
