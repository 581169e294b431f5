package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

// How long a log line may wait for company, and how much may wait: at full
// speed a write a line would cost more than the mail does.
const (
	logWait = 100 * time.Millisecond
	logHold = 64 << 10
)

// lineBuffer gathers log lines and writes them together.
type lineBuffer struct {
	mu   sync.Mutex // guards what follows
	w    io.Writer
	buf  []byte
	wake *time.Timer // flushes what waits; stopped while nothing does
}

func newLineBuffer(w io.Writer) *lineBuffer {
	b := &lineBuffer{w: w}
	b.wake = time.AfterFunc(logWait, b.Flush)
	return b
}

// Write takes one line. It never fails: a log that cannot be written must not
// stop the mail.
func (b *lineBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.buf) == 0 {
		b.wake.Reset(logWait)
	}
	b.buf = append(b.buf, p...)
	if len(b.buf) >= logHold {
		b.flush()
	}
	return len(p), nil
}

// Flush writes what waits.
func (b *lineBuffer) Flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flush()
}

func (b *lineBuffer) flush() {
	if len(b.buf) > 0 {
		_, _ = b.w.Write(b.buf)
		b.buf = b.buf[:0]
	}
}

// prompt hands warnings and errors on at once: the process may not live to
// flush them.
type prompt struct {
	slog.Handler
	flush func()
}

func (p prompt) Handle(ctx context.Context, r slog.Record) error {
	err := p.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		p.flush()
	}
	return err
}

func (p prompt) WithAttrs(as []slog.Attr) slog.Handler {
	return prompt{p.Handler.WithAttrs(as), p.flush}
}
func (p prompt) WithGroup(n string) slog.Handler { return prompt{p.Handler.WithGroup(n), p.flush} }

// newLog makes the node's log, which goes by level; the returned function writes
// what still waits.
func newLog(w io.Writer, level slog.Leveler, format string) (*slog.Logger, func()) {
	opt := &slog.HandlerOptions{Level: level}
	b := newLineBuffer(w)
	if format == "json" {
		return slog.New(prompt{slog.NewJSONHandler(b, opt), b.Flush}), b.Flush
	}
	return slog.New(prompt{slog.NewTextHandler(b, opt), b.Flush}), b.Flush
}
