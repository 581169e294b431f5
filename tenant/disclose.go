package tenant

// Disclosed tells that something secret was given out. It changes nothing: it is
// for the journal, and what is not in the journal is not given out.
type Disclosed struct {
	What   Disclosure
	Tenant ID // whose; 0: everybody's
}

// Disclosure is what was given out.
type Disclosure uint8

const (
	DisclosedHashes Disclosure = iota + 1 // of the accounts' passwords
	DisclosedKeys                         // these hashes, and private DKIM keys
	DisclosedData                         // all that is kept of a tenant, with its mail
	DisclosedBackup                       // the state, with everybody's hashes and sealed keys
)

func (Disclosed) op()           {}
func (Disclosed) since() uint32 { return discloseVersion }

func (d *draft) disclosed(c Disclosed) error {
	switch {
	case c.What < DisclosedHashes || c.What > DisclosedBackup:
		return refuse("what was given out is not known: %d", c.What)
	case c.Tenant != 0 && !d.tenants.has(c.Tenant), c.Tenant == 0 && c.What == DisclosedData:
		return refuse("tenant %d is not known", c.Tenant)
	}
	return nil
}

// what is what the journal says of it.
func (k Disclosure) what() string {
	switch k {
	case DisclosedHashes:
		return "hashes of passwords"
	case DisclosedKeys:
		return "hashes of passwords and private DKIM keys"
	case DisclosedData:
		return "all that is kept of it, with its mail"
	}
	return "a backup of the state"
}

func (c *coder) disclosed(o *Disclosed) {
	number(c, &o.What)
	number(c, &o.Tenant)
}
