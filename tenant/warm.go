package tenant

import (
	"fmt"
	"time"
)

// Warm is an operator's word that receivers know a source: it has sent since a
// day, from the server it comes from, say.
type Warm struct {
	Source SourceID
	Since  time.Time // a day's beginning, UTC
	At     time.Time // when it was said
}

// SetWarm says since when a source is warm; with the zero time, that nobody
// says so.
type SetWarm struct {
	Source SourceID
	Since  time.Time
}

func (SetWarm) op()           {}
func (SetWarm) since() uint32 { return importVersion }

// warmFor is how long the word counts by itself: about as long as receivers
// remember a source that sends nothing. After it, what leaves by it speaks.
const warmFor = 30 * 24 * time.Hour

// WarmSince is the day since which a source is warm by an operator's word, or
// the zero time.
func (s *State) WarmSince(id SourceID) time.Time {
	if x := s.warmths.get(id); x != nil {
		return x.Since
	}
	return time.Time{}
}

// saidWarm says whether the operator's word for a source still counts.
func (s *State) saidWarm(id SourceID) bool {
	x := s.warmths.get(id)
	return x != nil && s.Now().Sub(x.At) < warmFor
}

// ParseDay reads a day as 2026-11-22.
func ParseDay(text string) (time.Time, error) {
	day, err := time.Parse(time.DateOnly, text)
	if err != nil || !inRange(day) {
		return time.Time{}, refuse("%q is no day: write it as 2026-11-22", clip(text))
	}
	return day, nil
}

// dayText writes a day; "" for none.
func dayText(day time.Time) string {
	if day.IsZero() {
		return ""
	}
	return day.Format(time.DateOnly)
}

func (d *draft) setWarm(c SetWarm) error {
	switch {
	case !d.sources.has(c.Source):
		return refuse("source %d is not known", c.Source)
	case c.Since.IsZero():
		remove(d, &d.warmths, c.Source)
		return nil
	case !inRange(c.Since) || !c.Since.Equal(c.Since.Truncate(24*time.Hour)):
		return refuse("a source is warm since a day")
	case c.Since.After(d.Now()):
		return refuse("a source is not warm since %s, which is to come", dayText(c.Since.UTC()))
	}
	put(d, &d.warmths, c.Source, &Warm{Source: c.Source, Since: c.Since.UTC(), At: d.Now()})
	return nil
}

func (*Warm) kind() recordKind { return kindWarm }

func (x *Warm) code(c *coder) {
	number(c, &x.Source)
	c.time(&x.Since)
	c.time(&x.At)
}

func (c *coder) setWarm(o *SetWarm) {
	number(c, &o.Source)
	c.time(&o.Since)
}

func (s *State) checkWarm() error {
	for i, x := range s.warmths.vals {
		if x.Source != s.warmths.keys[i] || !s.sources.has(x.Source) || x.Since.IsZero() || x.Since.After(x.At) || x.At.After(s.Now()) {
			return fmt.Errorf("warmth of source %d", x.Source)
		}
	}
	return nil
}
