package bounce

import (
	"net/netip"
	"testing"
)

func TestClassify(t *testing.T) {
	cases := []struct {
		code     int
		enhanced string
		text     string
		class    string
		scope    Scope
		retry    bool
	}{
		// recipients
		{550, "5.1.1", "<x@b.example>: Recipient address rejected: User unknown in virtual mailbox table", InvalidRecipient, ScopeRecipient, false},
		{550, "", "No such user here", InvalidRecipient, ScopeRecipient, false},
		{450, "4.1.1", "unverified address", InvalidRecipient, ScopeRecipient, true},
		{550, "5.2.1", "The email account that you tried to reach is disabled", InactiveMailbox, ScopeRecipient, false},
		{450, "4.2.1", "The user you are trying to contact is receiving mail too quickly", RateLimited, ScopeRecipient, true},
		{552, "5.2.2", "The recipient's inbox is out of storage space", QuotaIssues, ScopeRecipient, false},
		{452, "4.2.2", "Mailbox full", QuotaIssues, ScopeRecipient, true},
		{550, "", "mailbox is full", QuotaIssues, ScopeRecipient, false},
		{550, "5.1.2", "host unknown", BadDomain, ScopeRecipient, false},
		{556, "5.1.10", "domain accepts no mail (null MX)", BadDomain, ScopeRecipient, false},
		{550, "5.4.1", "Recipient address rejected: Access denied", InvalidRecipient, ScopeRecipient, false},
		{550, "5.1.0", "Address rejected", PolicyRelated, ScopeRecipient, false},
		// greylisting
		{451, "4.7.1", "Greylisting in action, please come back later", Greylisting, ScopeDestination, true},
		{450, "4.2.0", "<x@b.example>: Recipient address rejected: Greylisted, see http://b.example", Greylisting, ScopeDestination, true},
		{421, "", "You have been graylisted", Greylisting, ScopeDestination, true},
		// our IP, whatever the code
		{554, "5.7.1", "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1", IPBlock, ScopeSource, true},
		{550, "5.7.1", "Mail from 192.0.2.1 rejected: listed at dnsbl.example", IPBlock, ScopeSource, true},
		{554, "", "No SMTP service IP address is block listed. See case?c=r0201", IPBlock, ScopeSource, true},
		{550, "5.7.1", "very low reputation of the sending IP address", IPBlock, ScopeSource, true},
		{421, "4.7.0", "very low reputation of the sending IP address", IPThrottle, ScopeSource, true},
		{421, "4.7.28", "unusual rate of unsolicited mail originating from your IP address", IPThrottle, ScopeSource, true},
		{550, "5.7.0", "Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1", IPBlock, ScopeSource, true},
		{554, "5.7.1", "Client host rejected: IP in RBL", IPBlock, ScopeSource, true},
		{554, "5.7.1", "The message is garbled", PolicyRelated, ScopeRecipient, false},
		{550, "5.7.1", "Error: open resolver; https://www.spamhaus.org/returnc/pub/192.0.2.53", TransientFailure, ScopeDestination, true},
		{554, "", "IP=192.0.2.1 - A problem occurred (bad reputation)", IPBlock, ScopeSource, true},
		// not our IP
		{550, "5.7.1", "Message was blocked by our content filter", SpamContent, ScopeMessage, false},
		{550, "5.7.1", "Your address is blacklisted by policy of the user", PolicyRelated, ScopeRecipient, false},
		{554, "5.7.1", "Sender domain blocked using dbl.spamhaus.org", InvalidSender, ScopeSender, false},
		{550, "5.7.1", "You are on this user's block list", PolicyRelated, ScopeRecipient, false},
		{550, "5.7.1", "contains a link blacklisted by us", SpamContent, ScopeMessage, false},
		// our set-up
		{550, "5.7.25", "The IP address sending this message does not have a record", BadConfiguration, ScopeNode, true},
		{450, "4.7.1", "Client host rejected: cannot find your reverse hostname, [192.0.2.1]", BadConfiguration, ScopeNode, true},
		{504, "5.5.2", "<x>: Helo command rejected: need fully-qualified hostname", BadConfiguration, ScopeNode, true},
		{530, "5.7.0", "Must issue a STARTTLS command first", BadConfiguration, ScopeNode, true},
		// authentication
		{550, "5.7.26", "This mail has been blocked because the sender is unauthenticated", AuthenticationFailed, ScopeSender, false},
		{550, "5.7.1", "SPF check failed", AuthenticationFailed, ScopeSender, false},
		{550, "5.7.1", "Unauthenticated email is not accepted due to the domain's DMARC policy", AuthenticationFailed, ScopeSender, false},
		{421, "4.7.27", "SPF did not pass", AuthenticationFailed, ScopeSender, true},
		// message
		{554, "5.7.1", "Message rejected as spam by Content Filtering", SpamContent, ScopeMessage, false},
		{550, "", "spam message rejected", SpamContent, ScopeMessage, false},
		{554, "5.7.1", "virus found: Eicar", VirusRelated, ScopeMessage, false},
		{552, "5.3.4", "Message size exceeds fixed limit", MessageTooLarge, ScopeMessage, false},
		{554, "5.6.3", "message has 8-bit content and the host does not take it (8BITMIME)", ProtocolErrors, ScopeMessage, false},
		{553, "5.6.7", "host does not take internationalized mail (SMTPUTF8)", ProtocolErrors, ScopeMessage, false},
		{554, "5.6.0", "message has a bare CR or LF and cannot be sent", ProtocolErrors, ScopeMessage, false},
		// sender
		{553, "5.1.8", "Domain of sender address a@b does not resolve", InvalidSender, ScopeSender, false},
		{550, "", "Sender address rejected: Domain not found", InvalidSender, ScopeSender, false},
		// relaying and routing
		{554, "5.7.1", "<x@b.example>: Relay access denied", RelayingIssues, ScopeDestination, false},
		{550, "5.4.6", "mail for the domain would loop back to this host", RoutingErrors, ScopeDestination, false},
		// how fast
		{452, "4.5.3", "Too many recipients", TooManyRecipients, ScopeDestination, true},
		{421, "", "Too many connections from your host", RateLimited, ScopeSource, true},
		{421, "4.7.0", "Try again later, closing connection", TransientFailure, ScopeDestination, true},
		// generic
		{451, "4.3.0", "Temporary lookup failure", TransientFailure, ScopeDestination, true},
		{450, "", "hm", TransientFailure, ScopeDestination, true},
		{500, "", "what?", ProtocolErrors, ScopeNode, true},
		{550, "5.7.1", "go away", PolicyRelated, ScopeRecipient, false},
		{554, "", "Transaction failed", Uncategorized, ScopeUnknown, false},
		{554, "", "", Uncategorized, ScopeUnknown, false},
		{299, "", "", Uncategorized, ScopeUnknown, true},
		{-1, "", "", Uncategorized, ScopeUnknown, true},
		// our own diagnoses
		{0, "4.4.1", "connect to 192.0.2.1: timed out", NoAnswerFromHost, ScopeDestination, true},
		{0, "4.4.2", "connection reset by the other side", BadConnection, ScopeDestination, true},
		{451, "4.4.3", "look-up failed", DNSFailure, ScopeDestination, true},
		{0, "", "", Uncategorized, ScopeUnknown, true},
	}
	for _, c := range cases {
		got := Classify(Reply{Code: c.code, Enhanced: c.enhanced, Text: c.text})
		if got.Class != c.class || got.Scope != c.scope || got.Retry() != c.retry {
			t.Errorf("%d %s %s\n got %+v\nwant %s, scope %d, retry %v", c.code, c.enhanced, c.text, got, c.class, c.scope, c.retry)
		}
	}
}

