package main

import (
	"errors"
	"slices"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"postern/node/admin"
)

// process stands for a node's process behind the API.
type process struct {
	level admin.LogLevel
	next  admin.Reloaded
	fault error
}

func newProcess() *process {
	return &process{level: admin.LogLevel{Node: "n1", Level: "info", Usual: "info"},
		next: admin.Reloaded{Node: "n1", Changed: []string{}, Restart: []string{}}}
}

func (p *process) LogLevel() admin.LogLevel { return p.level }

func (p *process) SetLogLevel(level string, length time.Duration) admin.LogLevel {
	until := time.Now().Add(length)
	p.level.Level, p.level.Until = level, &until
	return p.level
}

func (p *process) EndLogLevel() admin.LogLevel {
	p.level.Level, p.level.Until = p.level.Usual, nil
	return p.level
}

func (p *process) Reload() (admin.Reloaded, error) { return p.next, p.fault }

// reloads says what the next reload finds: KEY... / KEY..., those taken up and
// those that wait; or a fault.
func reloads(ts *testscript.TestScript, _ bool, args []string) {
	p := ts.Value("process").(*process)
	if args[0] == "fault" {
		p.fault = errors.New("reload configuration: postern.yaml: line 3: no such key")
		return
	}
	i := slices.Index(args, "/")
	p.next.Changed, p.next.Restart = args[:i], args[i+1:]
}
