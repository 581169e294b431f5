package admin

// Declaration is what an operator says there shall be. A part that is absent
// says nothing about its things; within a thing, what is absent is as it is for
// a new one, but for places and secrets, which stay.
type Declaration struct {
	Import     string            `json:"import,omitempty" maxLength:"200" doc:"What server it was read from: then it is of one tenant, only what is not there is made, and that can be undone"`
	Sources    *[]DeclaredSource `json:"sources,omitempty" maxItems:"4096"`
	Tenants    *[]DeclaredTenant `json:"tenants,omitempty" maxItems:"1500"`
	Routes     *[]DeclaredRoute  `json:"routes,omitempty" maxItems:"10000"`
	Zones      *DeclaredZones    `json:"zones,omitempty"`
	Automation string            `json:"automation,omitempty" enum:"on,shadow,off" doc:"What follows from listings by itself"`
	OnListing  string            `json:"on_listing,omitempty" enum:"move,wait,stay" doc:"What becomes of tenants that say nothing else"`
	Notices    *DeclaredNotices  `json:"notices,omitempty"`
	Retention  map[string]uint32 `json:"retention,omitempty" maxProperties:"16" doc:"Days by class; 0: for ever; a class that is absent stays"`
}

// DeclaredSource is an outbound IP.
type DeclaredSource struct {
	Addr       string               `json:"addr" minLength:"2" maxLength:"45"`
	Node       string               `json:"node" minLength:"1" maxLength:"63"`
	EHLO       string               `json:"ehlo" minLength:"1" maxLength:"253"`
	Shared     bool                 `json:"shared,omitempty" doc:"A member of its node's pool"`
	Class      string               `json:"class,omitempty" enum:"mixed,transactional,bulk,probation" doc:"Of a shared one: what it carries; absent: mixed"`
	WarmSince  string               `json:"warm_since,omitempty" maxLength:"10" doc:"Day since which it has sent, here or elsewhere, as 2023-04-01; absent: nobody says so"`
	Enrolments *[]DeclaredEnrolment `json:"enrolments,omitempty" maxItems:"16" doc:"All that are not simply to do; absent: they stay as they are"`
}

// DeclaredEnrolment is how far a source's enrolment in a programme is.
type DeclaredEnrolment struct {
	Programme string `json:"programme" maxLength:"40" doc:"snds, jmrp, t-online, yahoo-cfl, postmaster-tools, abuse-contact"`
	State     string `json:"state,omitempty" maxLength:"20" doc:"to-do, applied, done, not-needed"`
	Note      string `json:"note,omitempty" maxLength:"500"`
}

// DeclaredTenant is a tenant with its domains and accounts.
type DeclaredTenant struct {
	Name       string             `json:"name" minLength:"1" maxLength:"63"`
	Hostname   string             `json:"hostname" minLength:"1" maxLength:"253"`
	Home       string             `json:"home,omitempty" maxLength:"110" doc:"NODE, for its pool, or NODE/ADDRESS; absent: the cluster chooses home and backup of a new tenant, and those of an old one stay"`
	Backup     string             `json:"backup,omitempty" maxLength:"110" doc:"As home; absent beside a home: none"`
	Customer   string             `json:"customer,omitempty" maxLength:"100" doc:"The provider's own number of it"`
	Automation string             `json:"automation,omitempty" enum:"on,shadow,off"`
	OnListing  string             `json:"on_listing,omitempty" enum:"move,wait,stay"`
	Probation  bool               `json:"probation,omitempty"`
	Domains    *[]DeclaredDomain  `json:"domains,omitempty" maxItems:"1000"`
	Accounts   *[]DeclaredAccount `json:"accounts,omitempty" maxItems:"1000"`
}

// DeclaredDomain is a sender domain; with a selector its mail is signed.
type DeclaredDomain struct {
	Name     string `json:"name" minLength:"1" maxLength:"253"`
	Selector string `json:"selector,omitempty" maxLength:"63"`
	Bounce   string `json:"bounce,omitempty" maxLength:"253" doc:"Subdomain its bounces come back to; absent: none"`
	Key      string `json:"key,omitempty" maxLength:"16384" doc:"Private key, PEM; absent: the one that is kept for this selector stays"`
}

