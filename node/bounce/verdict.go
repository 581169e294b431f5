package bounce

// Verdict is what one SMTP reply means for the recipient it was given for.
type Verdict struct {
	Class  string // KumoMTA's class names, see the Class constants
	Scope  Scope
	Course Course

	Provider string // the group the host belongs to, "" when it is of none: see ProviderOf
	Zone     string // the DNSBL an IPBlock names, without a key, or ""
	Range    bool   // the reply speaks of our network, not of our address alone
	Weak     bool   // says too little of our IP to be evidence
	Hint     string // what an operator should know beyond the class, or ""
}

// Retry reports whether the recipient stays in the queue.
func (v Verdict) Retry() bool { return v.Course != CourseBounce }

// Hard reports whether the address itself is what failed for good: the case of
// a suppression list and of a hard bounce rate.
func (v Verdict) Hard() bool {
	switch v.Class {
	case InvalidRecipient, InactiveMailbox, BadDomain:
		return v.Course == CourseBounce
	}
	return false
}

// Evidence reports whether the reply testifies that our IP is refused: said by
// a host of a provider we know, of our IP, in words meant for it. Anyone can
// run a host that repeats a provider's words; nobody else can run its hosts.
func (v Verdict) Evidence() bool { return v.Class == IPBlock && v.Provider != "" && !v.Weak }

// Scope is who a refusal speaks of.
type Scope uint8

// Scopes.
const (
	ScopeRecipient   Scope = iota + 1
	ScopeDestination       // the host or the administrator behind it
	ScopeSource            // our IP, at this provider
	ScopeMessage
	ScopeSender // the sender's domain or its account
	ScopeNode   // our set-up
	ScopeUnknown
)

// Course is what is done with the recipient.
type Course uint8

// Courses.
const (
	CourseRetry  Course = iota + 1 // by the schedule
	CourseSlow                     // the same, and the source leaves the provider alone for a while
	CourseHold                     // kept, because the fault is our IP's or our set-up's, whatever the code says
	CourseBounce                   // ended
)

// Classes of replies. Names are KumoMTA's where it has one, so that rules can
// be compared; IPBlock and IPThrottle split its SpamBlock, which stays for
// refusals that may mean the IP as well as the content.
const (
	InvalidRecipient     = "InvalidRecipient"
	InactiveMailbox      = "InactiveMailbox"
	BadDomain            = "BadDomain"
	QuotaIssues          = "QuotaIssues"
	TransientFailure     = "TransientFailure"
	Greylisting          = "Greylisting"
	NoAnswerFromHost     = "NoAnswerFromHost"
	BadConnection        = "BadConnection"
	DNSFailure           = "DNSFailure"
	RateLimited          = "RateLimited"
	TooManyRecipients    = "TooManyRecipients"
	IPBlock              = "IPBlock"
	IPThrottle           = "IPThrottle"
	SpamBlock            = "SpamBlock"
	SpamContent          = "SpamContent"
	VirusRelated         = "VirusRelated"
	AuthenticationFailed = "AuthenticationFailed"
	InvalidSender        = "InvalidSender"
	BadConfiguration     = "BadConfiguration"
	ProtocolErrors       = "ProtocolErrors"
	PolicyRelated        = "PolicyRelated"
	RelayingIssues       = "RelayingIssues"
	RoutingErrors        = "RoutingErrors"
	MessageExpired       = "MessageExpired"
	MessageTooLarge      = "MessageTooLarge"
	Uncategorized        = "Uncategorized"
)
