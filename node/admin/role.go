package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"postern/tenant"
)

// access says whose tokens a route takes. Its zero value is the strict one, so
// that a forgotten word closes a route instead of opening it.
type access uint8

const (
	operatorOnly access = iota
	tenantToo
)

// Names of the security schemes in the OpenAPI document.
const (
	schemeOperator = "operator"
	schemeTenant   = "tenant"
)

// caller is who a request's token belongs to: the operator, or one tenant.
type caller struct {
	operator bool
	tenant   tenant.ID
	token    string // what it showed, for asking other nodes in its name
	passedOn bool   // another node asks in its name: it is not passed on again
	name     string // what the caller says it is called, for the journal
}

// may reports whether the caller may see what belongs to t.
func (c caller) may(t tenant.ID) bool { return c.operator || (c.tenant != 0 && c.tenant == t) }

type callerKey struct{}

// maxToken bounds what is hashed for a stranger.
const maxToken = 512

// TokenHash is the stored form of a token.
func TokenHash(token string) [sha256.Size]byte {
	return sha256.Sum256([]byte(strings.TrimSpace(token)))
}

// NewToken makes a token or machine password of 160 random bits.
func NewToken() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// identify finds whose token an Authorization header carries (RFC 6750 §2.1).
// Tokens are compared by their SHA-256 in constant time, and all tenants'
// hashes are looked at, so the answer's time tells nothing.
func (s *Server) identify(header string) (caller, bool) {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return caller{}, false
	}
	h := TokenHash(token)
	if subtle.ConstantTimeCompare(h[:], s.cfg.OperatorToken[:]) == 1 {
		return caller{operator: true, token: token}, true
	}
	var found tenant.ID
	for t := range s.cfg.State().Tenants() {
		if t.Token != [sha256.Size]byte{} && subtle.ConstantTimeCompare(h[:], t.Token[:]) == 1 {
			found = t.ID
		}
	}
	return caller{tenant: found, token: token}, found != 0
}

// guard lets a request through when its token's role is among those of the
// route. Role comes before any look-up: a tenant's token learns nothing from a
// route that is not for it.
func (s *Server) guard(ctx huma.Context, next func(huma.Context)) {
	who, ok := s.identify(ctx.Header("Authorization"))
	if !ok {
		ctx.SetHeader("WWW-Authenticate", `Bearer realm="postern"`)
		s.refuse(ctx, noToken())
		return
	}
	if !who.operator && !takes(ctx.Operation(), schemeTenant) {
		s.refuse(ctx, problem(http.StatusForbidden, "ask the operator", "this is for the operator's token only"))
		return
	}
	who.name = actorName(ctx.Header(headerOperator))
	who.passedOn = ctx.Header(headerPassedOn) != ""
	s.tellAge(ctx)
	next(huma.WithValue(ctx, callerKey{}, who))
}

func noToken() *Problem {
	return problem(http.StatusUnauthorized, "send Authorization: Bearer TOKEN with a valid token", "no valid token")
}

func takes(op *huma.Operation, scheme string) bool {
	for _, alternative := range op.Security {
		if _, ok := alternative[scheme]; ok {
			return true
		}
	}
	return false
}

func (s *Server) refuse(ctx huma.Context, p *Problem) {
	ctx.SetHeader("Content-Type", p.ContentType(""))
	ctx.SetStatus(p.Status)
	_ = s.api.Marshal(ctx.BodyWriter(), "application/json", p) // the client went away
}

func callerOf(ctx context.Context) caller {
	who, _ := ctx.Value(callerKey{}).(caller)
	return who
}
