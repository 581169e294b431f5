package report

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Delisting is how a list takes an address off.
type Delisting struct {
	How string
	// Again is how long after a request the list takes the next one.
	Again time.Duration
	// Ask is false where there is nothing to ask: the entry ends by itself.
	Ask bool
}

const day = 24 * time.Hour

// spamhausCodes are the parts of Spamhaus' zone, by the last octet of what it
// answers. The hardest counts: who must ask for one part gains nothing by asking
// for another first.
var spamhausCodes = []struct {
	octets []byte
	how    Delisting
}{
	{[]byte{2, 9}, Delisting{"SBL or DROP: the network's owner (your provider, or you if it is yours) must ask, by the mail link of the record; say what was done against the sender", day, true}},
	{[]byte{30}, Delisting{"BCL: ask by the mail link of the record; say what was done", day, true}},
	{[]byte{3}, Delisting{"CSS: ask at the link when the cause has ended; else it ends by itself some days after the last spam", day, true}},
	{[]byte{4, 5, 6, 7}, Delisting{"XBL: the machine looks broken into; mend it, then ask at the link; it comes back at once if it was not mended", day, true}},
	{[]byte{10, 11}, Delisting{"PBL: no listing for spam, but a network that is said to send no mail: take the address out at the link; the zone follows within the hour", day, true}},
}

// lists are the others, by the end of their names: keyed zones have the key in
// front.
var lists = []struct {
	zone string
	how  Delisting
}{
	{"barracudacentral.org", Delisting{"fill in the form at the link with a reachable address and telephone number; answered within 12 to 24 hours, and a second request delays the first", day, true}},
	{"spamcop.net", Delisting{"there is nothing to ask: it ends about 24 hours after the last report", 0, false}},
	{"abusix.zone", Delisting{"ask at the link; black entries end about five days after the last spam", day, true}},
	{"mailspike.net", Delisting{"fill in the form at the link; 6 to 36 hours", 36 * time.Hour, true}},
	{"surriel.com", Delisting{"remove it at the link: gone in 30 minutes, and listed again by the next message to a trap", day, true}},
	{"uceprotect.net", Delisting{"there is nothing to ask: level 1 ends seven days after the last hit; do not pay for the express way", 0, false}},
	{"gbudb.net", Delisting{"there is nothing to ask: it follows the traffic", 0, false}},
	{"blocklist.de", Delisting{"ask at the link, or wait 48 hours after the last attack", day, true}},
}

// Delist says how a list takes an address off that it answers these codes for.
func Delist(zone string, codes []netip.Addr) Delisting {
	if under(zone, "spamhaus.org") || under(zone, "spamhaus.net") {
		for _, x := range spamhausCodes {
			if slices.ContainsFunc(codes, func(a netip.Addr) bool { return a.Is4() && slices.Contains(x.octets, a.As4()[3]) }) {
				return x.how
			}
		}
	}
	for _, x := range lists {
		if under(zone, x.zone) {
			return x.how
		}
	}
	return Delisting{"ask at the link once the cause has ended; once a day is enough", day, true}
}

func under(zone, parent string) bool { return zone == parent || strings.HasSuffix(zone, "."+parent) }
