package cluster

import "postern/tenant"

// authorityOf is the state's authority, or nil.
func authorityOf(s *tenant.State) *tenant.Authority { return s.Authority() }

// tokenOf is a token of the state, or nil.
func tokenOf(s *tenant.State, hash [32]byte) *tenant.JoinToken { return s.JoinToken(hash) }
