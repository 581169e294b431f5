package bounce

import (
	"net/netip"
	"strings"
)

// Verdict is what one SMTP reply means for the recipient it was given for.
type Verdict struct {
	Class string // KumoMTA's class names, see the Class constants
	Scope Scope
	Retry bool // keep the recipient in the queue
}

// Scope is who a refusal speaks of.
type Scope uint8

// Scopes.
const (
	ScopeRecipient Scope = iota + 1
	ScopeDestination
	ScopeSource // our IP
	ScopeMessage
	ScopeSender // sender domain
	ScopeNode   // our set-up
	ScopeUnknown
)

// Classes of replies. Names are KumoMTA's where it has one, so that rules can
// be compared; IPBlock and IPThrottle split its SpamBlock.
const (
	InvalidRecipient     = "InvalidRecipient"
	InactiveMailbox      = "InactiveMailbox"
	BadDomain            = "BadDomain"
	QuotaIssues          = "QuotaIssues"
	TransientFailure     = "TransientFailure"
	Greylisting          = "Greylisting"
	NoAnswerFromHost     = "NoAnswerFromHost"
	BadConnection        = "BadConnection"
	DNSFailure           = "DNSFailure"
	RateLimited          = "RateLimited"
	TooManyRecipients    = "TooManyRecipients"
	IPBlock              = "IPBlock"
	IPThrottle           = "IPThrottle"
	SpamContent          = "SpamContent"
	VirusRelated         = "VirusRelated"
	AuthenticationFailed = "AuthenticationFailed"
	InvalidSender        = "InvalidSender"
	BadConfiguration     = "BadConfiguration"
	ProtocolErrors       = "ProtocolErrors"
	PolicyRelated        = "PolicyRelated"
	RelayingIssues       = "RelayingIssues"
	RoutingErrors        = "RoutingErrors"
	MessageExpired       = "MessageExpired"
	MessageTooLarge      = "MessageTooLarge"
	Uncategorized        = "Uncategorized"
)

// maxRead bounds how much of a text is looked at.
const maxRead = 2000

// Classify reads one reply; code 0 is a diagnosis of our own, whose enhanced
// code decides. Unknown replies are temporary by their code: 4xx retries, 5xx
// does not, anything else retries. A refusal of our IP and a fault of our set-up
// never end a recipient and never count against it.
func Classify(code int, enhanced, text string) Verdict {
	class := code / 100
	if code == 0 && len(enhanced) > 1 && enhanced[1] == '.' {
		class = int(enhanced[0] - '0')
	}
	r := reading{code: code, class: class, text: strings.ToLower(text[:min(len(text), maxRead)])}
	if _, detail, ok := strings.Cut(enhanced, "."); ok {
		r.detail = detail
	}
	r.found = generic.find(r.text)
	for i := range generic.rules {
		if u := &generic.rules[i]; u.fits(r) {
			return u.verdict(class)
		}
	}
	return Verdict{Class: Uncategorized, Scope: ScopeUnknown, Retry: class != 5}
}

// ClassifyFrom is Classify for a reply given to a session from source. A refusal
// of an IP that names addresses, but not ours, speaks of another hop (a
// forwarder behind the host, say) and is no evidence against our IP.
func ClassifyFrom(source netip.Addr, code int, enhanced, text string) Verdict {
	v := Classify(code, enhanced, text)
	if v.Class != IPBlock && v.Class != IPThrottle {
		return v
	}
	if named, ours := namesAddress(text[:min(len(text), maxRead)], source.Unmap()); named && !ours {
		return Verdict{Class: PolicyRelated, Scope: ScopeDestination, Retry: code/100 != 5}
	}
	return v
}

// namesAddress reports whether IP literals stand in text, and ours among them.
// Loopback ones are a list's answer codes and name nobody.
func namesAddress(text string, source netip.Addr) (named, ours bool) {
	for word := range strings.FieldsFuncSeq(text, func(ch rune) bool {
		return !(ch >= '0' && ch <= '9' || ch >= 'a' && ch <= 'f' || ch >= 'A' && ch <= 'F' || ch == '.' || ch == ':')
	}) {
		a, err := netip.ParseAddr(strings.Trim(word, ".:"))
		if err != nil { // Trim may have cut an IPv6 address that ends in ::
			a, err = netip.ParseAddr(word)
		}
		if err != nil || a.IsLoopback() || a.IsUnspecified() {
			continue
		}
		named = true
		ours = ours || a.Unmap() == source
	}
	return named, ours
}

// reading is a reply made ready for the rules.
type reading struct {
	code   int
	class  int     // 4 or 5, rarely another
	detail string  // the enhanced code without its class: "1.1"
	text   string  // lower case
	found  wordSet // the table's patterns that stand in text
}
