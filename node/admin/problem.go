package admin

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"postern/tenant"
)

// Problem is the answer to a request that was not carried out (RFC 9457 §3).
type Problem struct {
	Type   string  `json:"type,omitempty" doc:"about:blank: the status says it all"`
	Title  string  `json:"title,omitempty"`
	Status int     `json:"status"`
	Detail string  `json:"detail,omitempty" doc:"What is wrong, one line"`
	Mend   string  `json:"mend,omitempty" doc:"What to do about it, one line"`
	Errors []Fault `json:"errors,omitempty" doc:"Faults of single fields"`
}

// Fault is one field's fault.
type Fault struct {
	Message  string `json:"message,omitempty"`
	Location string `json:"location,omitempty"`
	Value    any    `json:"value,omitempty"`
}

// Error is one line: what is wrong and what to do.
func (p *Problem) Error() string {
	var b strings.Builder
	if len(p.Errors) == 0 || p.Detail != "validation failed" {
		b.WriteString(p.Detail)
	}
	for _, f := range p.Errors {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(strings.TrimPrefix(f.Location, "body."))
		if f.Location != "" {
			b.WriteString(": ")
		}
		b.WriteString(f.Message)
	}
	if b.Len() == 0 {
		b.WriteString(strings.ToLower(http.StatusText(p.Status)))
	}
	if p.Mend != "" {
		b.WriteString("; ")
		b.WriteString(p.Mend)
	}
	return b.String()
}

// GetStatus is the HTTP status; the API library asks for it.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType names the media type of problems (RFC 9457 §6.1).
func (p *Problem) ContentType(string) string { return "application/problem+json" }

func problem(status int, mend, format string, args ...any) *Problem {
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Detail: fmt.Sprintf(format, args...), Mend: mend,
	}
}

// absent is the one answer for what does not exist and for what belongs to
// another tenant: the two must not differ in a byte.
func absent(kind, name string) *Problem {
	return problem(http.StatusNotFound, "", "no %s %q", kind, clip(name))
}

func badField(field, mend, format string, args ...any) *Problem {
	p := problem(http.StatusUnprocessableEntity, mend, "validation failed")
	p.Errors = []Fault{{Message: fmt.Sprintf(format, args...), Location: field}}
	return p
}

// fail turns a backend's error into a Problem. What it does not know becomes a
// 500 with an id that the log has too, never the error's own text.
func (s *Server) fail(ctx context.Context, doing string, err error) error {
	var known *Problem
	var refused *tenant.Refused
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &refused):
		return problem(http.StatusConflict, "", "%s", refused.Reason)
	case errors.Is(err, ErrBusy):
		return problem(http.StatusConflict, "try again when its attempt has ended", "%s", ErrBusy)
	case errors.Is(err, ErrOlder):
		return problem(http.StatusConflict, "update every node first; postern node list shows their versions", "%s", ErrOlder)
	case errors.Is(err, ErrUnavailable):
		return problem(http.StatusServiceUnavailable, "nothing was done; try again in a few seconds",
			"the cluster has no leader")
	case errors.Is(err, ErrUnknown), errors.Is(err, context.DeadlineExceeded):
		return problem(http.StatusServiceUnavailable,
			"repeat it with the same Idempotency-Key, or look whether it was done",
			"no answer in time: it may or may not have been done")
	case errors.Is(err, context.Canceled):
		return problem(http.StatusServiceUnavailable, "", "the request was cancelled")
	}
	id := logID()
	s.log.LogAttrs(ctx, levelError, "answer request", attr("doing", doing), attr("id", id), attr("err", err.Error()))
	return internalFault(id)
}

func internalFault(id string) *Problem {
	return problem(http.StatusInternalServerError, "look for "+id+" in the node's log", "internal fault %s", id)
}

func logID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// clip bounds what of a request is given back in an answer.
func clip(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
