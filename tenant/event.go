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