func TestClassifyLooksForOurAddress(t *testing.T) {
	for text, want := range map[string]Scope{
		"Client host [192.0.2.1] blocked using zen.spamhaus.org":                        ScopeSource,
		"Client host [198.51.100.9] blocked using zen.spamhaus.org":                     ScopeDestination,
		"Client host blocked using zen.spamhaus.org":                                    ScopeSource,
		"host listed at dnsbl.example (127.0.0.2)":                                      ScopeSource,
		"blocked using b.example; https://b.example/query/ip/192.0.2.1.":                ScopeSource,
		"message relayed by 198.51.100.9 to 192.0.2.1 blocked using b.example":          ScopeSource,
		"Client host [2001:db8::9] blocked using zen.spamhaus.org":                      ScopeDestination,
		"blocked using b.example: 192.0.2.0/24":                                         ScopeSource,
		"blocked using b.example: the network 192.0.2.0 is full of it":                  ScopeSource,
		"blocked using b.example: 198.51.100.0/24":                                      ScopeDestination,
		"blocked using b.example: 192.0.0.0/2":                                          ScopeDestination,
		"Client host rejected: 4.7.28 our system 1.2.3 detected DNSBL listing at ab:cd": ScopeSource,
	} {
		v := Classify(Reply{Source: netip.MustParseAddr("::ffff:192.0.2.1"), Code: 554, Enhanced: "5.7.1", Text: text})
		if v.Scope != want || v.Retry() != (want == ScopeSource) {
			t.Errorf("%s: %+v", text, v)
		}
	}
	if v := Classify(Reply{Source: netip.MustParseAddr("192.0.2.1"), Code: 550, Enhanced: "5.1.1", Text: "198.51.100.9 says: user unknown"}); v.Class != InvalidRecipient {
		t.Errorf("%+v", v)
	}
}
