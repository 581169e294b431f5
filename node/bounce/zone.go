package bounce

import "strings"

// maxZone is the longest domain name, in octets.
const maxZone = 253

// knownZones are words that name a list whatever else a text says of it, and
// the zone to ask. Keyed names come first: a name that holds another party's
// key is never kept.
var knownZones = []struct{ word, zone string }{
	{"spamhaus", "zen.spamhaus.org"},
	{"abusix", "combined.mail.abusix.zone"},
	{"spamcop", "bl.spamcop.net"},
	{"barracudacentral", "b.barracudacentral.org"},
	{"mailspike", "bl.mailspike.net"},
	{"psbl.", "psbl.surriel.com"},
	{"cbl.abuseat", "zen.spamhaus.org"},
	{"dnsbl-1.uceprotect", "dnsbl-1.uceprotect.net"},
	{"dnsbl-2.uceprotect", "dnsbl-2.uceprotect.net"},
	{"dnsbl-3.uceprotect", "dnsbl-3.uceprotect.net"},
	{"gbudb", "truncate.gbudb.net"},
	{"spameatingmonkey", "bl.spameatingmonkey.net"},
	{"blocklist.de", "bl.blocklist.de"},
}

// zonePhrases stand right before a zone's name.
var zonePhrases = []string{
	"blocked using ", "blocked by ", "listed at ", "listed on ", "listed by ", "listed in ", "blacklisted at ",
	"blacklisted by ", "blacklisted on ", "found in ", "found on ", "dnsbl ", "dnsbl:", "rbl ", "rbl:",
}

// zoneIn finds the DNSBL a refusal (in lower case) names, or "". The far end
// chooses the words: the name is well-formed, and nothing more is known of it.
func zoneIn(text string) string {
	for _, phrase := range zonePhrases {
		for rest := text; ; {
			i := strings.Index(rest, phrase)
			if i < 0 {
				break
			}
			rest = rest[i+len(phrase):]
			rest = strings.TrimPrefix(rest, "the ")
			if name := domainAt(strings.TrimLeft(rest, " [(\"'")); name != "" {
				return CanonicalZone(name)
			}
		}
	}
	for _, k := range knownZones {
		if strings.Contains(text, k.word) {
			return k.zone
		}
	}
	return ""
}

// CanonicalZone gives the public list of a name of several that know the same,
// one with a key in it among them; other names stay.
func CanonicalZone(name string) string {
	for _, k := range knownZones {
		if strings.Contains(name, k.word) {
			return k.zone
		}
	}
	return name
}

// domainAt reads the domain name text begins with: two labels or more, the
// last one of letters.
func domainAt(text string) string {
	end := 0
	for end < len(text) && end <= maxZone && (alnum(text[end]) || text[end] == '-' || text[end] == '.') {
		end++
	}
	name := strings.TrimRight(text[:end], ".-")
	if end > maxZone || len(name) < 4 {
		return ""
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return ""
		}
	}
	last := labels[len(labels)-1]
	if len(labels) < 2 || len(last) < 2 || strings.Trim(last, "abcdefghijklmnopqrstuvwxyz") != "" {
		return ""
	}
	return name
}
