package tenant

import (
	"net/netip"
	"time"
)

// AnswerKind is what a list said about something. The zero value is
// AnswerUnknown: what was never asked is not known.
type AnswerKind uint8

const (
	AnswerUnknown AnswerKind = iota // neither listed nor clean; Why says why
	AnswerClean
	AnswerListed
	AnswerRefused // the list or the resolver does not answer us; Why says why
)

var answerNames = map[AnswerKind]string{AnswerUnknown: "unknown", AnswerClean: "clean", AnswerListed: "listed", AnswerRefused: "refused"}

func (k AnswerKind) String() string { return answerNames[k] }

// MarshalText writes the kind's name.
func (k AnswerKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Why is the reason of an answer that is neither listed nor clean, and of a
// zone's ill health.
type Why string

const (
	WhyNotAsked     Why = "not asked"
	WhyTimeout      Why = "timeout"
	WhyNetwork      Why = "network"
	WhyServFail     Why = "servfail"
	WhyGarbled      Why = "garbled"
	WhyOutside      Why = "outside 127/8"
	WhyCode         Why = "unknown code"
	WhyTypo         Why = "typo"
	WhyOpenResolver Why = "open resolver"
	WhyOverLimit    Why = "over limit"
	WhyKeyDisabled  Why = "key disabled"
	WhyKeyRejected  Why = "key rejected"
	WhyErrorCode    Why = "error code"
	WhyBlocked      Why = "blocked"
	WhyRefused      Why = "refused"
	WhyNoTestPoint  Why = "test point missing"
	WhyListsAll     Why = "lists everything"
	WhyWildcard     Why = "wildcard"
)

var whyTexts = map[Why]string{
	WhyNotAsked:     "not asked yet",
	WhyTimeout:      "no answer in time",
	WhyNetwork:      "the resolver cannot be reached",
	WhyServFail:     "the resolver gets no answer from the list (or the key is switched off)",
	WhyGarbled:      "the answer cannot be read",
	WhyOutside:      "an answer outside 127.0.0.0/8: the list's domain has lapsed, or the resolver lies",
	WhyCode:         "a code the zones file does not know",
	WhyTypo:         "the list says: the zone's name is mistyped",
	WhyOpenResolver: "the list refuses public resolvers, and ones without a name of their own",
	WhyOverLimit:    "the list says: too many questions, or not registered",
	WhyKeyDisabled:  "the list says: the key is disabled",
	WhyKeyRejected:  "the list says: the key is not valid",
	WhyErrorCode:    "the list answers with an error code",
	WhyBlocked:      "the list refuses this resolver",
	WhyRefused:      "the resolver refuses to answer",
	WhyNoTestPoint:  "the test point is not listed: the list is empty, or hides from this resolver",
	WhyListsAll:     "the list has what it must not have: it lists everything",
	WhyWildcard:     "the list has a random name: its domain has lapsed, or it lists everything",
}

// Text says it in a sentence's words.
func (w Why) Text() string {
	if t, ok := whyTexts[w]; ok {
		return t
	}
	return string(w)
}

// Hit is one code of an answer with its meaning.
type Hit struct {
	Code   netip.Addr `json:"code"`
	Means  string     `json:"means"`
	Weight uint16     `json:"weight"`
	Policy Policy     `json:"policy"`
}

// Answer is what one look-up says: a value with a meaning, never a bool.
type Answer struct {
	Kind   AnswerKind   `json:"kind"`
	Why    Why          `json:"why,omitempty"`
	Hits   []Hit        `json:"hits,omitempty"`   // what is listed
	Values []netip.Addr `json:"values,omitempty"` // as they came
	Text   string       `json:"text,omitempty"`   // the list's own words, for people only
}

// Says reports whether the answer tells anything about the source.
func (a Answer) Says() bool { return a.Kind == AnswerClean || a.Kind == AnswerListed }

// Weight is the heaviest of the codes that may move tenants.
func (a Answer) Weight() (w uint16) {
	for _, h := range a.Hits {
		if a.Kind == AnswerListed && h.Policy == PolicyMove {
			w = max(w, h.Weight)
		}
	}
	return w
}

// Holds reports whether a code says that the source is not fit for use.
func (a Answer) Holds() bool {
	for _, h := range a.Hits {
		if a.Kind == AnswerListed && h.Policy == PolicyHold {
			return true
		}
	}
	return false
}

// Observation is one node's one answer about one source, or one domain.
type Observation struct {
	Node    string    `json:"node"`
	Subject string    `json:"subject"` // an address or a domain
	Zone    string    `json:"zone"`
	At      time.Time `json:"at"`
	Answer  Answer    `json:"answer"`
}

// Sighting is what a node's observations of one source in one zone come to: the
// last answer that says anything, for how long it has held, and the doubt since.
type Sighting struct {
	Node, Zone string
	Answer     Answer
	Since      time.Time // the first round of this answer without a contrary one since
	Last       time.Time // the latest
	Rounds     int       // how many, counted no closer than ListingRule.Apart
	Counted    time.Time // when the last of these was counted
	Turned     bool      // it was the contrary before
	// Doubt is the newer answer that says nothing, since DoubtSince; without
	// one DoubtSince is zero.
	Doubt      Answer
	DoubtSince time.Time
}

// Fold adds an observation. An answer that says nothing keeps what was known
// and marks it doubtful; an observation older than what is known is left out.
func (r ListingRule) Fold(s Sighting, o Observation) Sighting {
	s.Node, s.Zone = o.Node, o.Zone
	if o.At.Before(s.Last) || o.At.Before(s.DoubtSince) {
		return s
	}
	if !o.Answer.Says() {
		if s.DoubtSince.IsZero() {
			s.DoubtSince = o.At
		}
		s.Doubt = o.Answer
		return s
	}
	gone := o.At.Sub(s.Last) > r.gap()
	switch {
	case s.Rounds == 0 || s.Answer.Kind != o.Answer.Kind || gone:
		s.Turned = s.Rounds > 0 && !gone
		s.Since, s.Rounds, s.Counted = o.At, 1, o.At
	case o.At.Sub(s.Counted) >= r.Apart:
		s.Rounds, s.Counted = s.Rounds+1, o.At
	}
	s.Answer, s.Last = o.Answer, o.At
	s.Doubt, s.DoubtSince = Answer{}, time.Time{}
	return s
}
