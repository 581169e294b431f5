package tenant

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// SentAs tells as which sender domains accounts sent. It is a fact and never
// refused for what it says.
type SentAs struct {
	Node NodeID
	Sent []Sender
}

// Sender is an account that sent as a domain.
type Sender struct {
	Account AccountID
	Domain  string    // a proved one
	At      time.Time // no later than the state's clock
}

func (SentAs) op()           {}
func (SentAs) since() uint32 { return domainVersion }

// MaxSentAs is the most of one SentAs; a node with more sends several.
const MaxSentAs = 256

// maxUsed bounds the domains that are kept of an account, and of how many of its
// tenant it is asked whether one is listed.
const maxUsed = 25

// sender is as which domains an account sent lately.
type sender struct {
	account AccountID
	used    []usedDomain // ascending by name
}

type usedDomain struct {
	domain string
	last   uint64 // span; brought up to date now and then
}

func compareUsed(a usedDomain, domain string) int { return strings.Compare(a.domain, domain) }

// LacksSender says whether the state would learn from a Sender: a node need not
// tell of others.
func (s *State) LacksSender(x Sender) bool {
	a, d, r := s.accounts.get(x.Account), s.domains.get(x.Domain), s.containRule()
	if a == nil || d == nil || d.Tenant != a.Tenant {
		return false
	}
	old := s.senders.get(x.Account)
	if old == nil {
		return true
	}
	i, found := slices.BinarySearchFunc(old.used, x.Domain, compareUsed)
	return !found || old.used[i].last+stale(r) < slotOf(x.At, r.Slot)
}

// stale is how many spans old the word may be that an account sends as a domain.
func stale(r ContainRule) uint64 { return uint64(r.Window/r.Slot) / 4 }

func (d *draft) sentAs(c SentAs) error {
	if len(c.Sent) > MaxSentAs {
		return refuse("more than %d senders in one command", MaxSentAs)
	}
	if d.Contain() == nil {
		return nil // nobody asks
	}
	r := d.containRule()
	for _, x := range c.Sent {
		if x.At.IsZero() || !inRange(x.At) || !d.LacksSender(x) {
			continue
		}
		if x.At.After(d.Now()) {
			x.At = d.Now() // a clock that is ahead: the fact stays one
		}
		slot, now := slotOf(x.At, r.Slot), slotOf(d.Now(), r.Slot)
		next := &sender{account: x.Account}
		if old := d.senders.get(x.Account); old != nil {
			next.used = slices.Clone(old.used)
		}
		i, found := slices.BinarySearchFunc(next.used, x.Domain, compareUsed)
		if !found {
			next.used = slices.Insert(next.used, i, usedDomain{domain: x.Domain})
		}
		next.used[i].last = max(next.used[i].last, slot)
		next.used = slices.DeleteFunc(next.used, func(u usedDomain) bool {
			return u.last+uint64(r.History/r.Slot) < now || !d.domains.has(u.domain)
		})
		for len(next.used) > maxUsed {
			oldest := 0
			for k, u := range next.used {
				if u.last < next.used[oldest].last {
					oldest = k
				}
			}
			next.used = slices.Delete(next.used, oldest, oldest+1)
		}
		if len(next.used) == 0 {
			remove(d, &d.senders, x.Account)
			continue
		}
		put(d, &d.senders, x.Account, next)
	}
	return nil
}

func (d *draft) forgetSenders() {
	for len(d.senders.keys) > 0 {
		remove(d, &d.senders, d.senders.keys[0])
	}
}

// sentAs are the domains an account sent as in the window; of whom that is not
// known, all of its tenant's. Accounts of one tenant that may have sent as a
// listed domain are all under the same suspicion, so what parts them is what each
// of them did.
func (w *weighing) sentAs(a AccountID) (names []string, all bool) {
	account := w.accounts.get(a)
	if account == nil {
		return nil, true
	}
	if x := w.senders.get(a); x != nil {
		for _, u := range x.used {
			if d := w.domains.get(u.domain); u.last+stale(w.r) >= w.from && d != nil && d.Tenant == account.Tenant {
				names = append(names, u.domain)
			}
		}
	}
	if len(names) > 0 {
		return names, true
	}
	for d := range w.DomainsOf(account.Tenant) {
		if len(names) == maxUsed {
			return names, false
		}
		names = append(names, d.Name)
	}
	return names, true
}

// domainLists speaks against who sent as a domain that lists of domains have.
func (w *weighing) domainLists(a AccountID) SuspectTerm {
	t := SuspectTerm{Name: "domain lists", NoData: true}
	if w.level < domainVersion {
		return t
	}
	if w.domainsSeen == nil {
		w.domainsSeen = w.domainSight()
	}
	names, known := w.sentAs(a)
	known = known && len(names) > 0
	for _, name := range names {
		v := w.domainsSeen.verdict(name)
		known = known && v.Known
		if v.Points > t.Points {
			t.Points, t.Text = v.Points, fmt.Sprintf("%s is in %s", name, v.Why())
		}
	}
	linked, unknown := w.linkedTo(a), 0
	for _, name := range linked {
		v := w.domainsSeen.verdict(name)
		if !v.Known {
			unknown++
		}
		if v.Points > t.Points {
			t.Points, t.Text = v.Points, fmt.Sprintf("link domain %s is in %s", name, v.Why())
		}
	}
	// Which links are known is never all: of them, that none is listed says little.
	if t.NoData = !known && t.Points == 0; !t.NoData && t.Points == 0 {
		t.Text = fmt.Sprintf("none of %d sender domains is listed", len(names))
		if len(linked) > 0 {
			t.Text = fmt.Sprintf("none of %d sender domains and of %d in links is listed", len(names), len(linked)-unknown)
		}
	}
	return t
}

// linkedTo are the domains that an account's mail had links to in the window.
func (w *weighing) linkedTo(a AccountID) (names []string) {
	x, account := w.links.get(a), w.accounts.get(a)
	if x == nil || account == nil {
		return nil
	}
	for _, u := range x.used {
		if u.last+stale(w.r) >= w.from && !w.ownLink(account.Tenant, u.domain) {
			names = append(names, u.domain)
		}
	}
	return names
}

func (s *State) checkSenders() error {
	for i, x := range s.senders.vals {
		bad := x.account != s.senders.keys[i] || !s.accounts.has(x.account) || s.Contain() == nil || len(x.used) == 0 || len(x.used) > maxUsed
		for k, u := range x.used {
			bad = bad || !validDomain(u.domain) || k > 0 && x.used[k-1].domain >= u.domain
		}
		if bad {
			return fmt.Errorf("as whom account %d sent", x.account)
		}
	}
	return nil
}
