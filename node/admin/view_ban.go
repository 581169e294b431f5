package admin

import "time"

// Ban keeps a customer from coming back.
type Ban struct {
	ID     uint64    `json:"id"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Tenant string    `json:"tenant,omitempty" doc:"That it was made of, while it is still there"`
	// Marks counts the keyed hashes by kind: the names themselves are not kept.
	Marks map[string]int `json:"marks" nullable:"false" doc:"How many keyed hashes there are of each kind; the names themselves are not kept"`
}

// NewBan bans a customer that is no tenant here, by what it is known by.
type NewBan struct {
	Reason    string   `json:"reason" minLength:"1" maxLength:"200"`
	Names     []string `json:"names,omitempty" maxItems:"100" doc:"Of tenants"`
	Hosts     []string `json:"hosts,omitempty" maxItems:"100"`
	Domains   []string `json:"domains,omitempty" maxItems:"100"`
	Addresses []string `json:"addresses,omitempty" maxItems:"100"`
	Customers []string `json:"customers,omitempty" maxItems:"100" doc:"The provider's own numbers"`
}

// SetCustomer notes the provider's own number of a customer.
type SetCustomer struct {
	Customer string `json:"customer" maxLength:"100" doc:"Empty: forget it"`
}
