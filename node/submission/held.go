package submission

import (
	"strings"

	"postern/tenant"
)

// whyHeld is the reply to a held account. An operator who suspends says for the
// customer's eyes why; other holds have reasons that are not for customers.
func whyHeld(st *tenant.State, a *tenant.Account, plain *reply) *reply {
	x := st.Suspended(a)
	if x == nil {
		return plain
	}
	r := *plain
	r.text = "Account suspended (" + x.Kind.String() + "): " + asReply(x.Reason)
	return &r
}

// asReply makes a text safe in a reply line (RFC 5321 section 4.2: printable
// ASCII). What the state holds is bounded and has no control characters; how
// another program wrote it is not relied on.
func asReply(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return clip(text, tenant.MaxSuspension)
}
