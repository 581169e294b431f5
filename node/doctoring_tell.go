package node

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"postern/node/doctor"
	"postern/tenant"
)

// tell proposes what was found and the state does not know yet. Nothing is
// remembered of what was told: it is compared with the state.
func (d *doctoring) tell(ctx context.Context) {
	st, me := d.state(), d.self()
	if d.propose == nil || st.Node(me) == nil || !st.KnownToAll(tenant.Found{}) {
		return
	}
	d.tellBounces(ctx, st, me)
	op := st.Unsaid(d.found(st, me))
	if n := len(op.Sources); n >= tenant.MaxFound {
		op.Sources, op.Domains = op.Sources[:tenant.MaxFound], nil
	} else {
		op.Domains = op.Domains[:min(len(op.Domains), tenant.MaxFound-n)]
	}
	if len(op.Sources)+len(op.Domains) == 0 {
		return
	}
	d.tellState(ctx, st.Node(me).Name, op)
}

// tellBounces proposes what was found of bounce subdomains, and the names by
// which this node takes bounces.
func (d *doctoring) tellBounces(ctx context.Context, st *tenant.State, me tenant.NodeID) {
	if !st.KnownToAll(tenant.FoundBounces{}) {
		return
	}
	op := tenant.FoundBounces{Node: me, Hosts: d.intake}
	for of := range st.Domains() {
		name := st.BounceName(of.Name)
		if name == "" {
			continue
		}
		f := d.memory.lastPath(of.Name, domainKey(st, of))
		x := tenant.BounceFinding{Domain: of.Name, Name: name, Passes: slices.Sorted(slices.Values(f.Passes)), Lacks: slices.Sorted(slices.Values(f.Lacks))}
		switch f.MX {
		case doctor.OK:
			x.MX = tenant.FindingRight
		case doctor.Wrong:
			x.MX = tenant.FindingWrong
		default:
			continue
		}
		if f.State == doctor.Wrong {
			x.Text = told(f.Text)
		}
		op.Paths = append(op.Paths, x)
	}
	hosts, news := st.UnsaidBounces(op)
	if op.Paths = news[:min(len(news), tenant.MaxFound)]; hosts || len(op.Paths) > 0 {
		d.tellState(ctx, st.Node(me).Name, op)
	}
}

func (d *doctoring) tellState(ctx context.Context, name string, op tenant.Op) {
	wait, cancel := context.WithTimeout(ctx, tellWait)
	defer cancel()
	if err := d.propose(wait, op); err == nil {
		d.failed.Well(name)
	} else if ctx.Err() == nil {
		d.failed.Bad(name, "err", fmt.Errorf("tell what the DNS said: %w", err))
	}
}

// found is all that this node knows of what is in the state.
func (d *doctoring) found(st *tenant.State, me tenant.NodeID) tenant.Found {
	op := tenant.Found{Node: me}
	for src := range st.Sources() {
		if x, ok := d.memory.source(src); ok {
			op.Sources = append(op.Sources, x)
		}
	}
	for of := range st.Domains() {
		if f := d.memory.lastSPF(of.Name, domainKey(st, of)); len(f.Passes)+len(f.Lacks) > 0 {
			op.Domains = append(op.Domains, tenant.DomainFinding{Domain: of.Name, Passes: f.Passes, Lacks: f.Lacks, Text: f.Why})
		}
	}
	return op
}

// source is what is known of a source; false when nothing is.
func (m *memory) source(src *tenant.Source) (tenant.SourceFinding, bool) {
	x := tenant.SourceFinding{Source: src.ID}
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.seen[src.Addr.String()]
	if is == nil || is.key != sourceKey(src) {
		return x, false
	}
	x.Plumbed = is.finding(doctor.CheckPlumbed)
	x.Names = is.finding(doctor.CheckReverse, doctor.CheckForward)
	if x.Names == tenant.FindingWrong {
		x.Text = told(is.text[doctor.CheckReverse], is.text[doctor.CheckForward])
	}
	return x, x.Plumbed != tenant.FindingNone || x.Names != tenant.FindingNone
}

// finding sums up checks: wrong when one is, right when all are.
func (s *seen) finding(checks ...string) tenant.Finding {
	sum := tenant.FindingRight
	for _, check := range checks {
		switch {
		case s.text[check] != "":
			return tenant.FindingWrong
		case !s.good[check]:
			sum = tenant.FindingNone
		}
	}
	return sum
}

func (m *memory) lastPath(domain string, key [sha256.Size]byte) doctor.Finding {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.seen[domain]
	if is == nil || is.key != key {
		return doctor.Finding{}
	}
	return is.path
}

func (m *memory) lastSPF(domain string, key [sha256.Size]byte) doctor.Finding {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.seen[domain]
	if is == nil || is.key != key {
		return doctor.Finding{}
	}
	return is.spf
}

// told is what the state keeps of texts: they quote what others published.
func told(texts ...string) string {
	var all []string
	for _, t := range texts {
		if t != "" {
			all = append(all, t)
		}
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(strings.Join(all, "; "), "?"))
	if len(text) > tenant.MaxFoundText {
		text = strings.ToValidUTF8(text[:tenant.MaxFoundText], "")
	}
	return text
}
