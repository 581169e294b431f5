package bounce

// genericRules is the table for replies of any host, in order: the first that fits
// decides. What a text says of our IP comes before the generic codes, because
// 550 5.7.1 stands for IP, content, authentication and syntax alike. Texts of
// single providers go into tables of their own, tried before this one and only
// for that provider's hosts: anyone can run a host that repeats their words.
var genericRules = []rule{
	// The far end's own resolver is broken: nothing is listed.
	{class: TransientFailure, scope: ScopeDestination, words: []string{"spamhaus.org/returnc", "open resolver", "127.255.255."}, hold: true},

	{class: Greylisting, scope: ScopeDestination, reply: 4, words: []string{
		"greylist", "grey list", "grey-list", "graylist", "gray list", "gray-list", "postgrey", "greypass",
		"first time sender", "unknown triplet", "triplet"}},

	// A recipient's or an administrator's own list speaks of the sender, not of our IP.
	{class: PolicyRelated, scope: ScopeRecipient, words: []string{
		"recipient's block", "recipient's black", "user's block", "user's black", "blocked by recipient", "blocked by user",
		"blocked by the recipient", "recipient has blocked", "blocked sender", "sender is blocked", "sender blocked",
		"customer block list", "sender address blocked", "gcdp$"}},
	// Lists of domains speak of the sender's domain or of a link.
	{class: InvalidSender, scope: ScopeSender, words: []string{
		"dbl.spamhaus", "multi.surbl", "surbl.org", "uribl.com", "domain is listed", "domain listed",
		"domain blacklisted", "domain is blacklisted", "domain is on a block", "reputation of the sending domain",
		"reputation of the domain", "domain reputation"}},

	// ---- our IP
	{class: IPThrottle, scope: ScopeSource, reply: 4, words: []string{
		"unusual rate", "reputation of the sending ip", "ip reputation", "temporarily deferred due to", "excessive volume",
		"ip frequency limited", "too much mail from your ip", "sending rate from your ip", "too many spams from your ip",
		"too many errors from your ip", "throttled due to ip", "temporarily rate limited"}},
	{class: IPBlock, scope: ScopeSource, hold: true, without: []string{"url$", "link"}, words: []string{
		"blocked using", "host blacklisted", "blacklisted at", "blacklisted ip", "ip blacklisted", "ip is blacklisted",
		"listed at", "is listed on", "is listed by", "listed in zen", "block listed", "on our block", "banned sending ip", "banned sender[",
		"banned ip", "low reputation of the sending ip", "reputation of the sending ip", "(bl)", "dnsbl", "rbl$", "dnsrbl",
		"rejected due to listing", "listed rbl", "not accept mail from dynamic", "dynamic ip", "dynamically assigned ip", "dialup ip",
		"dial-up ip", "residential ip", "ip address rejected", "ip rejected", "your ip address has been", "your ip has been", "your ip is",
		"your ip address is", "your ip was", "ip address is block", "ip address blocked", "ip blocked", "blocked ip", "messages from your ip",
		"spams from your ip", "errors from your ip", "mail from your ip", "connections from your ip",
		"spamhaus", "spamcop", "barracudacentral", "cbl.abuseat", "abuseat.org", "sorbs.net", "uceprotect", "psbl.surriel",
		"mailspike", "abusix", "invaluement", "senderscore", "senderbase", "proofpoint.com/dnsbl", "ipcheck.proofpoint.com",
		"csi.cloudmark.com", "blacklisted by csi", "cmsmtp", "backscatterer.org", "truncate.gbudb"}},
	// An appliance says no more than that its filter blocked the address.
	{class: IPBlock, scope: ScopeSource, hold: true, weak: true, words: []string{":blocked)"}, also: []string{"permanent failure for one or more recipients"}},
	// These words speak of our IP only beside a word for it.
	{class: IPBlock, scope: ScopeSource, hold: true, without: []string{"url$", "link", "content", "filter"}, words: []string{
		"blocked by", "is blacklisted", "blacklist", "black listed", "is listed in", "blocklist", "block list", "poor reputation",
		"bad reputation", "access denied by", "host rejected: access denied", "is not allowed to connect", "denied due to spam",
		"refused due to abuse", "blocked for abuse", "blocked for spam", "sent too much spam"}, also: []string{
		"ip ", "ip-", "ip=", "host", "client", "server", "network"}},

	// ---- our set-up: PTR, HELO, TLS
	{class: BadConfiguration, scope: ScopeNode, hold: true, details: []string{"7.25"}},
	{class: BadConfiguration, scope: ScopeNode, hold: true, words: []string{
		"reverse dns", "reverse-dns", "reverse hostname", "reverse lookup", "reverse mapping", "reverse name", "rdns$", "ptr$", "fcrdns",
		"cannot find your hostname", "cannot find your reverse", "no reverse", "client host rejected: cannot find",
		"hostname does not resolve", "host name does not resolve", "does not resolve to an ip", "ip name lookup failed",
		"unable to resolve your ip"}},
	{class: BadConfiguration, scope: ScopeNode, hold: true, words: []string{
		"helo command rejected", "ehlo command rejected", "helo rejected", "invalid helo", "invalid ehlo", "bad helo", "bad ehlo",
		"helo/ehlo", "ehlo/helo", "helo name", "ehlo name", "helo argument", "ehlo argument", "helo does not", "ehlo does not",
		"helo mismatch", "faked helo", "forged helo", "need fully-qualified hostname"}},
	{class: BadConfiguration, scope: ScopeNode, hold: true, words: []string{
		"must issue a starttls", "starttls is required", "starttls required", "tls required", "tls is required", "require tls",
		"requires tls", "requires encryption", "encryption required", "encryption needed", "encrypted connection", "must use tls",
		"without tls"}},
	{class: BadConfiguration, scope: ScopeNode, hold: true, details: []string{"7.29"}},
	{class: BadConfiguration, scope: ScopeNode, hold: true, words: []string{"ipv6"}, also: []string{"guideline", "authentication"}},

	// A host of Postfix that says no more than that it does not take ours.
	{class: IPBlock, scope: ScopeSource, hold: true, weak: true, words: []string{"client host rejected"}},

	// ---- the sender domain's authentication
	{class: AuthenticationFailed, scope: ScopeSender, details: []string{
		"7.20", "7.21", "7.22", "7.23", "7.24", "7.26", "7.27", "7.30", "7.31", "7.32", "7.40", "7.509", "7.515"}},
	{class: AuthenticationFailed, scope: ScopeSender, words: []string{
		"dmarc", "spf$", "spf-", "dkim", "domainkeys", "openspf", "sender id", "not authenticated", "unauthenticated",
		"fails authentication", "failed authentication", "authentication checks", "authentication results", "arc$", "sender policy framework"}},

	// ---- the message
	{class: VirusRelated, scope: ScopeMessage, words: []string{
		"virus", "malware", "infected", "trojan", "phishing", "clamav", "executable attachment", "prohibited attachment",
		"attachment blocked", "attachment type"}},
	{class: SpamContent, scope: ScopeMessage, words: []string{
		"spam message", "spam content", "spam detected", "spam rejected", "spam score", "spammy", "spam filter", "is spam", "as spam",
		"like spam", "for spam", "considered spam", "detected spam", "suspected spam", "probable spam", "unsolicited", "bulk mail", "junk mail",
		"spamassassin", "rspamd", "bayes", "content rejected", "content filter", "content reject", "message content", "message rejected due to content",
		"rejected for policy reasons due to content", "content of your message", "nature of the content", "blocked url", "url in",
		"contains a url", "contains a link", "blacklisted url", "spam"}, without: []string{"no such", "unknown user"}},

	// ---- the recipient's mailbox
	{class: QuotaIssues, scope: ScopeRecipient, details: []string{"2.2"}},
	{class: QuotaIssues, scope: ScopeRecipient, words: []string{
		"over quota", "overquota", "over-quota", "quota exceeded", "exceeded quota", "exceeds quota", "exceed quota", "exceeded storage",
		"exceeded its quota", "quota full", "quota violation", "out of storage", "mailbox full", "mailbox is full", "mailbox too large",
		"inbox is full", "inbox full", "user is over", "not enough storage space", "storage limit", "mailbox size limit", "mailfolder is full",
		"insufficient disk quota", "disc quota", "disk quota"}},
	{class: InactiveMailbox, scope: ScopeRecipient, details: []string{"2.1"}, without: []string{"too quickly", "rate", "too many"}},
	{class: InactiveMailbox, scope: ScopeRecipient, words: []string{
		"account disabled", "account is disabled", "account has been disabled", "account suspended", "account is suspended",
		"mailbox disabled", "mailbox is disabled", "mailbox is inactive", "mailbox inactive", "inactive mailbox", "inactive user",
		"user is inactive", "inactive account", "account is inactive", "account inactive", "account expired", "account closed",
		"account has been closed", "account is closed", "user disabled", "user suspended", "recipient disabled", "mailbox unavailable: disabled",
		"deactivated", "no longer active", "account locked", "account has been blocked", "account is locked", "mailbox is blocked",
		"dormant", "no longer in use", "not active"}},
	{class: RateLimited, scope: ScopeRecipient, words: []string{
		"receiving mail too quickly", "receiving email too quickly", "receiving mail at a rate", "receiving mail too"}},

	// ---- relaying is asked before "no such user": both may say the address is unknown here
	{class: RelayingIssues, scope: ScopeDestination, words: []string{
		"relay access denied", "relaying denied", "relay denied", "not permitted to relay", "unable to relay", "relay not permitted",
		"relaying not", "relaying is not", "relay is not", "not allowed to relay", "we do not relay", "no relay", "open relay",
		"not a local domain", "not local; please try", "rcpthosts", "relay prohibited", "not hosted here", "not our customer",
		"domain not served", "not a relay", "prohibited to relay", "relaying mail"}},
	{class: InvalidSender, scope: ScopeSender, words: []string{
		"sender address rejected", "sender rejected", "sender denied", "sender domain", "sender verify", "sender verification", "invalid sender",
		"unknown sender", "sender unknown", "sender address does not", "sender address", "mail from domain", "mail-from domain", "domain of sender",
		"return path", "envelope sender", "cannot resolve your domain", "from domain", "5321.from", "5322.from", "backscatter", "null sender",
		"empty sender"}, without: []string{"recipient address rejected"}},
	{class: InvalidSender, scope: ScopeSender, details: []string{"1.7", "1.8"}},
	{class: BadDomain, scope: ScopeRecipient, details: []string{"1.2", "1.10"}, without: []string{"recipient not found", "recipientnotfound"}},
	{class: BadDomain, scope: ScopeRecipient, words: []string{
		"domain not found", "domain does not exist", "domain doesn't exist", "no such domain", "unknown domain", "domain unknown",
		"unrouteable address", "unroutable address", "unrouteable domain", "host not found", "domain is not", "domain invalid", "invalid domain",
		"domain not exist", "domain has been suspended", "domain disabled", "null mx"}},
	{class: InvalidRecipient, scope: ScopeRecipient, details: []string{"1.1", "1.3", "1.6"}},
	{class: InvalidRecipient, scope: ScopeRecipient, words: []string{
		"user unknown", "unknown user", "no such user", "no such recipient", "no such mailbox", "no such address", "no such account",
		"no such person", "no mailbox", "mailbox not found", "mailbox unknown", "unknown mailbox", "mailbox does not", "mailbox doesn't",
		"mailbox unavailable", "mailbox not available", "user not found", "user does not", "user doesn't", "user not known",
		"account does not", "account doesn't", "account not found", "unknown account", "address does not", "address doesn't",
		"address not found", "address unknown", "unknown address", "unknown recipient", "recipient unknown", "recipient not found",
		"recipient does not", "recipient doesn't", "recipient not exist", "invalid recipient", "recipient invalid", "invalid mailbox",
		"invalid address", "invalid user", "bad address", "bad recipient", "bad destination mailbox", "not our user", "not a valid mailbox",
		"not a valid user", "not a valid recipient", "is not a valid", "unknown local", "unknown or illegal", "does not exist", "doesn't exist",
		"no account", "no user", "doesn't have an account", "doesn't have a", "user is unknown", "email address could not be found",
		"email account that you tried to reach does not", "recipient rejected", "not known here", "does not have an account", "verify address",
		"recipient not known", "unknown to address", "undeliverable address", "user invalid", "not listed in", "is not known", "recipnotfound", "recipientnotfound"}},

	// ---- how much, how fast
	{class: TooManyRecipients, scope: ScopeDestination, details: []string{"5.3"}, hold: true},
	{class: TooManyRecipients, scope: ScopeDestination, words: []string{"too many recipient", "too many rcpt"}, hold: true},
	{class: MessageTooLarge, scope: ScopeMessage, details: []string{"3.4", "2.3"}},
	{class: MessageTooLarge, scope: ScopeMessage, words: []string{
		"message too large", "message too big", "message size exceeds", "message size", "exceeds maximum message size", "exceeds the maximum",
		"message is too large", "message is too big", "exceeds size limit", "size limit", "max message size", "too large for this"}},
	{class: RateLimited, scope: ScopeSource, words: []string{
		"rate limit", "ratelimit", "rate-limit", "rate exceeded", "too many connections", "too many concurrent", "too many sessions",
		"too many messages", "too much mail", "too many emails", "too many mails", "connection limit", "connections limit", "concurrent connections",
		"max message per connection", "maximum number of messages per connection", "number of connections", "connection rate", "throttl",
		"slow down", "sending too fast", "limit reached", "limit exceeded", "too many requests", "too many errors", "too many invalid",
		"too many unknown"}, hold: true},

	// ---- ways and words
	{class: MessageExpired, scope: ScopeDestination, details: []string{"4.7"}},
	{class: RoutingErrors, scope: ScopeDestination, details: []string{"4.4", "4.6"}},
	{class: RoutingErrors, scope: ScopeDestination, words: []string{
		"mail loop", "routing loop", "loops back", "too many hops", "hop count", "loop detected", "looping", "mx points to"}},
	{class: DNSFailure, scope: ScopeDestination, details: []string{"4.3"}},
	{class: NoAnswerFromHost, scope: ScopeDestination, details: []string{"4.1"}, reply: 4},
	{class: BadConnection, scope: ScopeDestination, details: []string{"4.2", "4.5"}},
	{class: InvalidRecipient, scope: ScopeRecipient, details: []string{"4.1"}, reply: 5, words: []string{"access denied", "recipient address rejected"}},
	{class: TransientFailure, scope: ScopeDestination, details: []string{"3.0", "3.1", "3.2", "3.3", "3.5"}},
	{class: TransientFailure, scope: ScopeDestination, reply: 4, words: []string{
		"try again", "try later", "temporar", "come back later", "service not available", "service unavailable", "not available", "local error",
		"resources", "system storage", "server busy", "too busy", "timeout", "timed out", "internal error", "closing"}},
	{class: RelayingIssues, scope: ScopeDestination, codes: []int{551}},
	{class: ProtocolErrors, scope: ScopeMessage, details: []string{
		"6.0", "6.1", "6.2", "6.3", "6.4", "6.5", "6.6", "6.7", "6.8", "6.9", "6.10"}},
	{class: ProtocolErrors, scope: ScopeMessage, words: []string{
		"bare lf", "bare cr", "line too long", "rfc 5322", "rfc5322", "rfc 2822", "rfc2822", "rfc 822", "message-id header", "missing header",
		"duplicate header", "header syntax", "multiple from", "missing from", "smtputf8", "8bitmime"}},
	// A command not understood is our fault or theirs, never the message's.
	{class: ProtocolErrors, scope: ScopeNode, hold: true, codes: []int{500, 501, 502, 503, 504, 555}},
	{class: ProtocolErrors, scope: ScopeNode, hold: true, details: []string{"5.1", "5.2", "5.4", "5.5", "5.6"}},
	{class: ProtocolErrors, scope: ScopeDestination, details: []string{"5.0"}},
	{class: PolicyRelated, scope: ScopeRecipient, details: []string{
		"7.0", "7.1", "7.2", "7.3", "7.12", "7.17", "7.18", "7.19", "7.513", "7.507", "3.2", "2.0", "2.3", "2.4"}},
	{class: PolicyRelated, scope: ScopeRecipient, words: []string{
		"policy", "administrative prohibition", "administratively", "not allowed", "not permitted", "access denied", "not authorized", "denied",
		"prohibited", "refused", "rejected"}, reply: 5},
	{class: InvalidRecipient, scope: ScopeRecipient, details: []string{"1.0"}, reply: 5},
	{class: TransientFailure, scope: ScopeDestination, reply: 4},
}
