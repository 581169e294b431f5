package admin

import "time"

// Message is one queued message.
type Message struct {
	ID      string    `json:"id"`
	Tenant  string    `json:"tenant"`
	Account string    `json:"account"`
	Class   string    `json:"class"`
	Kind    string    `json:"kind" enum:"submitted,report"`
	From    string    `json:"from" doc:"Empty is the null reverse-path"`
	Size    int64     `json:"size"`
	Arrived time.Time `json:"arrived"`
	Expires time.Time `json:"expires"`
	// MessageID is the header field's value, for search.
	MessageID string `json:"message_id,omitempty"`
	Items     []Item `json:"items" nullable:"false"`
	Stopped   string `json:"stopped,omitempty" doc:"Why nothing of it is attempted now"`

	// TenantID is what the role check goes by; never sent.
	TenantID uint64 `json:"-"`
}

// Item is one destination's share of a message.
type Item struct {
	Domain   string    `json:"domain"`
	Rcpts    []string  `json:"rcpts" nullable:"false" doc:"Those without an outcome"`
	Attempts int       `json:"attempts"`
	Due      time.Time `json:"due"`
	Active   bool      `json:"active" doc:"An attempt is running"`
	Last     *Reply    `json:"last,omitempty" doc:"Why the last attempt was deferred"`
}

// Reply is an SMTP reply, or this node's own diagnosis in its form.
type Reply struct {
	Code     int    `json:"code" doc:"0 when there was none"`
	Enhanced string `json:"enhanced,omitempty"`
	Text     string `json:"text"`
}

// Trace is everything known of a message, also after it ended.
type Trace struct {
	Message
	Ended    bool      `json:"ended"`
	Outcomes []Outcome `json:"outcomes" nullable:"false"`
	Attempts []Attempt `json:"attempts" nullable:"false"`
}

// Outcome is what came of one recipient.
type Outcome struct {
	Rcpt   string    `json:"rcpt"`
	Result string    `json:"result" enum:"delivered,deferred,bounced,expired,suppressed,cancelled"`
	Reply  Reply     `json:"reply"`
	At     time.Time `json:"at"`
}

// Attempt is one attempt with its SMTP dialogue.
type Attempt struct {
	N        int       `json:"n"`
	At       time.Time `json:"at"`
	Millis   float64   `json:"ms" doc:"How long it took"`
	Domain   string    `json:"domain"`
	Source   string    `json:"source"`
	EHLO     string    `json:"ehlo"`
	Host     string    `json:"host"`
	Addr     string    `json:"addr"`
	TLS      string    `json:"tls,omitempty"`
	DotSent  bool      `json:"dot_sent" doc:"The message's last byte left"`
	Dialogue string    `json:"dialogue"`
	Outcomes []Outcome `json:"outcomes" nullable:"false"`
}

// Match narrows what flush and purge act on; empty fields match all.
type Match struct {
	Tenant  string `json:"tenant,omitempty" maxLength:"63"`
	Account string `json:"account,omitempty" maxLength:"254"`
	Domain  string `json:"domain,omitempty" maxLength:"253" doc:"Recipient domain"`
}

// Done counts what an action touched.
type Done struct {
	Count   int      `json:"count"`
	Missing []string `json:"missing,omitempty" doc:"Nodes that gave no answer: what they own is as before"`
}

// Counts are a tenant's numbers at the node that owns it.
type Counts struct {
	Queued   int
	Messages int
	InDoubt  int
}
