package tenant

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Denial is what the world told one source of itself within ListingRule.Fresh:
// how often known providers refused it because of its address. Its node counts;
// these are numbers, and no verdict.
type Denial struct {
	Source   SourceID
	At       time.Time // the window ended then
	Attempts uint64    // transactions, and connections refused before one
	Refused  uint64    // attempts of these that a known provider refused because of the address
	Messages uint64    // messages they were made for
	// Providers are those who refused, ascending by name.
	Providers []ProviderDenial
	// Named are lists of the cluster that refusals named, whoever said so,
	// ascending by name. That a stranger names one proves nothing.
	Named []Naming
}

// ProviderDenial is one provider's part of it.
type ProviderDenial struct {
	Provider          string
	Refused, Messages uint64
}

// Naming is when a refusal last named a list.
type Naming struct {
	Zone string
	At   time.Time
}

// Denied tells what was refused to sources of a node, since something of it
// changed. A source without refusals and names is forgotten. It is a fact and
// never refused for what it says.
type Denied struct {
	Node    NodeID
	Denials []Denial
}

func (Denied) op()           {}
func (Denied) since() uint32 { return denialVersion }

// Bounds of a Denied; a node with more sources sends several.
const (
	MaxDenials   = 64 // sources
	MaxNamed     = 16 // lists one source's refusals name
	maxProviders = 64
)

// From where on refusals are live evidence of a listing: so many of a hundred
// attempts, so many messages, and so many groups of providers. One provider that
// blocks a source is a matter between the two.
const (
	DenialPercent   = 5
	DenialMessages  = 20
	DenialProviders = 3
)

// Reaches reports whether as much was refused as evidence demands.
func (x *Denial) Reaches() bool {
	return x.Attempts > 0 && 100*x.Refused >= DenialPercent*x.Attempts && x.Messages >= DenialMessages && len(x.Providers) >= DenialProviders
}

// Denial returns what was refused to a source, or nil.
func (s *State) Denial(src SourceID) *Denial { return s.denials.get(src) }

// Evident says whether refusals speak against a source now: enough, and not too
// long ago.
func (s *State) Evident(src SourceID) bool {
	x, l := s.denials.get(src), s.Lists()
	return x != nil && l != nil && x.Reaches() && s.Now().Sub(x.At) <= l.Rule.Fresh
}

func (d *draft) denied(c Denied) error {
	if len(c.Denials) > MaxDenials {
		return refuse("more than %d sources in one command", MaxDenials)
	}
	if d.Lists() == nil {
		return nil // nobody asks
	}
	changed := false
	for _, x := range c.Denials {
		changed = d.deny(c.Node, x) || changed
	}
	if changed {
		d.judgeAll()
	}
	return nil
}

// deny replaces what was known of one source. Only the node that sends by it
// knows anything.
func (d *draft) deny(node NodeID, x Denial) bool {
	src, old := d.sources.get(x.Source), d.denials.get(x.Source)
	if src == nil || src.Node != node || x.At.IsZero() || !inRange(x.At) {
		return false
	}
	if x.At.After(d.Now()) {
		x.At = d.Now() // a clock that is ahead: the fact stays one
	}
	x.Named = without(x.Named, func(n Naming) bool { return d.Lists().Zone(n.Zone) == nil })
	for i, n := range x.Named {
		if n.At.After(x.At) {
			x.Named[i].At = x.At
		}
	}
	switch {
	case !x.sound() || old != nil && x.At.Before(old.At):
		return false
	case x.Refused == 0 && len(x.Named) == 0:
		remove(d, &d.denials, x.Source)
		return old != nil
	}
	put(d, &d.denials, x.Source, &x)
	return true
}

// sound says whether the parts agree with each other.
func (x *Denial) sound() bool {
	refused, messages := uint64(0), uint64(0)
	for i, p := range x.Providers {
		if !ValidHost(p.Provider) || len(p.Provider) > maxName || p.Refused == 0 || i > 0 && x.Providers[i-1].Provider >= p.Provider {
			return false
		}
		refused, messages = plus(refused, p.Refused), plus(messages, p.Messages)
	}
	for i, n := range x.Named {
		if n.At.IsZero() || !inRange(n.At) || i > 0 && x.Named[i-1].Zone >= n.Zone {
			return false
		}
	}
	return len(x.Providers) <= maxProviders && len(x.Named) <= MaxNamed && refused == x.Refused && messages == x.Messages &&
		x.Refused <= x.Attempts && x.Attempts <= maxCounter
}

// Tells says whether a node should tell of x where the state knows old (nil:
// nothing): it crosses the bar, another provider or list is in it, it grew by
// half, or what is known grows old. What each message changes is not told, so
// that the log does not grow with the mail.
func (x *Denial) Tells(old *Denial, r ListingRule) bool {
	if old == nil {
		return x.Refused > 0 || len(x.Named) > 0
	}
	if x.Refused == 0 && len(x.Named) == 0 {
		return true // it is to be forgotten
	}
	same := slices.EqualFunc(x.Providers, old.Providers, func(a, b ProviderDenial) bool { return a.Provider == b.Provider }) &&
		slices.EqualFunc(x.Named, old.Named, func(a, b Naming) bool { return a.Zone == b.Zone && a.At.Sub(b.At) < r.Fresh/3 })
	return !same || x.Reaches() != old.Reaches() || 2*x.Refused > 3*old.Refused || x.At.Sub(old.At) >= r.Fresh/3
}

// Sort puts the parts of a denial into their order.
func (x *Denial) Sort() {
	slices.SortFunc(x.Providers, func(a, b ProviderDenial) int { return cmp.Compare(a.Provider, b.Provider) })
	slices.SortFunc(x.Named, func(a, b Naming) int { return strings.Compare(a.Zone, b.Zone) })
}

func (s *State) checkDenials() error {
	for i, x := range s.denials.vals {
		if x.Source != s.denials.keys[i] || !s.sources.has(x.Source) || x.At.After(s.Now()) || !x.sound() || x.Refused == 0 && len(x.Named) == 0 {
			return fmt.Errorf("denial of source %d", x.Source)
		}
	}
	return nil
}
