package tenant

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// ListingRule is how many nodes, rounds and points a verdict needs.
type ListingRule struct {
	Nodes    int           // so many nodes must say listed; all, when there are fewer
	Rounds   int           // in so many rounds
	Alone    int           // rounds when the cluster has one node only
	Apart    time.Duration // rounds closer together count as one: answers are cached
	Fresh    time.Duration // older answers prove nothing; at least 2.5 intervals of the zone
	Move     int           // the sum that moves tenants
	Warn     int           // the sum, or one zone's weight, that wakes the operator
	Evidence int           // points for refusals measured while delivering
	// World guard: a zone that within WorldWindow began to list WorldLeast of
	// the sources and more than WorldPercent of them, in the words of Nodes
	// nodes, is at fault itself.
	WorldLeast, WorldPercent int
	WorldWindow              time.Duration
	// Calm is how long nothing may speak against a listed source, with every
	// heavy zone seen, until it counts as clean again.
	Calm time.Duration
}

// DefaultListingRule is what a cluster has that sets nothing else.
func DefaultListingRule() ListingRule {
	return ListingRule{Nodes: 2, Rounds: 2, Alone: 3, Apart: 2 * time.Minute, Fresh: 30 * time.Minute, Move: 100, Warn: 50, Evidence: 50,
		WorldLeast: 3, WorldPercent: 50, WorldWindow: time.Hour, Calm: 30 * time.Minute}
}

// gap is how long a silence ends a row of rounds: the longest interval a zone
// may have, and half as much again.
func (r ListingRule) gap() time.Duration { return max(r.Fresh, 36*time.Hour) }

// FreshFor is how old an answer of a zone may be and still prove something.
func (r ListingRule) FreshFor(z *Zone) time.Duration { return max(r.Fresh, z.Every*5/2) }

// ListingLevel is how bad it is.
type ListingLevel uint8

const (
	LevelBlind   ListingLevel = iota // not listed as far as one sees, but one does not see enough
	LevelClear                       // clean, and every heavy zone was asked
	LevelInfo                        // listed where it does not matter
	LevelNotice                      // a small list, or a policy list: something to mend
	LevelWarning                     // the operator should look now
	LevelMove                        // the tenants leave
)

var levelNames = map[ListingLevel]string{LevelBlind: "blind", LevelClear: "clear", LevelInfo: "info", LevelNotice: "notice", LevelWarning: "warning", LevelMove: "move"}

func (l ListingLevel) String() string { return levelNames[l] }

// MarshalText writes the level's name.
func (l ListingLevel) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// TermState is why a zone counts in the sum, or does not.
type TermState uint8

const (
	TermBlind   TermState = iota // too few nodes have an answer
	TermClean                    // nobody lists it
	TermCounts                   // enough nodes, enough rounds
	TermEarly                    // enough nodes, a round is missing
	TermAlone                    // too few of the nodes say so
	TermFaulty                   // the zone is set aside
	TermNothing                  // listed with codes that move nobody
)

var termNames = map[TermState]string{TermBlind: "blind", TermClean: "clean", TermCounts: "counts", TermEarly: "early", TermAlone: "alone", TermFaulty: "faulty", TermNothing: "no weight"}

func (t TermState) String() string { return termNames[t] }

// MarshalText writes the state's name.
func (t TermState) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// ListingTerm is one zone's part in a verdict.
type ListingTerm struct {
	Zone   string    `json:"zone"`
	State  TermState `json:"state"`
	Listed int       `json:"listed"` // nodes that say listed
	Clean  int       `json:"clean"`  // nodes that say clean
	Blind  int       `json:"blind"`  // nodes without a fresh answer
	Hits   []Hit     `json:"hits,omitempty"`
	// Weight is what enough nodes agree on; Counts what of it is in the sum
	// after its group's cap; Soon what would be, after the missing rounds.
	Weight int `json:"weight"`
	Counts int `json:"counts"`
	Soon   int `json:"soon"`
}

// ListingCase is all that is known about one source.
type ListingCase struct {
	Zones     []Zone // those that apply to the source
	Groups    []ZoneGroup
	Nodes     int        // nodes that are alive and observe
	Sightings []Sighting // of these nodes
	Evidence  bool       // refusals measured while delivering say the same
	Faulty    []string   // zones set aside
	Now       time.Time
}

// ListingVerdict is the judgement with its arithmetic.
type ListingVerdict struct {
	Level    ListingLevel  `json:"level"`
	Score    int           `json:"score"` // confirmed weights and evidence
	Soon     int           `json:"soon"`  // the same, once no round is missing
	Evidence int           `json:"evidence"`
	Hold     bool          `json:"hold"`            // not fit to be given to a tenant
	Needs    []string      `json:"needs,omitempty"` // what is missing for a move
	Terms    []ListingTerm `json:"terms"`
	Heavy    int           `json:"heavy"`        // heavy zones
	Usable   int           `json:"heavy_usable"` // those enough nodes have an answer from
}

