package admin

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// MaxLogLevel is how long another log level than the usual one may last.
const MaxLogLevel = 24 * time.Hour

// Running is the process that this API belongs to.
type Running interface {
	LogLevel() LogLevel
	// SetLogLevel takes one of debug, info, warn and error for a while.
	SetLogLevel(level string, length time.Duration) LogLevel
	EndLogLevel() LogLevel
	// Reload reads the configuration again. Its error says what is wrong with it.
	Reload() (Reloaded, error)
}

// LogLevel is how much a node logs.
type LogLevel struct {
	Node  string     `json:"node"`
	Level string     `json:"level" enum:"debug,info,warn,error"`
	Usual string     `json:"usual" enum:"debug,info,warn,error" doc:"What its configuration says"`
	Until *time.Time `json:"until,omitempty" doc:"When it goes back to the usual level; absent when it is there"`
}

// SetLogLevel asks for another level for a while.
type SetLogLevel struct {
	Level   string `json:"level" enum:"debug,info,warn,error"`
	Seconds int    `json:"seconds,omitempty" minimum:"0" maximum:"86400" doc:"How long; 600 when absent"`
}

// Reloaded says what reading the configuration again did.
type Reloaded struct {
	Node    string   `json:"node"`
	Changed []string `json:"changed" doc:"Keys of the file that have changed and are in force"`
	Restart []string `json:"restart" doc:"Keys that have changed and wait for a restart"`
}

func (s *Server) runningRoutes() {
	type set struct {
		ToNode
		Body SetLogLevel
	}
	const level = "/v1/nodes/{node}/log-level"
	register(s, in{verb: http.MethodGet, path: level, id: "get-log-level", tag: "node", does: "Say how much a node logs"},
		func(ctx context.Context, who caller, i *ToNode) (*out[LogLevel], error) {
			return at(s, who, i.Node, func(r Running) (LogLevel, error) { return r.LogLevel(), nil },
				func(c *Client) (LogLevel, error) { return c.LogLevel(ctx, i.Node) })
		})
	register(s, in{verb: http.MethodPut, path: level, id: "set-log-level", tag: "node", does: "Let a node log more, or less, for a while"},
		func(ctx context.Context, who caller, i *set) (*out[LogLevel], error) {
			length := time.Duration(i.Body.Seconds) * time.Second
			if length == 0 {
				length = 10 * time.Minute
			}
			return at(s, who, i.Node, func(r Running) (LogLevel, error) { return r.SetLogLevel(i.Body.Level, length), nil },
				func(c *Client) (LogLevel, error) { return c.SetLogLevel(ctx, i.Node, i.Body.Level, length) })
		})
	register(s, in{verb: http.MethodDelete, path: level, id: "end-log-level", tag: "node", does: "Let a node log as its configuration says"},
		func(ctx context.Context, who caller, i *ToNode) (*out[LogLevel], error) {
			return at(s, who, i.Node, func(r Running) (LogLevel, error) { return r.EndLogLevel(), nil },
				func(c *Client) (LogLevel, error) { return c.EndLogLevel(ctx, i.Node) })
		})
	register(s, in{verb: http.MethodPost, path: "/v1/nodes/{node}/reload", id: "reload-node", tag: "node",
		does: "Let a node read its configuration file again"},
		func(ctx context.Context, who caller, i *ToNode) (*out[Reloaded], error) {
			return at(s, who, i.Node, reloadOf, func(c *Client) (Reloaded, error) { return c.ReloadNode(ctx, i.Node) })
		})
}

// reloadOf reloads; what is wrong with the file is the operator's to read.
func reloadOf(r Running) (Reloaded, error) {
	v, err := r.Reload()
	if err != nil {
		return v, problem(http.StatusConflict, "nothing has changed: mend the file, then try again", "%s", err)
	}
	return v, nil
}

// at does something at the node that is named: here, or by asking there.
func at[T any](s *Server, who caller, node string, here func(Running) (T, error), there func(*Client) (T, error)) (*out[T], error) {
	switch {
	case node == s.cfg.Node && s.cfg.Running != nil:
		return answered(here(s.cfg.Running))
	case node == s.cfg.Node:
		return nil, problem(http.StatusConflict, "", "node %q cannot be changed while it runs", node)
	}
	if _, err := findNode(s.cfg.State(), node); err != nil {
		return nil, err
	}
	if s.peers == nil || who.passedOn {
		return nil, problem(http.StatusServiceUnavailable, "ask it by its own address: --api", "node %q cannot be asked from here", clip(node))
	}
	v, err := there(s.peers.node(node, who))
	var gone *Unreachable
	if errors.As(err, &gone) {
		return nil, problem(http.StatusServiceUnavailable, "is it up? postern node list", "node %q cannot be reached", clip(node))
	}
	return answered(v, err)
}
