package dnsbl

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"postern/tenant"
)

// HealthState says whether a zone can be believed.
type HealthState uint8

const (
	Unchecked HealthState = iota
	Usable
	Broken      // it answers, and wrongly
	Refused     // it, or the resolver, does not answer us
	Unreachable // no answer at all
)

var healthNames = map[HealthState]string{Unchecked: "unchecked", Usable: "usable", Broken: "broken", Refused: "refused", Unreachable: "unreachable"}

func (s HealthState) String() string { return healthNames[s] }

// MarshalText writes the state's name.
func (s HealthState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Health is what the test points of a zone said about it.
type Health struct {
	Zone  string       `json:"zone"`
	Space tenant.Space `json:"space"`
	Heavy bool         `json:"heavy"`
	State HealthState  `json:"state"`
	Why   tenant.Why   `json:"why,omitempty"`
	At    time.Time    `json:"at"`
}

// answer is what is known of a source while the zone is not usable.
func (h Health) answer() tenant.Answer {
	if h.State == Refused {
		return tenant.Answer{Kind: tenant.AnswerRefused, Why: h.Why}
	}
	why := h.Why
	if why == "" {
		why = tenant.WhyNotAsked
	}
	return tenant.Answer{Why: why}
}

// points are the labels of a zone's tests.
type points struct{ listed, absent, random string }

// pointsOf gives the test points of RFC 5782 §5, and a name that nobody has
// listed: a wildcard, of a list that lists everything or of a domain that has
// lapsed, answers for it too.
func (z *Zone) pointsOf(s tenant.Space) points {
	word := randomWord()
	switch s {
	case tenant.SpaceIPv4:
		return points{"2.0.0.127", "1.0.0.127", word}
	case tenant.SpaceIPv6:
		return points{mapped(2).label(), mapped(1).label(), word}
	}
	return points{z.Test, "invalid", word + ".com"}
}

// mapped is ::ffff:7f00:last, in its IPv6 form.
func mapped(last byte) Subject {
	return Subject{addr: netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: 127, 15: last})}
}

func randomWord() string {
	b := make([]byte, 24)
	for i := range b {
		b[i] = byte('a' + rand.IntN(26))
	}
	return string(b)
}

// judgeHealth draws the conclusion from the three answers.
func judgeHealth(listed, absent, random tenant.Answer) (HealthState, tenant.Why) {
	all := []tenant.Answer{listed, absent, random}
	for _, a := range all {
		if a.Kind == tenant.AnswerRefused {
			return Refused, a.Why
		}
	}
	for _, a := range all {
		if a.Why == tenant.WhyOutside {
			return Broken, a.Why
		}
	}
	// For the tests a code that the zones file does not know is a listing too.
	has := func(a tenant.Answer) bool { return a.Kind == tenant.AnswerListed || a.Why == tenant.WhyCode }
	switch {
	case has(random):
		return Broken, tenant.WhyWildcard
	case has(absent):
		return Broken, tenant.WhyListsAll
	}
	for _, a := range all {
		if a.Kind == tenant.AnswerUnknown && a.Why != tenant.WhyCode {
			return Unreachable, a.Why
		}
	}
	if !has(listed) {
		return Broken, tenant.WhyNoTestPoint
	}
	return Usable, ""
}

// view is a zone as asked about one kind of subject, with its last test.
type view struct {
	zone  *Zone
	space tenant.Space
	turn  chan struct{} // holds one token: who has it may test the zone
	last  Health        // guarded by Observer.mu
}

// healthOf gives the zone's health, tested not longer ago than maxAge.
func (o *Observer) healthOf(ctx context.Context, v *view, maxAge time.Duration) Health {
	select {
	case <-v.turn:
	case <-ctx.Done():
		return o.lastHealth(v)
	}
	defer func() { v.turn <- struct{}{} }()
	if h := o.lastHealth(v); h.State != Unchecked && o.now().Sub(h.At) < maxAge {
		return h
	}
	p := v.zone.pointsOf(v.space)
	h := Health{Zone: v.zone.Name, Space: v.space, Heavy: v.zone.Heavy}
	listed := o.ask(ctx, v.zone, p.listed, false)
	absent, random := listed, listed
	if listed.Says() || listed.Why == tenant.WhyCode || listed.Why == tenant.WhyOutside {
		absent, random = o.ask(ctx, v.zone, p.absent, false), o.ask(ctx, v.zone, p.random, false)
	} // else it is silent or refuses, and two more questions would wait for the same
	h.State, h.Why = judgeHealth(listed, absent, random)
	h.At = o.now()
	if ctx.Err() != nil {
		return o.lastHealth(v) // what was asked while ending proves nothing
	}
	o.mu.Lock()
	before := v.last
	v.last = h
	o.mu.Unlock()
	o.metrics.health(h)
	if before.State != h.State || before.Why != h.Why {
		o.healthChanged(before, h)
	}
	return h
}

func (o *Observer) lastHealth(v *view) Health {
	o.mu.Lock()
	defer o.mu.Unlock()
	return v.last
}