// Judge weighs what the nodes observed about one source. What is unknown never
// counts as listed and never as clean.
func (r ListingRule) Judge(c ListingCase) ListingVerdict {
	var v ListingVerdict
	for i := range c.Zones {
		z := &c.Zones[i]
		t := r.term(c, z)
		if z.Heavy {
			v.Heavy++
			if t.State != TermFaulty && t.Listed+t.Clean >= r.quorum(c) {
				v.Usable++
			}
		}
		v.Terms = append(v.Terms, t)
	}
	capGroups(c, v.Terms)
	for _, t := range v.Terms {
		v.Score += t.Counts
		v.Soon += t.Soon
		v.Hold = v.Hold || t.holds(r.quorum(c))
	}
	if c.Evidence {
		v.Evidence = r.Evidence
		v.Score, v.Soon = v.Score+r.Evidence, v.Soon+r.Evidence
	}
	r.level(c, &v)
	return v
}

// quorum is how many nodes must agree: with two, both; a cluster of one has
// only its own word.
func (r ListingRule) quorum(c ListingCase) int { return r.enough(c.Nodes) }

func (r ListingRule) enough(nodes int) int { return max(1, min(r.Nodes, nodes)) }

func (r ListingRule) rounds(c ListingCase) int {
	if c.Nodes <= 1 {
		return r.Alone
	}
	return r.Rounds
}

// term judges one zone. The weight is the one that enough nodes reach: a single
// node that is told a worse code than the others adds nothing.
func (r ListingRule) term(c ListingCase, z *Zone) ListingTerm {
	t := ListingTerm{Zone: z.Name}
	var soon, now []int
	heard := make(map[string]bool)
	for _, s := range c.Sightings {
		if s.Zone != z.Name || heard[s.Node] {
			continue
		}
		heard[s.Node] = true
		// A doubt since then: the node no longer knows, whatever it once heard.
		if s.Rounds == 0 || !s.DoubtSince.IsZero() || c.Now.Sub(s.Last) > r.FreshFor(z) {
			continue
		}
		if s.Answer.Kind != AnswerListed {
			t.Clean++
			continue
		}
		t.Listed++
		t.add(s.Answer.Hits)
		soon = append(soon, int(s.Answer.Weight()))
		if s.Rounds >= r.rounds(c) {
			now = append(now, int(s.Answer.Weight()))
		}
	}
	t.Blind = max(0, c.Nodes-t.Listed-t.Clean)
	quorum := r.quorum(c)
	t.Weight = reached(soon, quorum)
	switch {
	case slices.Contains(c.Faulty, z.Name):
		t.State = TermFaulty
	case t.Listed == 0 && t.Clean < quorum:
		t.State = TermBlind
	case t.Listed == 0:
		t.State = TermClean
	case t.heaviest() == 0:
		t.State = TermNothing
	case t.Weight == 0:
		t.State = TermAlone
	case reached(now, quorum) == 0:
		t.State, t.Soon = TermEarly, t.Weight
	default:
		t.State, t.Counts, t.Soon = TermCounts, reached(now, quorum), t.Weight
	}
	return t
}

// reached is the weight that at least n of all reach.
func reached(all []int, n int) int {
	if len(all) < n {
		return 0
	}
	slices.SortFunc(all, func(a, b int) int { return cmp.Compare(b, a) })
	return all[n-1]
}

func (t *ListingTerm) add(hits []Hit) {
	for _, h := range hits {
		if !slices.Contains(t.Hits, h) {
			t.Hits = append(t.Hits, h)
		}
	}
}

func (t *ListingTerm) heaviest() (w uint16) {
	return Answer{Kind: AnswerListed, Hits: t.Hits}.Weight()
}

func (t *ListingTerm) holds(quorum int) bool {
	return t.State != TermFaulty && t.Listed >= quorum && (Answer{Kind: AnswerListed, Hits: t.Hits}).Holds()
}

// capGroups lets the zones of a group add no more than its cap, the heaviest
// first.
func capGroups(c ListingCase, terms []ListingTerm) {
	for _, g := range c.Groups {
		var in []*ListingTerm
		for i := range terms {
			if c.Zones[i].Group == g.Name {
				in = append(in, &terms[i])
			}
		}
		left, leftSoon := int(g.Cap), int(g.Cap)
		slices.SortStableFunc(in, func(a, b *ListingTerm) int { return cmp.Compare(b.Soon, a.Soon) })
		for _, t := range in {
			t.Counts, t.Soon = min(t.Counts, left), min(t.Soon, leftSoon)
			left, leftSoon = left-t.Counts, leftSoon-t.Soon
		}
	}
}

