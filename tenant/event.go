package tenant

// What commands made happen. Events are values for the shells; Apply calls
// nobody.
type (
	NodeAdded      struct{ Node NodeID }
	SourceAdded    struct{ Source SourceID }
	SourceRemoved  struct{ Source SourceID }
	TenantAdded    struct{ Tenant ID }
	TenantRemoved  struct{ Tenant ID }
	TenantChanged  struct{ Tenant ID }
	AccountAdded   struct{ Account AccountID }
	AccountChanged struct{ Account AccountID }
	AccountRemoved struct{ Account AccountID }
	DomainChanged  struct{ Name string }
	RouteChanged   struct{ Domain string }
	// Owned says who owns a tenant from now on.
	Owned struct {
		Tenant ID
		Node   NodeID
		Epoch  uint64
	}
	// Granted is the live grant after a TakeGrant; Given is cumulative under
	// Epoch. Short says that the limit left less than was wanted.
	Granted struct {
		Grant Grant
		Short bool
	}
	NodeChanged struct{ Node NodeID }
	NodeRemoved struct{ Node NodeID }
	NodeDown    struct{ Node NodeID }
	NodeUp      struct{ Node NodeID }
	// AuthoritySet says that the cluster's authority is stored.
	AuthoritySet struct{}
	// TokenChanged says that a join token came or went.
	TokenChanged struct{ Hash [32]byte }
	// CopiesChanged names the newest generation of a tenant's copies.
	CopiesChanged struct {
		Tenant     ID
		Generation uint64
	}
	// Stranded says that a tenant's owner is down and no node can take it.
	Stranded struct{ Tenant ID }
	// ListsChanged says that other DNS lists, or another rule, count.
	ListsChanged struct{}
	// ListingChanged says how bad a source's standing is from now on.
	ListingChanged struct {
		Source SourceID
		Level  ListingLevel
	}
	// ListingRaised says that a source is listed, by this sum.
	ListingRaised struct {
		Source SourceID
		Score  int
	}
	// ListingCleared says that it is so no more.
	ListingCleared struct{ Source SourceID }
	// ZoneSetAside says that a zone lists the world, or is trusted again.
	ZoneSetAside struct {
		Zone  string
		Aside bool
	}
	// CaseOpened says that a listing, or a drill, is followed up.
	CaseOpened struct {
		Case   uint64
		Source SourceID
	}
	// CaseEnded says that its source may be used again.
	CaseEnded struct{ Case uint64 }
)

func (NodeAdded) event()      {}
func (SourceAdded) event()    {}
func (SourceRemoved) event()  {}
func (TenantAdded) event()    {}
func (TenantRemoved) event()  {}
func (TenantChanged) event()  {}
func (AccountAdded) event()   {}
func (AccountChanged) event() {}
func (AccountRemoved) event() {}
func (DomainChanged) event()  {}
func (RouteChanged) event()   {}
func (Owned) event()          {}
func (Granted) event()        {}
func (NodeChanged) event()    {}
func (NodeRemoved) event()    {}
func (NodeDown) event()       {}
func (NodeUp) event()         {}
func (AuthoritySet) event()   {}
func (TokenChanged) event()   {}
func (CopiesChanged) event()  {}
func (Stranded) event()       {}

func (ListsChanged) event()   {}
func (ListingChanged) event() {}
func (ListingRaised) event()  {}
func (ListingCleared) event() {}
func (ZoneSetAside) event()   {}
func (CaseOpened) event()     {}
func (CaseEnded) event()      {}
