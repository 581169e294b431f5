package declare

import "time"

// document is a file as it is written. A nil list says nothing about its things.
type document struct {
	Version    uint64          `yaml:"version"`
	Import     string          `yaml:"import"`
	Plans      map[string]plan `yaml:"plans"`
	Sources    *[]source       `yaml:"sources"`
	Tenants    *[]tenantEntry  `yaml:"tenants"`
	Routes     *[]route        `yaml:"routes"`
	Zones      *zones          `yaml:"zones"`
	Automation string          `yaml:"automation"`
	OnListing  string          `yaml:"on_listing"`
	Notices    *notices        `yaml:"notices"`
	Retention  *retention      `yaml:"retention"`
}

// retention is for how long classes of personal data are kept: 30d, forever.
type retention struct {
	Recipients string `yaml:"recipients"`
	Dialogues  string `yaml:"dialogues"`
	Reports    string `yaml:"reports"`
	Journal    string `yaml:"journal"`
}

// plan is what accounts that name it may do, unless they say otherwise.
type plan struct {
	Class         *string        `yaml:"class"`
	BytesPerMonth *size          `yaml:"bytes_per_month"`
	MailsPerMonth *uint64        `yaml:"mails_per_month"`
	MaxRecipients *uint64        `yaml:"max_recipients"`
	MaxSize       *size          `yaml:"max_size"`
	Limits        *[]string      `yaml:"limits"` // minute=300, day=20000/500MB
	Gap           *time.Duration `yaml:"gap"`
}

type source struct {
	Addr   string `yaml:"addr"`
	Node   string `yaml:"node"`
	EHLO   string `yaml:"ehlo"`
	Shared bool   `yaml:"shared"`
	Class  string `yaml:"class"`

	WarmSince  string       `yaml:"warm_since"`
	Enrolments *[]enrolment `yaml:"enrolments"`
}

type enrolment struct {
	Programme string `yaml:"programme"`
	State     string `yaml:"state"`
	Note      string `yaml:"note"`
}

type tenantEntry struct {
	Name       string     `yaml:"name"`
	Hostname   string     `yaml:"hostname"`
	Home       string     `yaml:"home"`
	Backup     string     `yaml:"backup"`
	Customer   string     `yaml:"customer"`
	Automation string     `yaml:"automation"`
	OnListing  string     `yaml:"on_listing"`
	Probation  bool       `yaml:"probation"`
	Domains    *[]domain  `yaml:"domains"`
	Accounts   *[]account `yaml:"accounts"`
}

type domain struct {
	Name   string `yaml:"name"`
	DKIM   *dkim  `yaml:"dkim"`
	Bounce string `yaml:"bounce"`
}

type dkim struct {
	Selector string `yaml:"selector"`
	KeyFile  string `yaml:"key_file"`
	Key      string `yaml:"key"`
}

type account struct {
	Address        string `yaml:"address"`
	Plan           string `yaml:"plan"`
	plan           `yaml:"-"`
	Networks       []string `yaml:"networks"`
	Reference      string   `yaml:"reference"`
	PasswordFile   string   `yaml:"password_file"`
	PasswordSHA256 string   `yaml:"password_sha256"`
	PasswordHash   string   `yaml:"password_hash"`
}

type route struct {
	Domain string `yaml:"domain"`
	Host   string `yaml:"host"`
	Port   uint16 `yaml:"port"`
}

type zones struct {
	File  string `yaml:"file"`
	Text  string `yaml:"text"`
	Round string `yaml:"round"`
}

type notices struct {
	Operators    []string `yaml:"operators"`
	From         string   `yaml:"from"`
	Smarthost    string   `yaml:"smarthost"`
	User         string   `yaml:"user"`
	PasswordFile string   `yaml:"password_file"`
	Plain        bool     `yaml:"plain"`
	Webhook      string   `yaml:"webhook"`
	SecretFile   string   `yaml:"secret_file"`
	Tenants      bool     `yaml:"tenants"`
}
