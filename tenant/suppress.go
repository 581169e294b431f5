package tenant

import "fmt"

// Suppressed tells that an operator has changed the list of addresses that
// nothing is sent to for a tenant. The list lies in the tenant's log; this is
// for the journal.
type Suppressed struct {
	Tenant         ID
	Added, Removed uint64 // addresses
}

func (Suppressed) op() {}

// since is also the version since which logs hold such lists, see Suppresses.
func (Suppressed) since() uint32 { return suppressVersion }

// Suppresses says whether every node's program reads lists of suppressed
// addresses in tenants' logs, so that they may be written.
func (s *State) Suppresses() bool { return s.Version() >= suppressVersion }

func (d *draft) suppressed(c Suppressed) error {
	if !d.tenants.has(c.Tenant) {
		return refuse("tenant %d is not known", c.Tenant)
	}
	return nil
}

// why is what the journal says of it.
func (c *Suppressed) why() string {
	return fmt.Sprintf("%d addresses put on the suppression list, %d taken off", c.Added, c.Removed)
}

func (c *coder) suppressed(o *Suppressed) {
	number(c, &o.Tenant)
	c.uint(&o.Added)
	c.uint(&o.Removed)
}
