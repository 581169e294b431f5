package admin

import "time"

// Tenant is one customer.
type Tenant struct {
	ID        uint64      `json:"id"`
	Name      string      `json:"name"`
	Hostname  string      `json:"hostname" doc:"The tenant's own name for the relay; trace headers show it"`
	Home      Place       `json:"home"`
	Backup    *Place      `json:"backup,omitempty"`
	Owner     string      `json:"owner" doc:"Node that accepts and sends for it now"`
	Epoch     uint64      `json:"epoch"`
	State     string      `json:"state" enum:"sending,waiting,paused,held" doc:"Waiting: it takes mail, and none leaves because of a listing"`
	Waits     string      `json:"waits,omitempty" doc:"Why none of its mail leaves: a listing, and a backup that would not do"`
	Paused    string      `json:"paused,omitempty" doc:"Reason"`
	Held      string      `json:"held,omitempty" doc:"Reason"`
	Suspended *Suspension `json:"suspended,omitempty" doc:"Why it is held, when an operator suspended it"`
	Mend      string      `json:"mend,omitempty" doc:"What makes a tenant send again that is held or paused, or says it of one that waits"`
	HasToken  bool        `json:"has_token"`
	Closed    bool        `json:"closed,omitempty" doc:"For ever"`
	Customer  string      `json:"customer,omitempty" doc:"The provider's own number of it"`
	Accounts  int         `json:"accounts"`
	Domains   int         `json:"domains"`
	Queued    *int        `json:"queued,omitempty" doc:"Recipients without an outcome; absent while its owner gives no answer"`
	Messages  *int        `json:"messages,omitempty" doc:"Messages kept; absent as queued"`
	InDoubt   *int        `json:"in_doubt,omitempty" doc:"Attempts begun before a crash whose result is unknown"`
	To        string      `json:"to,omitempty" doc:"Node it is being handed over to"`
	// NotArmed says why the backup would not work right now.
	NotArmed []string `json:"not_armed,omitempty" doc:"Why its backup would not work right now; absent when it would"`
	// Unprepared is the part of it that waiting does not mend.
	Unprepared string   `json:"unprepared,omitempty" doc:"What of it somebody has to mend: names, SPF, an address that is missing, lists; a listing would make the tenant wait"`
	Conduct    *Conduct `json:"conduct,omitempty" doc:"What differs for it when something is listed; absent: nothing"`
	DNS        []string `json:"dns,omitempty" doc:"What is wrong in the DNS of its domains and sources, as the asked node last saw it; only of a tenant shown by itself"`
	Mirror     *Mirror  `json:"mirror,omitempty" doc:"The second copy of its queue; absent when there never was one"`
}

// Mirror is the second copy of a tenant's queue.
type Mirror struct {
	Node       string  `json:"node" doc:"Holder of the copy; empty: nobody, there is one copy"`
	Generation uint64  `json:"generation"`
	Synced     bool    `json:"synced" doc:"Older messages are there, too"`
	Left       int     `json:"left" doc:"Messages still to be compared or copied"`
	BehindMS   float64 `json:"behind_ms" doc:"How long the oldest record without the holder's word waits"`
	BrokenMS   float64 `json:"broken_ms" doc:"How long the holder cannot be reached"`
	Known      bool    `json:"known" doc:"The owner answered: the numbers are of now"`
}

// NewTenant registers a tenant.
type NewTenant struct {
	Name     string `json:"name" minLength:"1" maxLength:"63"`
	Hostname string `json:"hostname" minLength:"1" maxLength:"253"`
	Home     Place  `json:"home,omitzero" doc:"Absent: the nodes with most room are chosen for home and backup"`
	Backup   *Place `json:"backup,omitempty"`
	Customer string `json:"customer,omitempty" maxLength:"100" doc:"The provider's own number of the customer"`
}

// SetPlace changes home and backup.
type SetPlace struct {
	Home   Place  `json:"home"`
	Backup *Place `json:"backup,omitempty" doc:"Absent removes the backup"`
}

// Stop is why something is held or paused.
type Stop struct {
	Reason string `json:"reason" minLength:"1" maxLength:"200"`
}