// DeclaredAccount is a credential.
type DeclaredAccount struct {
	Address        string   `json:"address" minLength:"3" maxLength:"254"`
	PasswordSHA256 string   `json:"password_sha256,omitempty" pattern:"^[0-9a-f]{64}$" doc:"Of a machine-made password; absent: the old one stays, and a new account is refused"`
	PasswordHash   string   `json:"password_hash,omitempty" maxLength:"512" doc:"Of a password made elsewhere, instead: bcrypt, SHA-crypt or argon2"`
	Class          string   `json:"class,omitempty" enum:"transactional,bulk" doc:"transactional when absent"`
	BytesPerMonth  uint64   `json:"bytes_per_month,omitempty" doc:"Weight: size times recipients; 0: no limit"`
	MailsPerMonth  uint64   `json:"mails_per_month,omitempty"`
	MaxRecipients  int      `json:"max_recipients,omitempty" minimum:"0" maximum:"1000"`
	MaxSize        uint64   `json:"max_size,omitempty"`
	Networks       []string `json:"networks,omitempty" maxItems:"64"`
	Reference      string   `json:"reference,omitempty" maxLength:"254"`
	Limits         []Limit  `json:"limits,omitempty" maxItems:"4"`
	GapMS          float64  `json:"gap_ms,omitempty" minimum:"0" maximum:"86400000"`
}

// DeclaredRoute sends a recipient domain's mail to a fixed host.
type DeclaredRoute struct {
	Domain string `json:"domain" minLength:"1" maxLength:"253"`
	Host   string `json:"host" minLength:"1" maxLength:"253"`
	Port   uint16 `json:"port,omitempty" doc:"25 when absent"`
}

// DeclaredZones are the DNS lists.
type DeclaredZones struct {
	File  string `json:"file" minLength:"1" maxLength:"1000000" doc:"A zones file's text"`
	Round string `json:"round,omitempty" maxLength:"20" doc:"Scales every time of it, for trials: 100ms to 1h instead of two minutes"`
}

// DeclaredNotices is where notices go; an empty one: nowhere.
type DeclaredNotices struct {
	SetNotices
}

// Apply asks for what is declared.
type Apply struct {
	Name        string      `json:"name,omitempty" maxLength:"200" doc:"What the journal calls it: a file's name"`
	Declaration Declaration `json:"declaration"`
	Prune       bool        `json:"prune,omitempty" doc:"Take away what the parts that are there do not name"`
	DryRun      bool        `json:"dry_run,omitempty" doc:"Say what would change, and change nothing"`
}

// Applied says what changed, or would change.
type Applied struct {
	Changed    bool        `json:"changed"`
	DryRun     bool        `json:"dry_run,omitempty"`
	Operations []Operation `json:"operations" nullable:"false" doc:"In the order in which they are done"`
	LeftAlone  []string    `json:"left_alone,omitempty" doc:"Of an import: what was there before it; of one that is undone: what is still needed"`
}

// Operation is one change.
type Operation struct {
	Do       string         `json:"do" enum:"add,change,remove"`
	Kind     string         `json:"kind" enum:"source,tenant,domain,account,route,zones,automation,on_listing,notices,retention,import"`
	Name     string         `json:"name,omitempty"`
	Tenant   string         `json:"tenant,omitempty"`
	Fields   []ChangedField `json:"fields,omitempty"`
	At       string         `json:"at,omitempty" doc:"Where the declaration says so: tenants[0].accounts[1]"`
	Password string         `json:"password,omitempty" enum:"needed" doc:"A new account that has none yet"`
	Record   string         `json:"record,omitempty" doc:"TXT record to publish for a domain's new key"`
	Warnings []string       `json:"warnings,omitempty"`
}

// ChangedField is one field of an operation.
type ChangedField struct {
	Name string `json:"name"`
	From string `json:"from"`
	To   string `json:"to"`
}
