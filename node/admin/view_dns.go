package admin

// DNSRecord is one record to publish.
type DNSRecord struct {
	Name  string `json:"name" doc:"Without the final dot"`
	Type  string `json:"type" enum:"A,AAAA,MX,PTR,TXT"`
	Value string `json:"value" doc:"An address, a name without the final dot (behind its preference, of an MX), or the text of a TXT record"`
}

// TenantDNS is what has to be published before a tenant's mail is welcome.
type TenantDNS struct {
	Tenant  string      `json:"tenant"`
	Domains []DomainDNS `json:"domains" nullable:"false" doc:"The tenant publishes these"`
	Sources []SourceDNS `json:"sources" nullable:"false" doc:"The operator publishes these; empty for a tenant's token"`
}

// DomainDNS is what a tenant publishes for one sender domain.
type DomainDNS struct {
	Domain    string     `json:"domain"`
	SPF       DNSRecord  `json:"spf" doc:"Of a domain without an SPF record; one that is there gets the terms"`
	Terms     []string   `json:"spf_terms" nullable:"false" doc:"What the domain's SPF record must hold, before its all"`
	DKIM      *DNSRecord `json:"dkim,omitempty" doc:"Absent: its mail is not signed"`
	DKIMFault string     `json:"dkim_fault,omitempty" doc:"Why this node cannot tell the key"`
	DMARC     DNSRecord  `json:"dmarc" doc:"Of a domain without a DMARC record"`
	Alignment string     `json:"alignment" doc:"How its mail passes DMARC"`
	Bounce    *BounceDNS `json:"bounce,omitempty" doc:"Absent: bounces go to the senders"`
}

// BounceDNS is what a tenant publishes for a domain's bounce subdomain.
type BounceDNS struct {
	Name  string      `json:"name"`
	MX    []DNSRecord `json:"mx" nullable:"false" doc:"One for each node that takes bounces; any of them will do. Empty: none does"`
	SPF   DNSRecord   `json:"spf"`
	Fault string      `json:"fault,omitempty" doc:"Why it is not used yet, as far as nodes looked"`
}

// SourceDNS is what the operator publishes for a source.
type SourceDNS struct {
	Source  string    `json:"source"`
	Node    string    `json:"node"`
	Backup  bool      `json:"backup,omitempty" doc:"Of a tenant: used only when it leaves from its backup"`
	Forward DNSRecord `json:"forward"`
	Reverse DNSRecord `json:"reverse"`
}

// SourcesDNS is what the operator publishes for all sources.
type SourcesDNS struct {
	Sources  []SourceDNS `json:"sources" nullable:"false"`
	Provider []DNSRecord `json:"provider" nullable:"false" doc:"The SPF records of the asked include; empty without one"`
}

// Subjects are what can be checked.
type Subjects struct {
	Sources []string        `json:"sources" nullable:"false"`
	Domains []SubjectDomain `json:"domains" nullable:"false"`
}

// SubjectDomain is a sender domain that can be checked.
type SubjectDomain struct {
	Tenant string `json:"tenant"`
	Domain string `json:"domain"`
}

// Checked is what was found of one source or domain.
type Checked struct {
	Node     string    `json:"node" doc:"That asked, through its own resolvers"`
	Source   string    `json:"source,omitempty"`
	Tenant   string    `json:"tenant,omitempty"`
	Domain   string    `json:"domain,omitempty"`
	Findings []Finding `json:"findings" nullable:"false"`
}

// Finding is the outcome of one check.
type Finding struct {
	Check   string      `json:"check" enum:"address,reverse,forward,mail,spf,dkim,dmarc,bounce"`
	State   string      `json:"state" enum:"ok,wrong,unknown" doc:"unknown: it could not be asked"`
	Text    string      `json:"text" doc:"What is so"`
	Publish []DNSRecord `json:"publish,omitempty" doc:"Whole records that mend it; they replace what is there of their kind"`
}

// States of a Finding.
const (
	FindingOK      = "ok"
	FindingWrong   = "wrong"
	FindingUnknown = "unknown"
)
