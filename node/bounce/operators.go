package bounce

import "strings"

// operators are those who write about their lists, by the domains they write
// from and sign with. A From field proves nothing: it says whose words these
// claim to be, and a DKIM signature of the same operator that they are.
var operators = []struct{ domain, zone string }{
	{"spamhaus.org", "zen.spamhaus.org"},
	{"spamhaus.com", "zen.spamhaus.org"},
	{"spamcop.net", "bl.spamcop.net"},
	{"abusix.com", "combined.mail.abusix.zone"},
	{"abusix.org", "combined.mail.abusix.zone"},
	{"barracudacentral.org", "b.barracudacentral.org"},
	{"mailspike.org", "bl.mailspike.net"},
	{"psbl.org", "psbl.surriel.com"},
	{"surriel.com", "psbl.surriel.com"},
	{"uceprotect.net", "dnsbl-1.uceprotect.net"},
	{"blocklist.de", "bl.blocklist.de"},
	{"spameatingmonkey.net", "bl.spameatingmonkey.net"},
	{"surbl.org", "multi.surbl.org"},
	{"uribl.com", "multi.uribl.com"},
}

// ListOperator is the list of whoever writes or signs with a domain, by its usual
// name, or "".
func ListOperator(domain string) (zone string) {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	for _, o := range operators {
		if domain == o.domain || strings.HasSuffix(domain, "."+o.domain) {
			return o.zone
		}
	}
	return ""
}
