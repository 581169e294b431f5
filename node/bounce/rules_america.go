package bounce

import "strconv"

// yahooRules: Yahoo, AOL and what moved there. The codes in brackets are theirs.
var yahooRules = []rule{
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"[tss09]", "[tss11]", "retrying will not succeed"}},
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"[bl21]", "[bl23]", "[tss07]"}, zone: "zen.spamhaus.org"},
	{class: IPThrottle, scope: ScopeSource, reply: 4, words: []string{"[tss04]", "[tss05]", "[ts01]", "[ts02]", "[ts03]", "ipts04"},
		hint: "volume or complaints; missing SPF, DKIM or DMARC gets the same text"},
	{class: SpamContent, scope: ScopeMessage, words: []string{"[ph01]"}},
	{class: InvalidSender, scope: ScopeSender, words: []string{"rfc.5321 from", "rfc.5322 from", "rfc5321 from", "rfc5322 from", "unresolvable rfc"},
		hint: "they look for the sender domain's SOA record"},
	{class: AuthenticationFailed, scope: ScopeSender, details: []string{"7.9"}},
	{class: InactiveMailbox, scope: ScopeRecipient, words: []string{"mailbox is disabled", "(554.30)"}},
	{class: InvalidRecipient, scope: ScopeRecipient, words: []string{"mailbox not found", "this user doesn't have"}},
	{class: RateLimited, scope: ScopeSource, hold: true, words: []string{"max message per connection", "max messages per connection"}},
}

// appleRules: iCloud, which asks Proofpoint about addresses.
var appleRules = []rule{
	{class: IPThrottle, scope: ScopeSource, reply: 4, words: []string{"excessive volume", "[hcm1]"}},
	{class: AuthenticationFailed, scope: ScopeSender, words: []string{"[hme1]"}},
	{class: PolicyRelated, scope: ScopeRecipient, words: []string{"[cs01]"}},
}

// comcastRules: the last digits of a BL code are bits and combine.
var comcastRules = []rule{
	{class: IPBlock, scope: ScopeSource, hold: true, words: bits("bl000", 3, true), zone: "zen.spamhaus.org"},
	{class: IPBlock, scope: ScopeSource, hold: true, words: bits("bl000", 3, false)},
	{class: IPThrottle, scope: ScopeSource, hold: true, words: []string{"rl000010"}},
	{class: BadConfiguration, scope: ScopeNode, hold: true, words: []string{"es000010"}, hint: "the address counts as dynamic"},
}

// coxRules: the digits of an IPBL code are bits: 1 Spamhaus, 10 Return Path,
// 100 ivmSIP, 1000 Cloudmark.
var coxRules = []rule{
	{class: IPBlock, scope: ScopeSource, hold: true, words: append(bits("aup#ipbl", 4, true), "aup#ipbl1$", "aup#ipbl11$", "aup#ipbl101$", "aup#ipbl111$"), zone: "zen.spamhaus.org"},
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"aup#ipbl", "aup#cxbl"}},
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"aup#cdrbl"}, hint: "ends within a day by itself"},
	{class: RateLimited, scope: ScopeSource, hold: true, words: []string{"aup#cxcnct"}},
	{class: BadConfiguration, scope: ScopeNode, hold: true, words: []string{"aup#cxdns"}},
}

// bits lists prefix with all digits of 0 and 1 behind it; odd ones only, or all.
func bits(prefix string, digits int, odd bool) []string {
	var list []string
	for n := range 1 << digits {
		if odd && n%2 == 0 {
			continue
		}
		s := strconv.FormatInt(int64(n)|1<<digits, 2)
		list = append(list, prefix+s[1:]+"$")
	}
	return list
}

// spectrumRules: AUP#I- or AUP#In- and four digits, in ranges.
var spectrumRules = []rule{
	{class: IPBlock, scope: ScopeSource, hold: true, words: incoming("1000")},
	{class: BadConfiguration, scope: ScopeNode, hold: true, words: incoming("11")},
	{class: IPBlock, scope: ScopeSource, hold: true, words: incoming("120", "121")},
	{class: IPBlock, scope: ScopeSource, hold: true, words: incoming("122", "123", "124", "125"), zone: "zen.spamhaus.org"},
	{class: RateLimited, scope: ScopeSource, hold: true, words: incoming("130", "131", "132", "133", "134")},
	{class: IPThrottle, scope: ScopeSource, hold: true, words: incoming("13", "14")},
}

func incoming(digits ...string) []string {
	var list []string
	for _, d := range digits {
		list = append(list, "aup#i-"+d, "aup#in-"+d)
	}
	return list
}

// mimecastRules: its own list of senders.
var mimecastRules = []rule{
	{class: IPBlock, scope: ScopeSource, hold: true, words: []string{"csi.mimecast.org", "poor reputation sender", "host network not allowed"}},
}
