package cluster

import (
	"context"
	"io"
	"log"
	"log/slog"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// raftLog is raft's logger on slog. raft tells of ordinary work at info and of
// every start at warn, so both go a level down.
type raftLog struct {
	log  *slog.Logger
	name string
	args []any
}

var _ hclog.Logger = raftLog{}

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Error:
		return slog.LevelError
	case hclog.Warn:
		return slog.LevelInfo
	case hclog.Info:
		return slog.LevelDebug
	default:
		return slog.LevelDebug - 4
	}
}

// unreached starts what raft says, many times a second, of a node that does not
// answer, and a node of the leader's notices of entries it does not have yet.
// That a node is away is told once, by its lease.
var unreached = []string{
	"failed to heartbeat to", "failed to appendEntries to", "failed to make requestVote RPC",
	"failed to pipeline appendEntries to", "failed to decode incoming command", "failed to contact",
	"failed to get previous log",
}

// Log implements hclog.Logger.
func (l raftLog) Log(level hclog.Level, msg string, args ...any) {
	at := slogLevel(level)
	if slices.ContainsFunc(unreached, func(start string) bool { return strings.HasPrefix(msg, start) }) {
		at = slog.LevelDebug
	}
	if !l.log.Enabled(context.Background(), at) {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = f[1:]
		}
	}
	l.log.Log(context.Background(), at, "raft: "+msg, args...)
}

func (l raftLog) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l raftLog) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l raftLog) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l raftLog) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l raftLog) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l raftLog) enabled(level hclog.Level) bool {
	return l.log.Enabled(context.Background(), slogLevel(level))
}

func (l raftLog) IsTrace() bool { return l.enabled(hclog.Trace) }
func (l raftLog) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l raftLog) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l raftLog) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l raftLog) IsError() bool { return l.enabled(hclog.Error) }

// ImpliedArgs implements hclog.Logger.
func (l raftLog) ImpliedArgs() []any { return l.args }

// With implements hclog.Logger.
func (l raftLog) With(args ...any) hclog.Logger {
	return raftLog{
		log:  l.log.With(args...),
		name: l.name,
		args: append(append([]any(nil), l.args...), args...),
	}
}

// Name implements hclog.Logger.
func (l raftLog) Name() string { return l.name }

// Named implements hclog.Logger.
func (l raftLog) Named(name string) hclog.Logger {
	if l.name != "" {
		name = l.name + "." + name
	}
	return l.ResetNamed(name)
}

// ResetNamed implements hclog.Logger.
func (l raftLog) ResetNamed(name string) hclog.Logger {
	l.name = name
	return l
}

// SetLevel implements hclog.Logger; the level is the slog handler's.
func (l raftLog) SetLevel(hclog.Level) {}

// GetLevel implements hclog.Logger.
func (l raftLog) GetLevel() hclog.Level { return hclog.NoLevel }

// StandardLogger implements hclog.Logger.
func (l raftLog) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(o), "", 0)
}

// StandardWriter implements hclog.Logger.
func (l raftLog) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return lineWriter{l}
}

type lineWriter struct{ log raftLog }

func (w lineWriter) Write(p []byte) (int, error) {
	w.log.Info(string(p))
	return len(p), nil
}
