package bounce

import (
	"net/netip"
	"strings"
)

// How much of a text is looked at, in octets: of a longer one its head and its
// end, where some hosts put the reason.
const (
	maxRead = 600
	readEnd = 200
)

// Stage is where in a session a reply was given.
type Stage uint8

// Stages. The zero value means it is not known.
const (
	StageBanner Stage = iota + 1
	StageHello        // EHLO, HELO and STARTTLS
	StageMail
	StageRcpt
	StageData // DATA and what follows
)

// Reply is one SMTP reply and where it came from. Zero fields are not known.
type Reply struct {
	Host   string     // the MX host's name, lower case: it chooses the provider's rules
	Source netip.Addr // our address of the session
	Stage  Stage

	Code     int    // 0 for a diagnosis of our own, whose enhanced code decides
	Enhanced string // RFC 3463, "5.7.1"
	Text     string // all lines; some hosts put the reason into the last one
}

// Classify reads one reply. Unknown replies are temporary by their code: 4xx
// retries, 5xx does not, anything else retries. A refusal of our IP and a fault
// of our set-up never end a recipient and never count against it.
//
// A provider's own words count only from its own hosts. A refusal of an IP that
// names addresses, but not ours, speaks of another hop (a forwarder behind the
// host, say) and not of us.
func Classify(p Reply) Verdict {
	r := read(p)
	v := judge(r, p.Stage)
	v.Provider = r.provider
	if v.Class != IPBlock && v.Class != IPThrottle && v.Class != SpamBlock {
		return v
	}
	if p.Source.IsValid() {
		named, ours, network := namesAddress(r.text, p.Source.Unmap())
		if named && !ours {
			course := CourseRetry
			if r.class == 5 {
				course = CourseBounce
			}
			return Verdict{Class: PolicyRelated, Scope: ScopeDestination, Course: course, Provider: v.Provider}
		}
		v.Range = v.Range || network
	}
	if v.Class == IPBlock && v.Zone == "" {
		v.Zone = zoneIn(r.text)
	}
	return v
}

// reading is a reply made ready for the rules.
type reading struct {
	code     int
	class    int    // 4 or 5, rarely another
	detail   string // the enhanced code without its class: "1.1"
	text     string // lower case
	provider string
}

func read(p Reply) reading {
	r := reading{code: p.Code, class: p.Code / 100, text: p.Text}
	if len(r.text) > maxRead {
		// Whole words only: half an address is another address.
		head, end := r.text[:maxRead-readEnd], r.text[len(r.text)-readEnd:]
		r.text = head[:strings.LastIndexByte(head, ' ')+1] + end[strings.IndexByte(end, ' ')+1:]
	}
	r.text = strings.ToLower(r.text)
	if p.Code == 0 && len(p.Enhanced) > 1 && p.Enhanced[1] == '.' {
		r.class = int(p.Enhanced[0] - '0')
	}
	if _, detail, ok := strings.Cut(p.Enhanced, "."); ok {
		r.detail = detail
	}
	r.provider = ProviderOf(p.Host)
	return r
}

// judge finds the first rule that fits: the provider's own first.
func judge(r reading, at Stage) Verdict {
	for _, t := range [...]*table{byProvider[r.provider], generic} {
		if t == nil {
			continue
		}
		if u := t.first(r); u != nil {
			return early(r, at, u.verdict(r.class))
		}
	}
	v := Verdict{Class: Uncategorized, Scope: ScopeUnknown, Course: CourseRetry}
	if r.class == 5 {
		v.Course = CourseBounce
	}
	return early(r, at, v)
}

// early corrects what a banner cannot mean: whoever refuses there has seen our
// IP and nothing else, no recipient, sender or message. A host that takes no
// mail at all says so with 521 (RFC 7504 §3) or in words.
func early(r reading, at Stage, v Verdict) Verdict {
	if at != StageBanner || r.code < 400 || r.code == 521 {
		return v
	}
	switch v.Scope {
	case ScopeRecipient, ScopeMessage, ScopeSender, ScopeUnknown:
	default:
		return v
	}
	switch {
	case r.class != 5:
		return Verdict{Class: TransientFailure, Scope: ScopeDestination, Course: CourseRetry}
	case strings.Contains(r.text, "not accept mail") || strings.Contains(r.text, "no smtp service here"):
		return Verdict{Class: PolicyRelated, Scope: ScopeDestination, Course: CourseBounce}
	}
	// It says no word of a reputation, so it is not evidence by itself.
	return Verdict{Class: IPBlock, Scope: ScopeSource, Course: CourseHold, Weak: true}
}