func (r ListingRule) level(c ListingCase, v *ListingVerdict) {
	heaviest, alone, listed, clean, aside := 0, 0, false, false, 0
	for _, t := range v.Terms {
		if t.State == TermFaulty {
			aside = max(aside, int(t.heaviest()))
			continue
		}
		listed = listed || t.Listed > 0
		clean = clean || t.State == TermClean
		heaviest = max(heaviest, t.Soon)
		if t.State == TermAlone {
			alone = max(alone, int(t.heaviest()))
		}
	}
	v.Needs = r.needs(c, v, alone)
	switch {
	case v.Score >= r.Move && len(v.Needs) == 0:
		v.Level = LevelMove
	case v.Soon >= r.Warn || heaviest >= r.Warn || alone >= r.Warn || aside >= r.Warn:
		v.Level = LevelWarning
	case heaviest > 0 || alone > 0 || v.Hold:
		v.Level = LevelNotice
	case listed:
		v.Level = LevelInfo
	case v.Usable == v.Heavy && clean:
		v.Level = LevelClear
	}
	if v.Level != LevelWarning {
		v.Needs = nil
	}
}

// needs says what keeps a source that looks bad from moving anyone.
func (r ListingRule) needs(c ListingCase, v *ListingVerdict, alone int) (all []string) {
	sole := false
	for _, t := range v.Terms {
		if t.State == TermFaulty && t.Listed > 0 && v.Score < r.Move {
			all = append(all, t.Zone+" is set aside and counts nothing")
		}
		sole = sole || t.Counts >= MaxWeight || t.State == TermEarly && t.Soon >= MaxWeight
	}
	if v.Soon < r.Move {
		if alone > 0 {
			return append(all, fmt.Sprintf("%d nodes must say so, each by its own resolver", r.quorum(c)))
		}
		return append(all, fmt.Sprintf("the sum reaches %d of %d", v.Soon, r.Move))
	}
	if v.Score < r.Move {
		all = append(all, fmt.Sprintf("%d rounds, %s apart, must agree", r.rounds(c), spell(r.Apart)))
	}
	if v.Evidence == 0 && !sole {
		all = append(all, "no single list reaches 100: refusals must be measured while delivering")
	}
	if v.Evidence == 0 && c.Nodes <= 1 {
		all = append(all, "one node is no witness: refusals must be measured while delivering")
	}
	return all
}

func spell(d time.Duration) string {
	if d >= 2*time.Hour && d%time.Hour == 0 {
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	if d >= time.Minute && d%time.Minute == 0 {
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return d.String()
}

// Worldwide names the zones that began to list most of the sources within one
// window: such a zone is at fault, not the sources. It stays so while they are
// listed: that all of them are still there proves nothing. A source that was
// listed when it was first seen is no sign. all holds each source's sightings,
// nodes is how many observe. A source began to be listed when as many nodes as a
// verdict needs said so: one that is deceived sets no list aside.
func (r ListingRule) Worldwide(all [][]Sighting, nodes int) (zones []string) {
	began := make(map[string][]time.Time) // one a source that is listed
	for _, sightings := range all {
		for z, at := range r.turned(sightings, nodes) {
			began[z] = append(began[z], at)
		}
	}
	for z, times := range began {
		slices.SortFunc(times, time.Time.Compare)
		from := 0
		for i, at := range times {
			for at.Sub(times[from]) > r.WorldWindow {
				from++
			}
			if n := i - from + 1; n >= r.WorldLeast && n*100 > len(all)*r.WorldPercent {
				zones = append(zones, z)
				break
			}
		}
	}
	slices.Sort(zones)
	return zones
}

// turned is since when, by zone, enough of the nodes say that a source is listed
// that was not.
func (r ListingRule) turned(sightings []Sighting, nodes int) map[string]time.Time {
	said := make(map[string]map[string]time.Time) // by zone and node
	for _, s := range sightings {
		if !s.Turned || s.Answer.Weight() == 0 {
			continue
		}
		if said[s.Zone] == nil {
			said[s.Zone] = make(map[string]time.Time)
		}
		if at, known := said[s.Zone][s.Node]; !known || s.Since.Before(at) {
			said[s.Zone][s.Node] = s.Since
		}
	}
	enough := r.enough(nodes)
	at := make(map[string]time.Time)
	for z, by := range said {
		if len(by) >= enough {
			at[z] = slices.SortedFunc(maps.Values(by), time.Time.Compare)[enough-1]
		}
	}
	return at
}
