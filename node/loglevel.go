package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"postern/node/admin"
)

// logLevel is how much the node logs: what its file says, or for a while what
// its operator asked for.
type logLevel struct {
	name string
	log  *slog.Logger
	v    *slog.LevelVar // what the process's log goes by

	mu    sync.Mutex // guards what follows, and changes of v
	usual slog.Level
	until time.Time // of another level than the usual one; zero: there is none
	wake  chan struct{}
}

func newLogLevel(name, usual string, v *slog.LevelVar, log *slog.Logger) (*logLevel, error) {
	if v == nil {
		v = new(slog.LevelVar)
	}
	l := &logLevel{name: name, log: log, v: v, wake: make(chan struct{}, 1)}
	if err := l.usual.UnmarshalText([]byte(usual)); err != nil {
		return nil, fmt.Errorf("read log level: %w", err)
	}
	l.v.Set(l.usual)
	return l, nil
}

// Run goes back to the usual level in time, until ctx ends.
func (l *logLevel) Run(ctx context.Context) error {
	for {
		l.mu.Lock()
		over, wait := (<-chan time.Time)(nil), l.until
		l.mu.Unlock()
		if !wait.IsZero() {
			over = time.After(time.Until(wait))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		case <-over:
			l.fallBack()
		}
	}
}

func (l *logLevel) fallBack() {
	l.mu.Lock()
	due := !l.until.IsZero() && !time.Now().Before(l.until)
	l.mu.Unlock()
	if due {
		l.end()
	}
}

// show is the level as admin tells it.
func (l *logLevel) show() admin.LogLevel {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := admin.LogLevel{Node: l.name, Level: levelWord(l.v.Level()), Usual: levelWord(l.usual)}
	if !l.until.IsZero() {
		until := l.until.UTC()
		v.Until = &until
	}
	return v
}

// set logs at level for a while.
func (l *logLevel) set(level slog.Level, length time.Duration) {
	l.mu.Lock()
	l.until = time.Now().Add(length)
	l.v.Set(level)
	l.mu.Unlock()
	l.nudge()
	l.log.Warn("log level changed", "level", levelWord(level), "for", length)
}

// end goes back to the usual level.
func (l *logLevel) end() {
	l.mu.Lock()
	other := !l.until.IsZero()
	l.until = time.Time{}
	l.v.Set(l.usual)
	usual := l.usual
	l.mu.Unlock()
	l.nudge()
	if other {
		l.log.Warn("log level is the usual one again", "level", levelWord(usual))
	}
}

// setUsual changes the usual level; another one asked for stays for its time.
func (l *logLevel) setUsual(level slog.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.usual = level
	if l.until.IsZero() {
		l.v.Set(level)
	}
}

func (l *logLevel) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func levelWord(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}
