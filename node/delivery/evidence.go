package delivery

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

// Bounds of what is kept of one source.
const (
	evidenceWindow   = 30 * time.Minute // until another is set
	evidenceSlots    = 30               // parts of the window that are forgotten one by one
	evidenceMessages = 64               // messages told apart for one provider
	evidenceZones    = 16               // zones named
	evidenceText     = 200
)

// Evidence is what the world told one source of itself within the window: how
// many attempts it made, and how many of them were refused because of its IP by
// hosts of providers we know. It is a count, not a verdict.
type Evidence struct {
	Source    tenant.SourceID
	Attempts  int // transactions, and connections refused by their banner or at EHLO
	Refused   int // attempts of these that a known provider refused because of the IP
	Messages  int // messages they were made for, counted to 64 a provider
	Providers []ProviderEvidence
	Zones     []ZoneEvidence
}

// ProviderEvidence is one provider's part of it. They stand in order of name.
type ProviderEvidence struct {
	Provider string // a name of package bounce's closed set
	Refused  int
	Messages int // counted to 64
	Waiting  int // messages that wait because it refuses, those refused among them, counted to 64
	Last     time.Time
	Text     string // the last refusal, bounded
}

// ZoneEvidence is one DNSBL that refusals named, whoever said so: a name worth
// asking at once, if it is a zone we know. Its words come from outside.
type ZoneEvidence struct {
	Zone      string
	Refused   int // attempts, of any host, since the zone was first named in the window
	Providers int // known providers among those who named it
	Last      time.Time
}

// Denial is the evidence as the state is told of it, but for the zones. A
// provider that refuses is left alone: what waits for it therefore counts as if
// it had been refused, or whoever is polite would never have evidence.
func (e Evidence) Denial(at time.Time) tenant.Denial {
	x := tenant.Denial{Source: e.Source, At: at, Attempts: uint64(e.Attempts)}
	for _, p := range e.Providers {
		more := max(0, p.Waiting-p.Messages)
		one := tenant.ProviderDenial{Provider: p.Provider, Refused: uint64(p.Refused + more), Messages: uint64(p.Messages + more)}
		x.Providers = append(x.Providers, one)
		x.Attempts, x.Refused, x.Messages = x.Attempts+uint64(more), x.Refused+one.Refused, x.Messages+one.Messages
	}
	return x
}

// testimony counts attempts and refusals of one source in slots of time, so that
// the window slides without keeping each attempt.
type testimony struct {
	slots     [evidenceSlots]slot
	providers map[string]*refusals // at most as many as package bounce knows
	zones     map[string]*naming
}

type slot struct {
	n             int64 // number of the stretch of time it counts
	tries, denied int
}

type refusals struct {
	slots    [evidenceSlots]slot
	messages []refusedMessage // the latest ones, each once
	last     time.Time
	text     string
	waiting  int // the most of the last half window: a provider that is tried anew refuses a moment later
	since    time.Time
}

type refusedMessage struct {
	id queue.ID
	at time.Time
}

type naming struct {
	refused   int
	providers map[string]time.Time
	last      time.Time
}

// answer is one attempt as its replies were read.
type answer struct {
	message queue.ID
	refused *bounce.Verdict // the refusal of our IP, or nil
	text    string
}

// evidence keeps the testimony on all sources. It is safe for concurrent use.
type evidence struct {
	mu      sync.Mutex // guards what follows
	window  time.Duration
	sources map[tenant.SourceID]*testimony
}

func newEvidence(window time.Duration) *evidence {
	return &evidence{window: window, sources: map[tenant.SourceID]*testimony{}}
}

// within sets the window. Another one begins anew: what was counted in slots of
// another length says nothing in these.
func (e *evidence) within(window time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if window = max(window, time.Second); window != e.window {
		e.window = window
		clear(e.sources)
	}
}

// note counts one attempt from a source.
func (e *evidence) note(src tenant.SourceID, x answer, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.sources[src]
	if t == nil {
		t = &testimony{providers: map[string]*refusals{}, zones: map[string]*naming{}}
		e.sources[src] = t
	}
	n := e.stretch(now)
	s := slotOf(&t.slots, n)
	s.tries++
	v := x.refused
	if v == nil || v.Class != bounce.IPBlock {
		return
	}
	if v.Zone != "" {
		t.name(v.Zone, v.Provider, now)
	}
	if !v.Evidence() {
		return
	}
	s.denied++
	p := t.providers[v.Provider]
	if p == nil {
		p = &refusals{}
		t.providers[v.Provider] = p
	}
	slotOf(&p.slots, n).denied++
	p.last, p.text = now, shorten([]byte(x.text), evidenceText)
	p.add(x.message, now)
}

