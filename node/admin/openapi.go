package admin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"postern/tenant"
)

const levelError = slog.LevelError

func attr(key, value string) slog.Attr { return slog.String(key, value) }

// openAPI is the library's set-up: JSON only, no documentation page (it would
// load scripts from elsewhere), no $schema fields in answers, and query
// parameters it does not know are refused.
func (s *Server) openAPI() huma.Config {
	c := huma.DefaultConfig("Postern", s.cfg.Version)
	c.CreateHooks = nil
	c.DocsPath = ""
	c.SchemasPath = ""
	c.RejectUnknownQueryParameters = true
	c.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	c.Info.Description = "Outbound mail of a small cluster: who may send, from where, and what became of it."
	c.Servers = []*huma.Server{{URL: "/"}}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		schemeOperator: {Type: "http", Scheme: "bearer", Description: "The operator's token: everything."},
		schemeTenant: {Type: "http", Scheme: "bearer",
			Description: "A tenant's token: reads what is its own, and flushes or cancels its own mail."},
	}
	return c
}

// in is a route's place in the API.
type in struct {
	verb, path string
	id         string // operation id
	tag        string
	does       string
	access     access
	status     int            // of success; 0 is 200
	body       int64          // largest request in octets; 0 is maxBody
	answer     *huma.Response // of success, when no Go type says it
}

// out is an answer with a body.
type out[T any] struct{ Body T }

func reply[T any](v T) *out[T] { return &out[T]{Body: v} }

// answered is reply for what may have failed.
func answered[T any](v T, err error) (*out[T], error) {
	if err != nil {
		return nil, err
	}
	return reply(v), nil
}

// none is an answer without a body.
type none struct{}

// Keyed is the part of every changing request that makes it idempotent. It and
// the other parts of requests are exported only because the API library looks
// at no other embedded fields.
type Keyed struct {
	Key string `header:"Idempotency-Key" maxLength:"64" doc:"UUID or 32 hex digits; a repeat with the same key is done once"`
	// OverrideBan is a header because every change that names somebody can meet a ban.
	OverrideBan bool `header:"Postern-Override-Ban" doc:"Do it although what it names is banned"`
}

// apart is the key of a second change that belongs to the same request.
func (k Keyed) apart(what string) Keyed {
	if k.Key != "" {
		h := sha256.Sum256([]byte(k.Key + "\x00" + what))
		k.Key = hex.EncodeToString(h[:16])
	}
	return k
}

// request reads the key; zero means a fresh id.
func (k Keyed) request() (tenant.RequestID, error) {
	var id tenant.RequestID
	if k.Key == "" {
		return id, nil
	}
	b, err := hex.DecodeString(strings.ReplaceAll(k.Key, "-", ""))
	if err != nil || len(b) != len(id) {
		return id, badField("header.Idempotency-Key", "", "is no UUID and not 32 hex digits")
	}
	copy(id[:], b)
	return id, nil
}

// register adds one route: its roles stand in the OpenAPI document, where both
// the guard and the tests read them.
func register[I, O any](s *Server, at in, do func(ctx context.Context, who caller, i *I) (*O, error)) {
	security := []map[string][]string{{schemeOperator: {}}}
	if at.access == tenantToo {
		security = append(security, map[string][]string{schemeTenant: {}})
	}
	fault := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	op := huma.Operation{
		OperationID: at.id, Method: at.verb, Path: at.path, Summary: at.does, Tags: []string{at.tag},
		Security: security, DefaultStatus: at.status,
		MaxBodyBytes: cmp.Or(at.body, maxBody), BodyReadTimeout: 10 * time.Second,
		Responses: map[string]*huma.Response{
			"default": {Description: "Not done, and why",
				Content: map[string]*huma.MediaType{"application/problem+json": {Schema: fault}}},
		},
		Errors: nil,
	}
	if at.answer != nil {
		op.Responses["200"] = at.answer
	}
	huma.Register(s.api, op, func(ctx context.Context, i *I) (*O, error) {
		return do(ctx, callerOf(ctx), i)
	})
}

// propose carries op through the log within a bound of time.
func (s *Server) propose(ctx context.Context, k Keyed, op tenant.Op) ([]tenant.Event, *tenant.State, error) {
	req, err := k.request()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, proposeWait)
	defer cancel()
	events, st, err := s.cfg.Propose(ctx, req, s.signed(ctx, s.vetted(k, op)))
	if err != nil {
		return nil, nil, s.fail(ctx, "propose change", err)
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "change applied", attr("op", strings.TrimPrefix(fmt.Sprintf("%T", op), "tenant.")),
		slog.Uint64("index", st.Index()))
	return events, st, nil
}

// created finds the event of type E among those a command made.
func created[E tenant.Event](events []tenant.Event) (E, bool) {
	for _, e := range events {
		if x, ok := e.(E); ok {
			return x, true
		}
	}
	var zero E
	return zero, false
}

func (s *Server) writeProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = s.api.Marshal(w, "application/json", p) // the client went away
}