// Suspend is a hold whose reason the customer reads.
type Suspend struct {
	Class  string `json:"class" enum:"billing,abuse,customer" doc:"What it is for; none of them is evidence"`
	Reason string `json:"reason" minLength:"1" maxLength:"200" doc:"Told to the customer, also in SMTP replies"`
}

// Suspension is why somebody is suspended.
type Suspension struct {
	Class  string    `json:"class" enum:"billing,abuse,customer"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// Token is an API token, shown once.
type Token struct {
	Tenant string `json:"tenant"`
	Token  string `json:"token"`
}

// Domain is a sender domain proved for a tenant.
type Domain struct {
	Name     string `json:"name"`
	Tenant   string `json:"tenant"`
	Selector string `json:"selector,omitempty" doc:"DKIM selector; absent means unsigned"`
	// Record is the TXT record the tenant's DNS must have, when SetDomain gave a key.
	Record   string   `json:"record,omitempty" doc:"TXT record to publish at SELECTOR._domainkey.NAME; only in the answer to a new key"`
	Warnings []string `json:"warnings,omitempty"`
	Bounce   string   `json:"bounce,omitempty" doc:"Subdomain that bounces come back to, once doctor finds it ready; absent: to the senders"`
}

// SetBounce names the subdomain that a sender domain's bounces come back to.
type SetBounce struct {
	Bounce string `json:"bounce" maxLength:"253" doc:"A name below the domain; empty: bounces go to the senders"`
}

// SetDomain proves a sender domain by the operator's word and sets or clears
// its DKIM key.
type SetDomain struct {
	Selector string `json:"selector,omitempty" maxLength:"63"`
	Key      string `json:"key,omitempty" maxLength:"16384" doc:"Private key, PEM: PKCS 8 or PKCS 1; RSA of 1024 bits at least, or Ed25519"`
}

// Plan is what an account bought; 0 means no limit of that kind.
type Plan struct {
	BytesPerMonth uint64 `json:"bytes_per_month" doc:"Weight: size times recipients"`
	MailsPerMonth uint64 `json:"mails_per_month" doc:"One e-mail is one recipient"`
	MaxRecipients int    `json:"max_recipients" minimum:"0" maximum:"10000" doc:"Of one message; 0 means 50"`
	MaxSize       int64  `json:"max_size" minimum:"0" doc:"Octets of one message"`
}

// Account is one credential of a tenant.
type Account struct {
	ID        uint64      `json:"id"`
	Username  string      `json:"username"`
	Tenant    string      `json:"tenant"`
	Class     string      `json:"class" enum:"transactional,bulk"`
	Plan      Plan        `json:"plan"`
	Networks  []string    `json:"networks" nullable:"false" doc:"Client networks that may send without AUTH"`
	Limits    []Limit     `json:"limits" nullable:"false" doc:"Caution limits in short windows"`
	GapMS     float64     `json:"gap_ms" doc:"Least time between two messages; 0 is none"`
	Reference string      `json:"reference" doc:"Address for reports and notices"`
	Password  string      `json:"password" enum:"generated,bcrypt,SHA-256-crypt,SHA-512-crypt,argon2i,argon2id" doc:"Made here, or how the one it had elsewhere is hashed"`
	State     string      `json:"state" enum:"sending,paused,held"`
	Held      string      `json:"held,omitempty" doc:"Reason; the account's own or its tenant's"`
	Suspended *Suspension `json:"suspended,omitempty" doc:"Why it, or its tenant, is held, when an operator suspended it"`
	Closed    bool        `json:"closed,omitempty" doc:"For ever, itself or its tenant"`
}

// NewAccount registers a credential; its password is made here.
type NewAccount struct {
	Tenant    string   `json:"tenant" minLength:"1" maxLength:"63"`
	Username  string   `json:"username" minLength:"3" maxLength:"254" doc:"An address; its domain need not be proved"`
	Class     string   `json:"class,omitempty" enum:"transactional,bulk" doc:"transactional when absent"`
	Plan      Plan     `json:"plan,omitempty"`
	Networks  []string `json:"networks,omitempty" maxItems:"64" doc:"CIDR; usually empty"`
	Reference string   `json:"reference,omitempty" maxLength:"254"`
	// PasswordHash lets it keep the password it had elsewhere; none is made then.
	PasswordHash string `json:"password_hash,omitempty" maxLength:"512" doc:"bcrypt, SHA-crypt or argon2, also behind Dovecot's {SCHEME}"`
}

// Limit is a caution limit in one kind of window; 0 means none.
type Limit struct {
	Window string `json:"window" enum:"minute,hour,half-day,day"`
	Mails  uint64 `json:"mails" minimum:"0"`
	Bytes  uint64 `json:"bytes" minimum:"0" doc:"Weight: size times recipients"`
}

// SetAccount changes what is not nil.
type SetAccount struct {
	Limits    *[]Limit  `json:"limits,omitempty" maxItems:"4" doc:"All of them: those left out end"`
	GapMS     *float64  `json:"gap_ms,omitempty" minimum:"0" maximum:"86400000" doc:"Least time between two messages"`
	Class     *string   `json:"class,omitempty" enum:"transactional,bulk"`
	Plan      *SetPlan  `json:"plan,omitempty"`
	Networks  *[]string `json:"networks,omitempty" maxItems:"64"`
	Reference *string   `json:"reference,omitempty" maxLength:"254"`
}

// SetPlan changes what is not nil.
type SetPlan struct {
	BytesPerMonth *uint64 `json:"bytes_per_month,omitempty"`
	MailsPerMonth *uint64 `json:"mails_per_month,omitempty"`
	MaxRecipients *int    `json:"max_recipients,omitempty" minimum:"0" maximum:"10000"`
	MaxSize       *int64  `json:"max_size,omitempty" minimum:"0"`
}

// Credential is an account with its password, shown once. One that keeps the
// password it had elsewhere has none to show.
type Credential struct {
	Account  Account `json:"account"`
	Password string  `json:"password,omitempty" doc:"160 bits; not kept here and never shown again"`
}

// Usage is what an account used of one window.
type Usage struct {
	Account    string    `json:"account"`
	Tenant     string    `json:"tenant"`
	Window     string    `json:"window" enum:"month,minute,hour,half-day,day"`
	From       time.Time `json:"from"`
	Mails      uint64    `json:"mails"`
	Bytes      uint64    `json:"bytes"`
	MailsLimit uint64    `json:"mails_limit" doc:"0 means none"`
	BytesLimit uint64    `json:"bytes_limit" doc:"0 means none"`
	Granted    bool      `json:"granted" doc:"Its owner has a live grant for this window"`
}

// MonthUsage is what an account used in a month.
type MonthUsage struct {
	Tenant     string `json:"tenant"`
	Customer   string `json:"customer,omitempty" doc:"The provider's own number of the tenant"`
	Account    string `json:"account"`
	AccountID  uint64 `json:"account_id" doc:"Never used again, unlike a name"`
	Plan       string `json:"plan,omitempty" enum:"bandwidth,count,flat" doc:"By what it limits in that month; absent: that was not noted"`
	Mails      uint64 `json:"mails" doc:"One e-mail is one recipient"`
	Bytes      uint64 `json:"bytes" doc:"Weight in octets: size times recipients; 1 MB is 1,000,000"`
	MailsLimit uint64 `json:"mails_limit" doc:"0 means none"`
	BytesLimit uint64 `json:"bytes_limit" doc:"0 means none"`
	MailsOver  uint64 `json:"mails_over" doc:"Beyond the limit"`
	BytesOver  uint64 `json:"bytes_over" doc:"Beyond the limit"`
}

// MonthPage is a stretch of a month's use.
type MonthPage struct {
	Month       string       `json:"month"`
	State       string       `json:"state" enum:"running,settling,closed" doc:"Settling: over, but what a lost node spent may still come to light; closed: it never changes"`
	Provisional bool         `json:"provisional" doc:"It may still change"`
	Items       []MonthUsage `json:"items" nullable:"false"`
	Next        string       `json:"next,omitempty"`
}
