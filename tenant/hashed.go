package tenant

import (
	"crypto/sha256"
	"fmt"
)

// AddHashed is AddAccount for somebody who keeps the password he has: nobody
// knows it, and Hash says whether a given one is it (ParseHash). AddAccount's
// Secret is not used.
type AddHashed struct {
	AddAccount
	Hash string
}

// SetHash makes the password with this hash an account's; the one before ends.
// SetAccount's Secret makes it a generated one again.
type SetHash struct {
	Account AccountID
	Hash    string
}

func (SetHash) op()             {}
func (AddHashed) since() uint32 { return hashVersion }
func (SetHash) since() uint32   { return hashVersion }

// hashed is the hash of an account whose password was made elsewhere.
type hashed struct {
	account AccountID
	hash    string
}

// Hash gives the hash of an account's password; "" when the password was made
// here, so that Account.Secret is its SHA-256. With a hash Secret only changes
// when the hash does; it must not be compared with a password.
func (s *State) Hash(a AccountID) string {
	if h := s.hashes.get(a); h != nil {
		return h.hash
	}
	return ""
}

// SomeHash gives the hash of one of the accounts, the n-th of all; "" when that
// one's password was made here, or there is none. A login under an unknown name
// takes as long as if it were that account's.
func (s *State) SomeHash(n uint64) string {
	if s.hashes.len() == 0 {
		return ""
	}
	if i := n % uint64(s.accounts.len()); i < uint64(s.hashes.len()) {
		return s.hashes.vals[i].hash
	}
	return ""
}

func (d *draft) addHashed(c AddHashed) error {
	if _, err := ParseHash(c.Hash); err != nil {
		return err
	}
	if err := d.addAccount(c.AddAccount); err != nil {
		return err
	}
	return d.putHash(d.lastAccount, c.Hash)
}

func (d *draft) setHash(c SetHash) error {
	a := d.accounts.get(c.Account)
	if a == nil {
		return refuse("account %d is not known", c.Account)
	}
	if err := d.stillOpen(a.Tenant, a.ID); err != nil {
		return err
	}
	if err := d.putHash(a.ID, c.Hash); err != nil {
		return err
	}
	d.emit(AccountChanged{a.ID})
	return nil
}

func (d *draft) putHash(id AccountID, text string) error {
	h, err := ParseHash(text)
	if err != nil {
		return err
	}
	a := *d.accounts.get(id)
	a.Secret = sha256.Sum256([]byte("password hash\x00" + h.Text))
	put(d, &d.accounts, id, &a)
	put(d, &d.hashes, id, &hashed{id, h.Text})
	return nil
}

func (*hashed) kind() recordKind { return kindHashed }

func (h *hashed) code(c *coder) {
	number(c, &h.account)
	c.str(&h.hash, maxHash)
}

func (c *coder) addHashed(o *AddHashed) {
	c.addAccount(&o.AddAccount)
	c.str(&o.Hash, 2*maxHash)
}

func (c *coder) setHash(o *SetHash) {
	number(c, &o.Account)
	c.str(&o.Hash, 2*maxHash)
}

func (s *State) checkHashes() error {
	for i, h := range s.hashes.vals {
		if p, err := ParseHash(h.hash); err != nil || p.Text != h.hash || h.account != s.hashes.keys[i] || !s.accounts.has(h.account) {
			return fmt.Errorf("password hash of account %d", h.account)
		}
	}
	return nil
}
