package node

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"postern/node/doctor"
	"postern/tenant"
)

const (
	// doctorEvery is how often sources and domains are looked at again when
	// nothing about them changed here: their DNS belongs to others.
	doctorEvery = 30 * time.Minute
	// doctorAgain is the same for what was wrong: somebody may be mending it.
	doctorAgain = 2 * time.Minute
	// doctorTick is how often it is looked for what is due, and how often what is
	// wrong is looked at while mail waits for it.
	doctorTick = 10 * time.Second
)

// memory is what was last found of each source and domain, by this node. It is
// shown beside what the state says; what of it decides anything, the state is
// told.
type memory struct {
	mu   sync.Mutex // guards what follows
	seen map[string]*seen
}

// seen is one source (by address) or domain (by name).
type seen struct {
	key  [sha256.Size]byte // of what the judgement rests on in the state
	at   time.Time
	text map[string]string // what is wrong, by check
	good map[string]bool   // what is right
	spf  doctor.Finding    // the latest, whatever it says
	path doctor.Finding    // of the bounce subdomain, the latest that says something
}

// keep remembers findings. What could not be asked leaves what was known.
func (m *memory) keep(subject string, key [sha256.Size]byte, found []doctor.Finding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.seen[subject]
	if was == nil || was.key != key {
		was = &seen{key: key, text: map[string]string{}, good: map[string]bool{}}
		m.seen[subject] = was
	}
	was.at = time.Now()
	for _, f := range found {
		switch f.State {
		case doctor.OK:
			delete(was.text, f.Check)
			was.good[f.Check] = true
		case doctor.Wrong:
			was.text[f.Check] = f.Text
			delete(was.good, f.Check)
		}
		if f.Check == doctor.CheckSPF {
			was.spf = f
		}
		if f.Check == doctor.CheckBounce && f.State != doctor.Unknown {
			was.path = f
		}
	}
}

// wrong lists what is wrong with a subject as it is now, in the order of checks.
func (m *memory) wrong(subject string, key [sha256.Size]byte) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.seen[subject]
	if is == nil || is.key != key {
		return nil
	}
	var all []string
	for _, check := range []string{doctor.CheckPlumbed, doctor.CheckReverse, doctor.CheckForward, doctor.CheckMail, doctor.CheckSPF, doctor.CheckDKIM, doctor.CheckDMARC, doctor.CheckBounce} {
		if text := is.text[check]; text != "" {
			all = append(all, text)
		}
	}
	return all
}

// due says whether a subject has to be looked at; waited says that mail waits
// for what is wrong with it.
func (m *memory) due(subject string, key [sha256.Size]byte, now time.Time, waited bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.seen[subject]
	if is == nil || is.key != key {
		return true
	}
	every := doctorEvery
	if len(is.text) > 0 {
		if every = doctorAgain; waited {
			every = doctorTick / 2 // at the next tick, however late this one was
		}
	}
	return now.Sub(is.at) >= every
}

// forget drops what is no subject any more.
func (m *memory) forget(subjects map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.seen {
		if !subjects[name] {
			delete(m.seen, name)
		}
	}
}

// count is how many faults are known.
func (m *memory) count() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, is := range m.seen {
		n += len(is.text)
	}
	return float64(n)
}

func sourceKey(src *tenant.Source) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d %d %s", src.ID, src.Node, src.EHLO))
}

// domainKey is made of all that a domain's judgement rests on.
func domainKey(st *tenant.State, d *tenant.Domain) [sha256.Size]byte {
	b := fmt.Appendf(nil, "%d %s %x", d.Tenant, d.Selector, d.SealedKey)
	if t := st.Tenant(d.Tenant); t != nil {
		for _, e := range tenant.Exits(st, t) {
			b = fmt.Appendf(b, " %s %s %t", e.Addr, e.EHLO, e.Backup)
		}
	}
	if name := st.BounceName(d.Name); name != "" {
		b = fmt.Appendf(b, " %s %q", name, st.IntakeHosts())
	}
	return sha256.Sum256(b)
}

// Wrong lists what was last found wrong with a tenant's domains and with the
// sources it may leave from.
func (d *doctoring) Wrong(st *tenant.State, t *tenant.Tenant) []string {
	var all []string
	for x := range st.DomainsOf(t.ID) {
		for _, text := range d.memory.wrong(x.Name, domainKey(st, x)) {
			all = append(all, x.Name+": "+text)
		}
	}
	for _, e := range tenant.Exits(st, t) {
		all = append(all, d.memory.wrong(e.Addr.String(), sourceKey(e.Source))...)
	}
	return all
}

// Run looks at everything again and again, one subject after the other, until
// ctx ends: what is new or changed soon, the rest every half an hour.
func (d *doctoring) Run(ctx context.Context) error {
	next := time.NewTimer(untilBeat(doctorTick))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		d.round(ctx)
		d.tell(ctx)
		next.Reset(untilBeat(doctorTick))
	}
}

// round looks at what is due.
func (d *doctoring) round(ctx context.Context) {
	st, now := d.state(), time.Now()
	subjects, waiting := map[string]bool{}, false
	waits := func(t tenant.ID) bool { p := st.Plight(t); return p != nil && !p.Since.IsZero() }
	for t := range st.Tenants() {
		waiting = waiting || waits(t.ID)
	}
	for src := range st.Sources() {
		name := src.Addr.String()
		subjects[name] = true
		if ctx.Err() == nil && d.memory.due(name, sourceKey(src), now, waiting) {
			d.CheckSource(ctx, src)
		}
	}
	for x := range st.Domains() {
		subjects[x.Name] = true
		if ctx.Err() == nil && d.memory.due(x.Name, domainKey(st, x), now, waits(x.Tenant)) {
			d.CheckDomain(ctx, st, x, "")
		}
	}
	d.memory.forget(subjects)
}
