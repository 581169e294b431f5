package tenant

import (
	"net/netip"
	"time"
)

// Command is one entry of the replicated log.
type Command struct {
	Request RequestID
	At      time.Time // stamped by the proposer's leader; the state's clock is max(previous, At)
	Op      Op
}

// Op is what a command does; one of the types below.
type Op interface{ op() }

// The operator's and the shell's operations. Created ids come back in Events.
type (
	// AddNode registers a node; refused when the name is taken.
	AddNode struct{ Name string }
	// AddSource registers an outbound IP on a node.
	AddSource struct {
		Node   NodeID
		Addr   netip.Addr
		EHLO   string
		Shared bool
	}
	// RemoveSource takes away a source no place names.
	RemoveSource struct{ Source SourceID }
	// AddTenant registers a tenant and gives its home node ownership.
	AddTenant struct {
		Name, Hostname string
		Home, Backup   Place
	}
	// RemoveTenant takes away a tenant with its accounts and domains.
	RemoveTenant struct{ Tenant ID }
	// SetToken sets the tenant's API token by its SHA-256; zero removes it.
	SetToken struct {
		Tenant ID
		Hash   [32]byte
	}
	// SetPlace changes home and backup.
	SetPlace struct {
		Tenant       ID
		Home, Backup Place
	}
	// AddAccount registers a credential.
	AddAccount struct {
		Tenant    ID
		Username  string
		Secret    [32]byte
		Networks  []netip.Prefix
		Reference string
		Plan      Plan
		Class     Class
	}
	// SetAccount changes what an account may do; nil fields stay.
	SetAccount struct {
		Account   AccountID
		Secret    *[32]byte
		Networks  *[]netip.Prefix
		Reference *string
		Plan      *Plan
		Class     *Class
		Limits    *[]CautionLimit
		Gap       *time.Duration
	}
	// RemoveAccount takes away a credential.
	RemoveAccount struct{ Account AccountID }
	// SetDomain proves a sender domain for a tenant, by the operator's word,
	// and sets or clears its DKIM key.
	SetDomain struct {
		Tenant    ID
		Name      string
		Selector  string
		SealedKey []byte
	}
	// RemoveDomain takes back a sender domain.
	RemoveDomain struct{ Name string }
	// SetRoute sets a static route; an empty Host removes it.
	SetRoute struct{ Route Route }
	// Own makes a node the owner of a tenant under the next epoch. Expect is
	// the epoch the proposer saw; another one refuses the command. A restart
	// of the owner is an Own of its own, so an epoch belongs to one process.
	Own struct {
		Tenant ID
		Node   NodeID
		Expect uint64
		// Spent is what the logs of epochs below the new one spent in total,
		// per account and window; live grants of those epochs end with it. A
		// live grant it does not name settles at its last reported progress,
		// but in full when the owner has not read that log: Read is false, Ends
		// does not name its epoch, and another node wrote it.
		Spent []Spent
		// Ends is how far the logs of other owners were read.
		Ends []End
		// Read says that every open copy was taken in; else they stay open.
		Read bool
		// Mirror holds the second copy from the first record on; 0 is none.
		Mirror NodeID
	}
	// TakeGrant asks that the live grants of an owner cover at least Want more
	// than is spent. Renewals travel together, one command a second and node,
	// at most MaxWants in each.
	TakeGrant struct {
		Node  NodeID
		Wants []Want
	}
	// Pause and Hold stop a tenant's attempts; an empty Reason lifts them.
	Pause struct {
		Tenant ID
		Reason string
	}
	// Hold stops a tenant (Account 0) or one account and refuses submissions.
	Hold struct {
		Tenant  ID
		Account AccountID
		Reason  string
	}
)

// Spent is the cumulative spending an owner's log records under one epoch.
type Spent struct {
	Account AccountID
	Window  Window
	Epoch   uint64
	Amount  Amount
}

// Want is one account's part of TakeGrant.
type Want struct {
	Account AccountID
	Window  Window
	Epoch   uint64
	Spent   Amount // cumulative under this epoch
	Need    Amount // wanted beyond Spent
}

func (AddNode) op()       {}
func (AddSource) op()     {}
func (RemoveSource) op()  {}
func (AddTenant) op()     {}
func (RemoveTenant) op()  {}
func (SetToken) op()      {}
func (SetPlace) op()      {}
func (AddAccount) op()    {}
func (SetAccount) op()    {}
func (RemoveAccount) op() {}
func (SetDomain) op()     {}
func (RemoveDomain) op()  {}
func (SetRoute) op()      {}
func (Own) op()           {}
func (TakeGrant) op()     {}
func (Pause) op()         {}
func (Hold) op()          {}
