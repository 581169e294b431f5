package tenant

import "fmt"

func (*Conduct) kind() recordKind { return kindConduct }

func (p *Conduct) code(c *coder) {
	number(c, &p.Tenant)
	number(c, &p.Automation)
	number(c, &p.OnListing)
	c.bool(&p.Probation)
}

func (*poolMember) kind() recordKind { return kindPoolMember }

func (m *poolMember) code(c *coder) {
	number(c, &m.source)
	number(c, &m.class)
}

// checkConducts judges conducts and the classes of pools.
func (s *State) checkConducts() error {
	for i, p := range s.conducts.vals {
		if p.Tenant != s.conducts.keys[i] || p.Tenant != 0 && !s.tenants.has(p.Tenant) || !p.valid() || *p == (Conduct{Tenant: p.Tenant}) ||
			p.Tenant == 0 && (p.Automation != 0 || p.Probation) {
			return fmt.Errorf("conduct of tenant %d", p.Tenant)
		}
	}
	for i, m := range s.pooled.vals {
		if src := s.sources.get(m.source); m.source != s.pooled.keys[i] || src == nil || !src.Shared || m.class == PoolMixed || m.class > PoolProbation {
			return fmt.Errorf("pool class of source %d", m.source)
		}
	}
	return nil
}
