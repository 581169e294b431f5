package admin

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"postern/tenant"
)

// tokenHours is a join token's life when none is asked for.
const tokenHours = 24

func (s *Server) joinTokenRoutes() {
	type make struct {
		Keyed
		Body NewJoinToken
	}
	register(s, in{verb: http.MethodPost, path: "/v1/join-tokens", id: "make-join-token", tag: "node", status: http.StatusCreated,
		does: "Make a token that lets nodes join; shown once"},
		func(ctx context.Context, _ caller, i *make) (*out[JoinToken], error) {
			return s.makeJoinToken(ctx, i.Keyed, i.Body)
		})
	type list struct{ Paged }
	register(s, in{verb: http.MethodGet, path: "/v1/join-tokens", id: "list-join-tokens", tag: "node",
		does: "List the join tokens that are good now, without their secrets"},
		func(ctx context.Context, _ caller, i *list) (*out[Page[OpenToken]], error) {
			st, err := s.read(ctx)
			if err != nil {
				return nil, err
			}
			return reply(cut(openTokens(st), i.Paged, func(t OpenToken) string { return t.ID }, byText)), nil
		})
	register(s, in{verb: http.MethodDelete, path: "/v1/join-tokens", id: "revoke-join-tokens", tag: "node",
		does: "Take all join tokens back; nodes that joined stay"},
		func(ctx context.Context, _ caller, _ *struct{ Keyed }) (*out[Done], error) {
			return s.revokeJoinTokens(ctx)
		})
	type one struct {
		ID string `path:"token" minLength:"4" maxLength:"64" doc:"As in the list, or its first 4 digits or more"`
		Keyed
	}
	register(s, in{verb: http.MethodDelete, path: "/v1/join-tokens/{token}", id: "revoke-join-token", tag: "node",
		does: "Take one join token back; nodes that joined by it stay"},
		func(ctx context.Context, _ caller, i *one) (*out[Done], error) {
			return s.revokeJoinToken(ctx, i.Keyed, i.ID)
		})
}

// revokeJoinToken takes back the one token whose hash begins so.
func (s *Server) revokeJoinToken(ctx context.Context, k Keyed, id string) (*out[Done], error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	var found []*tenant.JoinToken
	for t := range st.Tokens() {
		if strings.HasPrefix(hex.EncodeToString(t.Hash[:]), strings.ToLower(id)) {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 0:
		return nil, absent("join token", id)
	case 1:
	default:
		return nil, problem(http.StatusConflict, "give more of its id", "%d join tokens begin with %q", len(found), clip(id))
	}
	if _, _, err := s.propose(ctx, k, tenant.RemoveToken{Hash: found[0].Hash}); err != nil {
		return nil, err
	}
	return reply(Done{Count: 1}), nil
}

func (s *Server) makeJoinToken(ctx context.Context, k Keyed, b NewJoinToken) (*out[JoinToken], error) {
	if s.cfg.JoinToken == nil {
		return nil, problem(http.StatusConflict, "set peer in its configuration, then postern init", "this node is a cluster of one without a peer port")
	}
	if b.Node != "" && !tenant.ValidName(b.Node) {
		return nil, badField("body.node", "write a-z, 0-9 and hyphens, 63 at most", "%q is no node name", clip(b.Node))
	}
	if b.Hours == 0 {
		b.Hours = tokenHours
	}
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	text, hash, err := s.cfg.JoinToken(st)
	if err != nil {
		return nil, s.fail(ctx, "make join token", err)
	}
	until := time.Now().Add(time.Duration(b.Hours) * time.Hour).UTC().Truncate(time.Second)
	if _, _, err := s.propose(ctx, k, tenant.AddToken{Token: tenant.JoinToken{Hash: hash, Expires: until, Witness: b.Witness, Node: b.Node}}); err != nil {
		return nil, err
	}
	return reply(JoinToken{Token: text, Expires: until, Witness: b.Witness, Node: b.Node}), nil
}

// openTokens shows a part of each hash as its name: of a secret of 128 random
// bits that tells nothing. The state's clock stands still while nothing is
// decided, so the wall clock has a word.
func openTokens(st *tenant.State) []OpenToken {
	var all []OpenToken
	for t := range st.Tokens() {
		if t.Expires.After(time.Now()) {
			all = append(all, OpenToken{ID: hex.EncodeToString(t.Hash[:6]), Expires: t.Expires.UTC(), Witness: t.Witness, Node: t.Node})
		}
	}
	return all
}

// revokeJoinTokens takes back what the newest state has. Each is a command of
// its own: one key for all would do the first only, and taking back twice is no
// harm.
func (s *Server) revokeJoinTokens(ctx context.Context) (*out[Done], error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	var done Done
	for t := range st.Tokens() {
		_, _, err := s.propose(ctx, Keyed{}, tenant.RemoveToken{Hash: t.Hash})
		var p *Problem
		switch {
		case err == nil:
			done.Count++
		case errors.As(err, &p) && p.Status == http.StatusConflict:
			// another took it back meanwhile
		default:
			return nil, err
		}
	}
	return reply(done), nil
}
