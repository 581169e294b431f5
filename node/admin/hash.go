package admin

import (
	"context"
	"net/http"
	"strings"

	"postern/tenant"
)

// NewHash is a password's hash as another mail server kept it.
type NewHash struct {
	Hash string `json:"hash" minLength:"1" maxLength:"512" doc:"bcrypt, SHA-crypt or argon2, also behind Dovecot's {SCHEME}"`
}

func (s *Server) hashRoutes() {
	type set struct {
		ToAccount
		Body NewHash
	}
	register(s, in{verb: http.MethodPut, path: "/v1/accounts/{username}/password", id: "set-password-hash", tag: "account",
		does: "Let an account keep the password it had elsewhere; the one before ends"},
		func(ctx context.Context, who caller, i *set) (*out[Account], error) {
			a, err := findAccount(s.cfg.State(), who, i.Username)
			if err != nil {
				return nil, err
			}
			return s.changeAccount(ctx, i.Keyed, a, tenant.SetHash{Account: a.ID, Hash: strings.TrimSpace(i.Body.Hash)})
		})
}

// addHashed registers an account that keeps its password: none is made or shown.
func (s *Server) addHashed(ctx context.Context, k Keyed, op tenant.AddAccount, hash string) (*out[Credential], error) {
	events, st, err := s.propose(ctx, k, tenant.AddHashed{AddAccount: op, Hash: strings.TrimSpace(hash)})
	if err != nil {
		return nil, err
	}
	e, _ := created[tenant.AccountAdded](events)
	a := st.Account(e.Account)
	if a == nil {
		return nil, absent("account", op.Username)
	}
	return reply(Credential{Account: viewAccount(st, a)}), nil
}

// passwordKind says how an account's password is kept.
func passwordKind(st *tenant.State, a *tenant.Account) string {
	if h, err := tenant.ParseHash(st.Hash(a.ID)); err == nil {
		return h.Kind.String()
	}
	return "generated"
}
