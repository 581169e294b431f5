package bounce

// gmxRules: GMX, web.de, mail.com and IONOS. They use no enhanced codes and
// give the reason in the last line.
var gmxRules = []rule{
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"ip address is block listed"}},
	{class: RateLimited, scope: ScopeSource, reply: 4, words: []string{"rate limit reached"}, hint: "lasts for hours"},
	{class: IPThrottle, scope: ScopeSource, reply: 4, words: []string{"policy violations"},
		hint: "too many unknown recipients, or an EHLO name that changes"},
}

// tonlineRules: a host T-Online does not know is refused until somebody writes.
var tonlineRules = []rule{
	{class: IPBlock, scope: ScopeSource, hold: true, weak: true, words: []string{"(nowl)"},
		hint: "an address they do not know yet: write once to tobr@rx.t-online.de"},
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"(bl)"}, hint: "write to tosa@rx.t-online.de"},
	{class: BadConfiguration, scope: ScopeNode, hold: true, words: []string{"(dial)"}, hint: "the address counts as dynamic: write to toda@rx.t-online.de"},
}

// franceRules: Orange and La Poste, by the end of their codes (OFR_104, LPN007_104).
var franceRules = []rule{
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"_101$"}, zone: "zen.spamhaus.org"},
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"_102$"}},
	{class: IPBlock, scope: ScopeSource, hold: true, weak: true, words: []string{"_103$", "_510$", "_999$"}},
	{class: RateLimited, scope: ScopeSource, hold: true, words: []string{"_104$"}, hint: "two connections at most"},
	{class: AuthenticationFailed, scope: ScopeSender, words: []string{"_401$", "_517$"}},
	{class: InvalidRecipient, scope: ScopeRecipient, words: []string{"_416$"}},
	{class: QuotaIssues, scope: ScopeRecipient, words: []string{"_417$"}},
	{class: InactiveMailbox, scope: ScopeRecipient, words: []string{"_420$", "_426$"}},
	{class: SpamContent, scope: ScopeMessage, words: []string{"_506$"}},
}

// freeRules: a block lasts a day at most.
var freeRules = []rule{
	{class: IPThrottle, scope: ScopeSource, reply: 4, words: []string{"too many spams from your ip", "too many errors from your ip"}},
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"too many spams from your ip", "too many errors from your ip"},
		hint: "ends within a day by itself"},
	{class: SpamContent, scope: ScopeMessage, words: []string{"spam detected"}},
}

var sfrRules = []rule{
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"gu_eib_02", "gu_eib_04", "abus detect"}},
}
