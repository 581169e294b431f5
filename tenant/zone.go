package tenant

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Space is what a list may be asked about.
type Space uint8

const (
	SpaceIPv4 Space = iota + 1
	SpaceIPv6
	SpaceDomain
)

var spaceNames = map[Space]string{SpaceIPv4: "ipv4", SpaceIPv6: "ipv6", SpaceDomain: "domain"}

func (s Space) String() string { return spaceNames[s] }

// MarshalText writes the space's name.
func (s Space) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Policy is what a code of a zone leads to.
type Policy uint8

const (
	// PolicyMove: the code's weight counts towards moving the tenants away.
	PolicyMove Policy = iota + 1
	// PolicyHold: the source is not fit to be given to a tenant and the
	// operator is told, but nobody moves: the address itself is set up wrongly
	// (a policy list), and its neighbours' would be no better.
	PolicyHold
	// PolicyLog: kept and shown, nothing more.
	PolicyLog
	// PolicyClean: the code means "not listed", as a welcome list's do.
	PolicyClean
	// PolicyRefuse: the list refuses the question with this code.
	PolicyRefuse
)

var policyNames = map[Policy]string{PolicyMove: "move", PolicyHold: "hold", PolicyLog: "log", PolicyClean: "clean", PolicyRefuse: "refuse"}

func (p Policy) String() string { return policyNames[p] }

// MarshalText writes the policy's name.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// ParsePolicy reads a policy's name.
func ParsePolicy(name string) (Policy, error) {
	for p, n := range policyNames {
		if n == name {
			return p, nil
		}
	}
	return 0, fmt.Errorf("read policy %q: %w", name, errNoPolicy)
}

// MaxWeight is the weight of a code that moves tenants by itself.
const MaxWeight = 100

// ZoneCode gives a meaning to the A values First to Last of a zone; in a zone
// of bits, to the bit First has in its last octet.
type ZoneCode struct {
	First, Last netip.Addr
	Means       string
	Weight      uint16 // 0 to MaxWeight
	Policy      Policy
}

// ZoneGroup bounds what zones that know much the same thing add to a sum.
type ZoneGroup struct {
	Name string
	Cap  uint16
}

// Zone is one DNS list (RFC 5782): what its answers mean and how it is asked.
type Zone struct {
	Name   string // without its key, where it has one
	Spaces []Space
	Heavy  bool          // a verdict without it is blind
	Every  time.Duration // how often each source is asked about at least
	Group  string        // "": counts alone
	Bits   bool          // the last octet is a set of bits, each a code
	Codes  []ZoneCode
	Delist string // a link; {} stands for what is listed

	Rate          int    // questions a second and node at most
	Test          string // a domain that a list of domains must list
	KeyFile       string // the key is in this file, on each node
	KeyCredential string // or in this systemd credential
}

// Keyed says whether the zone is asked with a key.
func (z *Zone) Keyed() bool { return z.KeyFile != "" || z.KeyCredential != "" }

// Asks says whether the zone may be asked about things of that space.
func (z *Zone) Asks(s Space) bool { return slices.Contains(z.Spaces, s) }

var (
	loopback = netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)
	errors24 = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 255, 255}), 24)
)

// Read says what the A values of a look-up mean; no values is a name that does
// not exist. It decides by all of them together: one value from outside
// 127.0.0.0/8, or one that reports an error, voids the whole answer.
func (z *Zone) Read(values []netip.Addr) Answer {
	a := Answer{Values: values}
	if len(values) == 0 {
		a.Kind = AnswerClean
		return a
	}
	for _, v := range values {
		if !loopback.Contains(v) {
			a.Kind, a.Why = AnswerUnknown, WhyOutside
			return a
		}
	}
	var clean bool
	for _, v := range values {
		if errors24.Contains(v) {
			a.Kind, a.Why, a.Hits = AnswerRefused, refusalOf(v), nil
			return a
		}
		for _, h := range z.hits(v) {
			switch h.Policy {
			case PolicyRefuse:
				a.Kind, a.Why, a.Hits = AnswerRefused, WhyBlocked, nil
				return a
			case PolicyClean:
				clean = true
			default:
				a.Hits = append(a.Hits, h)
			}
		}
	}
	switch {
	case len(a.Hits) > 0:
		a.Kind = AnswerListed
	case clean:
		a.Kind = AnswerClean
	default:
		a.Kind, a.Why = AnswerUnknown, WhyCode
	}
	return a
}

// hits are the codes of the table that v matches.
func (z *Zone) hits(v netip.Addr) (all []Hit) {
	for _, c := range z.Codes {
		if z.Bits {
			a, b := v.As4(), c.First.As4()
			if [3]byte(a[:3]) == [3]byte(b[:3]) && a[3]&b[3] != 0 {
				all = append(all, Hit{Code: c.First, Means: c.Means, Weight: c.Weight, Policy: c.Policy})
			}
		} else if c.First.Compare(v) <= 0 && v.Compare(c.Last) <= 0 {
			all = append(all, Hit{Code: v, Means: c.Means, Weight: c.Weight, Policy: c.Policy})
		}
	}
	return all
}

// refusalOf is what a value of 127.255.255.0/24 says. The whole net is kept for
// errors about the question; none of it is ever a listing.
func refusalOf(v netip.Addr) Why {
	switch v.As4()[3] {
	case 252:
		return WhyTypo
	case 254:
		return WhyOpenResolver
	case 255:
		return WhyOverLimit
	case 250:
		return WhyKeyDisabled
	case 251:
		return WhyKeyRejected
	}
	return WhyErrorCode
}

var errNoPolicy = errors.New("there is move, hold, log, clean and refuse")
