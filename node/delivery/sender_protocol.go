package delivery

// newProtocol makes the parts that speak DNS and SMTP.
func newProtocol(cfg Config) (*mxResolver, dialer) {
	find := newResolver(resolverConfig{
		Servers: cfg.Resolvers, Port: cfg.Port, Own: cfg.Own, AllowLoopback: cfg.AllowLoopback,
		OwnName: func(name string) bool { return ownName(cfg, name) },
	})
	return find, newDialer(dialerConfig{Policy: func(h host) tlsPolicy {
		if p := cfg.Shaping.provider(h.Name); p != nil && p.TLS {
			return tlsMust
		}
		return tlsMay
	}})
}

// ownName reports whether an MX of that name is one of our sources: mail for it
// would come back to us.
func ownName(cfg Config, name string) bool {
	if name == cfg.Hostname {
		return name != ""
	}
	for src := range cfg.State().Sources() {
		if src.EHLO == name {
			return true
		}
	}
	return false
}
