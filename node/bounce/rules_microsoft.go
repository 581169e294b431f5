package bounce

import "strconv"

// microsoftRules: the consumer service's postmaster page and the NDR codes of
// Exchange Online. The codes in brackets or parentheses are theirs.
var microsoftRules = []rule{
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"part of their network is on our block list"}, wide: true},
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"s3140", "s3150"}},
	{class: IPThrottle, scope: ScopeSource, hold: true, details: []string{"7.650"}},
	{class: IPThrottle, scope: ScopeSource, hold: true, words: []string{"rp-001", "rp-002", "rp-003", "s775$"}},
	{class: RateLimited, scope: ScopeSource, hold: true, details: []string{"7.652"}},
	{class: RateLimited, scope: ScopeSource, hold: true, words: []string{"exceeded maximum number of messages per connection"}},
	{class: SpamBlock, scope: ScopeSource, hold: true, words: []string{"sc-001", "ou-002"}},
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"sc-002"}, hint: "namespace mining: look for an account that washes a list"},
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"sc-003"}, hint: "seen as an open relay: critical"},
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"sc-004"}, hint: "complaints"},
	{class: BadConfiguration, scope: ScopeNode, hold: true, words: []string{"dy-001"}, hint: "the address counts as dynamic: see the PBL"},
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"dy-002"}, hint: "seen as infected"},
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"ou-001"}, zone: "zen.spamhaus.org"},

	{class: AuthenticationFailed, scope: ScopeSender, details: []string{"7.515", "7.509", "7.23"}},
	{class: IPBlock, scope: ScopeSource, hold: true, details: details("7.", 606, 649), hint: "ask at sender.office.com"},
	{class: IPBlock, scope: ScopeSource, hold: true, details: []string{"7.511"}, hint: "write to delist@messaging.microsoft.com"},
	{class: SpamBlock, scope: ScopeSource, hold: true, reply: 5, details: details("7.", 501, 503)},
	{class: IPThrottle, scope: ScopeSource, hold: true, details: []string{"7.508"}, wide: true},
	{class: PolicyRelated, scope: ScopeRecipient, details: []string{"7.513", "7.507"}},
	{class: IPThrottle, scope: ScopeSource, reply: 4, details: details("7.", 500, 699)},
	{class: IPThrottle, scope: ScopeSource, reply: 4, details: details("7.", 850, 899)},
	{class: InvalidRecipient, scope: ScopeRecipient, details: []string{"4.1"}, words: []string{"recipient address rejected"}},
	{class: InvalidRecipient, scope: ScopeRecipient, details: []string{"1.10"}},
	{class: TooManyRecipients, scope: ScopeDestination, hold: true, details: []string{"5.3"}},
}

// details lists enhanced codes from first to last.
func details(prefix string, first, last int) []string {
	list := make([]string, 0, last-first+1)
	for n := first; n <= last; n++ {
		list = append(list, prefix+strconv.Itoa(n))
	}
	return list
}
