package queue

import (
	"time"

	"postern/tenant"
)

// ID names a message: the tenant's log, the epoch it was accepted under, and
// the sequence of its Put in that log.
type ID struct {
	Tenant tenant.ID
	Epoch  uint64
	Seq    uint64
}

// Kind says where a message came from.
type Kind uint8

// Kinds of messages.
const (
	Submitted Kind = iota + 1
	Report         // a delivery status notification made here; never answered by another
)

// Envelope is what is known of a message besides its bytes. It never changes
// after Put.
type Envelope struct {
	Account     tenant.AccountID
	Class       tenant.Class
	Kind        Kind
	From        string // reverse-path without brackets; "" is the null one
	Rcpts       []Rcpt
	Arrived     time.Time
	Expires     time.Time // without standstills
	Size        int64     // octets of the whole message as it goes out
	EightBit    bool      // has octets above 127
	UTF8        bool      // needs SMTPUTF8 (RFC 6531)
	Ret         string    // DSN RET: "", "FULL" or "HDRS" (RFC 3461 §4.3)
	EnvID       string    // DSN ENVID, decoded
	MessageID   string    // for the log and the trace
	Transaction [16]byte  // id of the SMTP transaction, ascending with time
	Remote      bool      // came through another node, which may ask for the transaction
}

// Rcpt is one recipient.
type Rcpt struct {
	Addr   string // local@domain, domain as A-label or (UTF8) U-label
	Notify Notify
	ORcpt  string // DSN ORCPT "type;address", decoded; "" when absent
}

// Notify is the DSN NOTIFY set (RFC 3461 §4.1); 0 is the default, FAILURE and DELAY.
type Notify uint8

// Bits of Notify.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Spend is what one message spends of one window's grant.
type Spend struct {
	Window tenant.Window
	Amount tenant.Amount
}

// Lane is one line of due mail: an account's messages of one class to one
// recipient domain. Fairness, holds and back-off work on lanes, so their cost
// does not grow with the messages behind them.
type Lane struct {
	Tenant  tenant.ID
	Account tenant.AccountID
	Class   tenant.Class
	Domain  string // recipient domain, A-label, lower case
}

// Item is one lane's share of one message (its recipients in that domain): the
// unit that falls due, is attempted and settled.
type Item struct {
	ID       ID
	Lane     Lane
	N        uint16    // which share of the message
	Envelope *Envelope // shared, read only
	Rcpts    []int     // indices into Envelope.Rcpts still without an outcome
	Attempts int       // attempts settled so far
	Due      time.Time
	Last     Reply // why the last attempt was deferred
	Delayed  bool  // a delay notice was sent
	InDoubt  bool  // an attempt was started before a crash and never settled
}

// Reply is one SMTP reply, or our own diagnosis in its form (Code 0: none).
type Reply struct {
	Code     int
	Enhanced string // "5.1.1" or ""
	Text     string // one line, at most 500 octets, printable
}

// Result is what came of one recipient in one attempt.
type Result uint8

// Results. Deferred is the only one that leaves the recipient in the queue.
const (
	Delivered Result = iota + 1
	Deferred
	Bounced
	Expired
	Cancelled  // by the operator; no notice
	Suppressed // not tried: the address is on the tenant's list
)

// Outcome is the result for one recipient, by its index in Envelope.Rcpts.
type Outcome struct {
	Rcpt   int
	Result Result
	Reply  Reply
}

// Attempt is what the trace keeps of one attempt.
type Attempt struct {
	N        int // 1 for the first
	At       time.Time
	Took     time.Duration
	Source   string // outbound IP
	EHLO     string
	Host     string // MX name
	Addr     string // MX address and port
	TLS      string // "" or version and cipher
	DotSent  bool
	Dialogue string // bounded, secrets never
}

// Settlement closes one attempt of one item in one batch.
type Settlement struct {
	Item     *Item
	Attempt  Attempt
	Outcomes []Outcome // one for each of Item.Rcpts
	Next     time.Time // when the deferred ones are due again
	Delayed  bool      // a delay notice is among Reports
	Reports  []Notice  // notices put into the same tenant's log in the same batch
	Failed   []Failure // addresses for the tenant's list, in the same batch; not forwarded
}

// Notice is a whole small message made here.
type Notice struct {
	Envelope Envelope
	Body     []byte
}
