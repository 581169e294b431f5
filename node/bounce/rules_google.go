package bounce

// googleRules: Google's pages on SMTP errors and on sending limits.
var googleRules = []rule{
	{class: PolicyRelated, scope: ScopeRecipient, words: []string{"gcdp$"}}, // an administrator's own rule

	{class: BadConfiguration, scope: ScopeNode, hold: true, details: []string{"7.23", "7.25"}},
	{class: BadConfiguration, scope: ScopeNode, hold: true, words: []string{"ptr$", "forward dns", "ipv6 sending guidelines", "ipv6 guidelines"}},
	{class: BadConfiguration, scope: ScopeNode, hold: true, details: []string{"7.29"}},
	{class: AuthenticationFailed, scope: ScopeSender, details: []string{"7.26", "7.27", "7.30", "7.31", "7.32", "7.40"}},

	{class: ProtocolErrors, scope: ScopeMessage, words: []string{"same message-id"},
		hint: "one account sends messages with the same Message-ID"},
	{class: RateLimited, scope: ScopeSender, words: []string{"unusual rate"}, also: []string{"dkim domain", "spf domain", "url domain", "your url"},
		hint: "the limit is the sender domain's, not the address's"},
	{class: IPThrottle, scope: ScopeSource, words: []string{"unusual rate"}, also: []string{"netblock"}, reply: 4, wide: true},
	{class: IPBlock, scope: ScopeSource, words: []string{"unusual rate"}, also: []string{"netblock"}, wide: true, hold: true},
	{class: IPThrottle, scope: ScopeSource, reply: 4, words: []string{"unusual rate"}},
	{class: IPThrottle, scope: ScopeSource, reply: 4, details: []string{"7.28"}},
	{class: IPBlock, scope: ScopeSource, words: []string{"unusual rate"}, hold: true},
	{class: IPBlock, scope: ScopeSource, details: []string{"7.28"}, hold: true},

	{class: InvalidSender, scope: ScopeSender, words: []string{"reputation of the sending domain"}},
	{class: IPThrottle, scope: ScopeSource, reply: 4, words: []string{"reputation of the sending ip"}},
	{class: IPBlock, scope: ScopeSource, words: []string{"reputation of the sending ip"}, hold: true},
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"not authorized to send email directly", "not authorized to send directly"},
		hint: "the address counts as one that should not send directly, as on the PBL"},
	{class: SpamContent, scope: ScopeMessage, words: []string{"likely unsolicited", "nature of the content"}},
	{class: ProtocolErrors, scope: ScopeMessage, details: []string{"7.1"}, words: []string{
		"missing a valid", "duplicate header", "multiple addresses in from", "header is missing", "messages missing", "rfc 5322"}},
	{class: RateLimited, scope: ScopeSource, reply: 4, words: []string{"try again later, closing connection"}},
}
