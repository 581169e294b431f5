package tenant

import "iter"

// Authority returns what the cluster signs with, or nil before it is stored.
func (s *State) Authority() *Authority { return s.authority.get(0) }

// JoinToken returns the token of that hash, or nil when it is unknown or expired.
func (s *State) JoinToken(hash [32]byte) *JoinToken {
	if t := s.tokens.get(string(hash[:])); t != nil && t.Expires.After(s.Now()) {
		return t
	}
	return nil
}

// Tokens lists the join tokens that are not expired, ascending by hash.
func (s *State) Tokens() iter.Seq[*JoinToken] {
	return func(yield func(*JoinToken) bool) {
		for t := range s.tokens.all() {
			if t.Expires.After(s.Now()) && !yield(t) {
				return
			}
		}
	}
}

func (d *draft) setAuthority(c SetAuthority) error {
	a := c.Authority
	if d.Authority() != nil {
		return refuse("the cluster has an authority")
	}
	if err := a.valid(); err != "" {
		return refuse("%s", err)
	}
	a.Cert = append([]byte(nil), a.Cert...)
	a.SealedKey = append([]byte(nil), a.SealedKey...)
	a.SealedGossip = append([]byte(nil), a.SealedGossip...)
	put(d, &d.authority, 0, &a)
	d.emit(AuthoritySet{})
	return nil
}

// valid says what is wrong with an authority, or "".
func (a *Authority) valid() string {
	switch {
	case a.Cluster == [16]byte{}:
		return "an authority needs a cluster's id"
	case len(a.Cert) == 0 || len(a.SealedKey) == 0 || len(a.SealedGossip) == 0:
		return "an authority needs a certificate and sealed keys"
	case len(a.Cert) > maxKey || len(a.SealedKey) > maxKey || len(a.SealedGossip) > maxKey:
		return "an authority's certificate or key is too long"
	}
	return ""
}

func (d *draft) addToken(c AddToken) error {
	t := c.Token
	switch {
	case t.Hash == [32]byte{}:
		return refuse("a join token needs a secret")
	case !inRange(t.Expires) || !t.Expires.After(d.Now()):
		return refuse("a join token must expire later than now")
	case t.Node != "" && !ValidName(t.Node):
		return refuse("node name %q is not valid", clip(t.Node))
	}
	for _, k := range append([]string(nil), d.tokens.keys...) {
		if !d.tokens.get(k).Expires.After(d.Now()) {
			remove(d, &d.tokens, k)
		}
	}
	if k := string(t.Hash[:]); !d.tokens.has(k) && d.tokens.len() >= maxTokens {
		return refuse("a cluster has at most %d join tokens", maxTokens)
	}
	t.Expires = t.Expires.UTC()
	put(d, &d.tokens, string(t.Hash[:]), &t)
	d.emit(TokenChanged{t.Hash})
	return nil
}

func (d *draft) removeToken(c RemoveToken) error {
	k := string(c.Hash[:])
	if !d.tokens.has(k) {
		return refuse("the join token is not known")
	}
	remove(d, &d.tokens, k)
	d.emit(TokenChanged(c))
	return nil
}
