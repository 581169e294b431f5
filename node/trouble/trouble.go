// Package trouble says in the log what goes wrong over and over, without
// flooding it: once when it begins, then at most once a minute with the count
// of what was not said, and once when all is well again.
//
// It hides when a line is due. It must never decide anything but that: who
// calls it goes on exactly as without it.
package trouble

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// every is how often a lasting trouble is said again.
	every = time.Minute
	// steady is how long it must have been well before the same trouble counts
	// as a new one: what comes and goes each second is one trouble.
	steady = 10 * time.Second
	// over is how long a trouble that nobody met, and nobody called well, is
	// remembered: the peer was removed, or is not asked any more.
	over = 10 * time.Minute
)

// Log says one kind of trouble, of each of several: peers, or tenants. Its
// methods may be called concurrently.
type Log[K comparable] struct {
	log   *slog.Logger
	level slog.Level
	text  string
	key   string
	bad   atomic.Int64 // how many of all are bad: without any Well has nothing to do

	mu  sync.Mutex // guards all, and changes of bad
	all map[K]*state
}

// state is one peer's or tenant's.
type state struct {
	bad        bool
	shown      bool      // its last line was of trouble, so the good end is worth one
	began      time.Time // of the trouble
	met        time.Time // last
	well       time.Time // since when it is, while not bad
	said       time.Time // last line of trouble
	suppressed int       // since that line
}

// New makes a Log of one trouble. The text is the message of its lines; that of
// the good end has ": well again" behind it. The key says in them who it is.
func New[K comparable](l *slog.Logger, level slog.Level, text, key string) *Log[K] {
	return &Log[K]{log: l, level: level, text: text, key: key, all: map[K]*state{}}
}

// Bad notes that it went wrong once more with who. The attributes, as slog takes
// them, are of this time.
func (l *Log[K]) Bad(who K, attrs ...any) {
	suppressed, due := l.met(who, time.Now())
	if !due {
		return
	}
	line := append([]any{l.key, who}, attrs...)
	if suppressed > 0 {
		line = append(line, "suppressed", suppressed)
	}
	l.log.Log(context.Background(), l.level, l.text, line...)
}

func (l *Log[K]) met(who K, now time.Time) (suppressed int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.all[who]
	if s == nil {
		l.forget(now)
		s = &state{well: now.Add(-steady)}
		l.all[who] = s
	}
	fresh := !s.bad && now.Sub(s.well) >= steady || s.bad && now.Sub(s.met) >= over
	if !s.bad {
		s.bad = true
		l.bad.Add(1)
	}
	s.met = now
	if fresh {
		s.began = now
	} else if now.Sub(s.said) < every {
		s.suppressed++
		return 0, false
	}
	suppressed = s.suppressed
	s.shown, s.said, s.suppressed = true, now, 0
	return suppressed, true
}

// Well notes that it went right with who. It costs next to nothing while there
// is no trouble.
func (l *Log[K]) Well(who K) {
	if l.bad.Load() == 0 {
		return
	}
	lasted, suppressed, due := l.ended(who, time.Now())
	if !due {
		return
	}
	line := []any{l.key, who, "lasted", lasted.Round(time.Millisecond)}
	if suppressed > 0 {
		line = append(line, "suppressed", suppressed)
	}
	l.log.Info(l.text+": well again", line...)
}

func (l *Log[K]) ended(who K, now time.Time) (lasted time.Duration, suppressed int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.all[who]
	if s == nil || !s.bad {
		return 0, 0, false
	}
	s.bad, s.well = false, now
	l.bad.Add(-1)
	if !s.shown {
		return 0, 0, false
	}
	suppressed = s.suppressed
	s.shown, s.suppressed = false, 0
	return now.Sub(s.began), suppressed, true
}

// forget drops whom nobody met for long. The caller holds the lock.
func (l *Log[K]) forget(now time.Time) {
	for who, s := range l.all {
		if now.Sub(s.met) >= over {
			if s.bad {
				l.bad.Add(-1)
			}
			delete(l.all, who)
		}
	}
}
