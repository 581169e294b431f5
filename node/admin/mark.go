package admin

import (
	"slices"
	"strings"

	"postern/tenant"
)

// headerOverride makes a change go through although what it names is banned.
const headerOverride = "Postern-Override-Ban"

// maxLabels bounds how many parents of a domain are compared with the bans.
const maxLabels = 10

// vetted adds the marks of what an operation names, while there are bans. What
// names nobody goes as it is.
func (s *Server) vetted(k Keyed, op tenant.Op, more ...tenant.Mark) tenant.Op {
	if _, done := op.(tenant.Vetted); done || s.cfg.Mark == nil || !s.cfg.State().Banned() {
		return op
	}
	marks := append(s.marksOf(op), more...)
	if len(marks) == 0 {
		return op
	}
	return tenant.Vetted{Marks: marks[:min(len(marks), tenant.MaxMarks)], Override: k.OverrideBan, Op: op}
}

// marksOf are the marks of all that an operation names.
func (s *Server) marksOf(op tenant.Op) (all []tenant.Mark) {
	switch op := op.(type) {
	case tenant.AddTenant:
		return append(s.mark(tenant.MarkName, op.Name), s.mark(tenant.MarkHost, op.Hostname)...)
	case tenant.AddAccount:
		return append(s.addressMarks(op.Username), s.addressMarks(op.Reference)...)
	case tenant.AddHashed:
		return s.marksOf(op.AddAccount)
	case tenant.SetAccount:
		if op.Reference != nil {
			return s.addressMarks(*op.Reference)
		}
	case tenant.SetDomain:
		return s.domainMarks(op.Name)
	case tenant.SetCustomer:
		return s.customerMarks(op.Customer)
	}
	return nil
}

// mark is the mark of a text in its canonical form; none of an empty one.
func (s *Server) mark(kind tenant.MarkKind, text string) []tenant.Mark {
	text = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(text), "."))
	if text == "" || s.cfg.Mark == nil {
		return nil
	}
	return []tenant.Mark{s.cfg.Mark(kind, text)}
}

func (s *Server) customerMarks(number string) []tenant.Mark {
	return s.mark(tenant.MarkCustomer, number)
}

// domainMarks are those of a domain and of the domains above it: who is banned
// with shoes.example is not let in with mail.shoes.example.
func (s *Server) domainMarks(domain string) (all []tenant.Mark) {
	for i := 0; i < maxLabels && strings.Contains(domain, "."); i++ {
		all = append(all, s.mark(tenant.MarkDomain, domain)...)
		_, domain, _ = strings.Cut(domain, ".")
	}
	return all
}

// addressMarks are those of an address, without what stands behind a plus, and
// of its domain.
func (s *Server) addressMarks(address string) []tenant.Mark {
	local, domain, ok := strings.Cut(bareAddress(address), "@")
	if !ok {
		return nil
	}
	return append(s.mark(tenant.MarkAddress, local+"@"+domain), s.domainMarks(domain)...)
}

// bareAddress is an address in lower case without its tag: news+7@shoes.example
// is news@shoes.example.
func bareAddress(address string) string {
	address = strings.ToLower(strings.TrimSpace(address))
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return address
	}
	local, _, _ := strings.Cut(address[:i], "+")
	return local + address[i:]
}

// knownBy are the marks of everything a tenant is known by. Of addresses only
// the address itself: their domains may be anybody's.
func (s *Server) knownBy(st *tenant.State, t *tenant.Tenant) []tenant.Mark {
	all := append(s.mark(tenant.MarkName, t.Name), s.mark(tenant.MarkHost, t.Hostname)...)
	all = append(all, s.customerMarks(st.Customer(t.ID))...)
	for d := range st.DomainsOf(t.ID) {
		all = append(all, s.mark(tenant.MarkDomain, d.Name)...)
	}
	for a := range st.AccountsOf(t.ID) {
		all = append(all, s.mark(tenant.MarkAddress, bareAddress(a.Username))...)
		all = append(all, s.mark(tenant.MarkAddress, bareAddress(a.Reference))...)
	}
	return s.few(all)
}

// few drops what is there twice, and what is too much.
func (s *Server) few(all []tenant.Mark) []tenant.Mark {
	var out []tenant.Mark
	for _, m := range all {
		if len(out) < tenant.MaxMarks && !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}
