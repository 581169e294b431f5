package bounce

import "time"

// Verdict is what one SMTP reply means for the recipient it was given for.
type Verdict struct {
	Class string // KumoMTA's class names, see Classify
	Scope Scope
	Retry bool // keep the recipient in the queue
}

// Scope is who a refusal speaks of.
type Scope uint8

// Scopes.
const (
	ScopeRecipient Scope = iota + 1
	ScopeDestination
	ScopeSource // our IP
	ScopeMessage
	ScopeSender // sender domain
	ScopeNode   // our set-up
	ScopeUnknown
)

// Classify reads one reply. Unknown ones are temporary by their code: 4xx
// retries, 5xx does not. A refusal of our IP never counts against a recipient.
func Classify(code int, enhanced, text string) Verdict { panic("unwritten") }

// Report is a delivery status notification (RFC 3464 in RFC 6522).
type Report struct {
	ReportingMTA string
	From         string // From header: mailer-daemon at the tenant's host name
	To           string // the reverse-path
	EnvID        string
	Arrived      time.Time
	Date         time.Time
	MessageID    string // of the report, whole: <x@y>
	Full         bool   // return the whole message (RET=FULL), else its headers
	UTF8         bool   // use message/global-* (RFC 6533)
	Original     []byte // the original message or its headers, bounded by the caller
	Rcpts        []ReportRcpt
}

// Action is RFC 3464 §2.3.3.
type Action string

// Actions.
const (
	Failed      Action = "failed"
	Delayed     Action = "delayed"
	DeliveredTo Action = "delivered"
	Relayed     Action = "relayed"
)

// ReportRcpt is the per-recipient part.
type ReportRcpt struct {
	Final      string
	ORcpt      string // "type;address" or ""
	Action     Action
	Status     string // "5.1.1"
	RemoteMTA  string
	Diagnostic string // the remote reply, one line
	LastTry    time.Time
	RetryUntil time.Time // Delayed only
}

// Compose writes the notification, CRLF lines, ASCII unless UTF8.
func Compose(r Report) ([]byte, error) { panic("unwritten") }