// stretch numbers the slot of a moment.
func (e *evidence) stretch(now time.Time) int64 {
	return now.UnixNano() / int64(e.window/evidenceSlots)
}

// slotOf gives the slot of stretch n, emptied if it counted an older one.
func slotOf(slots *[evidenceSlots]slot, n int64) *slot {
	s := &slots[n%evidenceSlots]
	if s.n != n {
		*s = slot{n: n}
	}
	return s
}

// sum adds up the slots of the window that ends with stretch n.
func sum(slots *[evidenceSlots]slot, n int64) (tries, denied int) {
	for _, s := range slots {
		if s.n > n-evidenceSlots && s.n <= n {
			tries += s.tries
			denied += s.denied
		}
	}
	return tries, denied
}

// add notes a message once; the one longest not seen makes room.
func (p *refusals) add(id queue.ID, now time.Time) {
	p.messages = slices.DeleteFunc(p.messages, func(m refusedMessage) bool { return m.id == id })
	if len(p.messages) == evidenceMessages {
		p.messages = slices.Delete(p.messages, 0, 1)
	}
	p.messages = append(p.messages, refusedMessage{id, now})
}

// name notes a zone. When there are too many, the one that fewest known
// providers named makes room, so that a stranger's inventions crowd out nothing.
func (t *testimony) name(zone, provider string, now time.Time) {
	z := t.zones[zone]
	if z == nil {
		if len(t.zones) >= evidenceZones {
			delete(t.zones, slices.MinFunc(slices.Collect(maps.Keys(t.zones)), func(a, b string) int {
				x, y := t.zones[a], t.zones[b]
				return cmp.Or(cmp.Compare(len(x.providers), len(y.providers)), x.last.Compare(y.last), cmp.Compare(a, b))
			}))
		}
		z = &naming{providers: map[string]time.Time{}}
		t.zones[zone] = z
	}
	z.refused++
	z.last = now
	if provider != "" {
		z.providers[provider] = now
	}
}

// read gives the evidence of all sources with attempts in the window, in order
// of source, and forgets what is older. behind is what waits at present.
func (e *evidence) read(now time.Time, behind map[refuser]int) []Evidence {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []Evidence
	from, n := now.Add(-e.window), e.stretch(now)
	for id, t := range e.sources {
		one := Evidence{Source: id}
		if one.Attempts, one.Refused = sum(&t.slots, n); one.Attempts == 0 {
			delete(e.sources, id)
			continue
		}
		for name, p := range t.providers {
			p.wait(behind[refuser{id, name}], now, e.window/2)
		}
		t.tell(&one, from, n)
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Evidence) int { return cmp.Compare(a.Source, b.Source) })
	return list
}

// tell fills in providers and zones.
func (t *testimony) tell(one *Evidence, from time.Time, n int64) {
	for name, p := range t.providers {
		_, denied := sum(&p.slots, n)
		p.messages = slices.DeleteFunc(p.messages, func(m refusedMessage) bool { return m.at.Before(from) })
		if denied == 0 {
			delete(t.providers, name)
			continue
		}
		one.Messages += len(p.messages)
		one.Providers = append(one.Providers, ProviderEvidence{Provider: name, Refused: denied, Messages: len(p.messages), Waiting: p.waiting, Last: p.last, Text: p.text})
	}
	for name, z := range t.zones {
		maps.DeleteFunc(z.providers, func(_ string, last time.Time) bool { return last.Before(from) })
		if z.last.Before(from) {
			delete(t.zones, name)
			continue
		}
		one.Zones = append(one.Zones, ZoneEvidence{Zone: name, Refused: z.refused, Providers: len(z.providers), Last: z.last})
	}
	slices.SortFunc(one.Providers, func(a, b ProviderEvidence) int { return cmp.Compare(a.Provider, b.Provider) })
	slices.SortFunc(one.Zones, func(a, b ZoneEvidence) int { return cmp.Compare(a.Zone, b.Zone) })
}
