package tenant

import (
	"iter"
	"net/netip"
	"slices"
	"time"
)

// State is one immutable version of everything the cluster agreed on. Reading
// it takes no lock; Apply returns the next version. What the accessors return
// is shared and must not be changed.
type State struct {
	header
	nodes     table[NodeID, *Node]
	sources   table[SourceID, *Source]
	tenants   table[ID, *Tenant]
	accounts  table[AccountID, *Account]
	domains   table[string, *Domain]
	routes    table[string, *Route]
	open      table[AccountID, *book]
	closed    table[AccountID, *book]
	authority table[byte, *Authority]   // one, under key 0, or none
	tokens    table[string, *JoinToken] // by hash
	lists     table[byte, *Lists]       // one, under key 0, or none
	seen      table[SourceID, *sightings]
	watches   table[NodeID, *watch]
	listings  table[SourceID, *Listing]
	contain   table[byte, *Contain] // one, under key 0, or none
	uses      table[AccountID, *uses]
	evidence  table[uint64, *Evidence]
	dismissed table[SourceID, *dismissal]
	cases     table[uint64, *Case] // the newest always stays, so ids never repeat
	plights   table[ID, *Plight]
	heads     table[byte, *journalHead] // one, under key 0, once the journal is open
	entries   journal                   // hashed by way of its head
	fitness   table[SourceID, *condition]
	outlooks  table[string, *outlook]
	conducts  table[ID, *Conduct] // of the cluster under 0
	pooled    table[SourceID, *poolMember]
	denials   table[SourceID, *Denial]
	closures  table[uint64, *Closure] // by closureKey
	bans      table[uint64, *Ban]
	customers table[ID, *customer]
	askings   table[string, *Delisting] // by delistingKey
	echoes    table[AccountID, *echoBook]
	circles   table[AccountID, *circle]
	// What lists say of domains, by name, and as which of them accounts sent.
	domainSeen  table[string, *domainSeen]
	senders     table[AccountID, *sender]
	links       table[AccountID, *links]
	linked      table[string, *linkDomain] // the same links by domain, and which of them many have
	notices     table[byte, *Notices]      // one, under key 0, or none
	outbox      table[uint64, *Notice]
	bounces     table[string, *bouncePath]
	intakes     table[NodeID, *intakeHosts]
	hashes      table[AccountID, *hashed]
	enrolled    table[SourceID, *enrolments]
	listWords   table[SourceID, *listWords]
	suspensions table[uint64, *Suspension] // by closureKey
	retention   table[byte, *Retention]    // one, under key 0, or none
	erasures    table[ID, *Erasure]
	traces      table[ID, *traces] // of erasures that are not done
	sold        table[AccountID, *sold]
	warmths     table[SourceID, *Warm]
	imports     table[ID, *Import]
	requests    requests
	sum         sum
	lookup      *lookup // derived: neither encoded nor hashed
}

// Refused is the error of a command whose rule forbids it; the same on every
// node. Reason is a lower-case sentence for the operator.
type Refused struct{ Reason string }

func (r *Refused) Error() string { return r.Reason }

// Event is what a command made happen; one of the event types.
type Event interface{ event() }

// New returns the empty state.
func New() *State {
	s := &State{}
	s.lookup = buildIndex(s)
	return s
}

// Index is the log entry the state is at.
func (s *State) Index() uint64 { return s.header.index }

// Now is the state's clock: the latest time a command carried.
func (s *State) Now() time.Time { return time.Unix(0, s.now).UTC() }

// Node returns a node or nil.
func (s *State) Node(id NodeID) *Node { return s.nodes.get(id) }

// NodeByName returns a node or nil.
func (s *State) NodeByName(name string) *Node { return s.nodes.get(s.lookup.nodes[name]) }

// Nodes lists all nodes, ascending by id.
func (s *State) Nodes() iter.Seq[*Node] { return s.nodes.all() }

// Source returns a source or nil.
func (s *State) Source(id SourceID) *Source { return s.sources.get(id) }

// SourceByAddr returns a source or nil.
func (s *State) SourceByAddr(a netip.Addr) *Source { return s.sources.get(s.lookup.sources[a.Unmap()]) }

// Sources lists all sources, ascending by id.
func (s *State) Sources() iter.Seq[*Source] { return s.sources.all() }

// SourcesAt lists what a place leaves by: its dedicated source, or the node's pool.
func (s *State) SourcesAt(p Place) []*Source {
	if p.Source == 0 {
		return s.lookup.pools[p.Node]
	}
	if src := s.sources.get(p.Source); src != nil && src.Node == p.Node {
		return []*Source{src}
	}
	return nil
}

// Tenant returns a tenant or nil.
func (s *State) Tenant(id ID) *Tenant { return s.tenants.get(id) }

// Removed reports whether a tenant was there and is no more.
func (s *State) Removed(id ID) bool { return id <= s.lastTenant && s.tenants.get(id) == nil }

// TenantByName returns a tenant or nil.
func (s *State) TenantByName(name string) *Tenant { return s.tenants.get(s.lookup.tenants[name]) }

// TenantByToken finds the tenant whose API token has this SHA-256, or nil.
func (s *State) TenantByToken(hash [32]byte) *Tenant { return s.tenants.get(s.lookup.tokens[hash]) }

// Tenants lists all tenants, ascending by id.
func (s *State) Tenants() iter.Seq[*Tenant] { return s.tenants.all() }

// Account returns an account or nil.
func (s *State) Account(id AccountID) *Account { return s.accounts.get(id) }

// Accounts lists all accounts, ascending by id.
func (s *State) Accounts() iter.Seq[*Account] { return s.accounts.all() }

// AccountByUsername returns an account or nil; case does not matter.
func (s *State) AccountByUsername(name string) *Account {
	if len(name) > maxAddress {
		return nil
	}
	return s.accounts.get(s.lookup.usernames[lower(name)])
}

// AccountByNetwork finds the account allowed to send without AUTH from addr (longest prefix).
func (s *State) AccountByNetwork(addr netip.Addr) *Account {
	addr = addr.Unmap().WithZone("")
	for _, bits := range s.lookup.lengths[family(addr)] {
		p, err := addr.Prefix(bits)
		if err != nil {
			return nil
		}
		if id, ok := s.lookup.networks[p]; ok {
			return s.accounts.get(id)
		}
	}
	return nil
}

// AccountsOf lists a tenant's accounts, ascending by id.
func (s *State) AccountsOf(id ID) iter.Seq[*Account] {
	return func(yield func(*Account) bool) {
		for _, a := range s.lookup.accounts[id] {
			if !yield(s.accounts.get(a)) {
				return
			}
		}
	}
}

// Domain returns a proved sender domain or nil.
func (s *State) Domain(name string) *Domain { return s.domains.get(name) }

// Domains lists all proved sender domains, ascending by name.
func (s *State) Domains() iter.Seq[*Domain] { return s.domains.all() }

// DomainsOf lists a tenant's domains, ascending by name.
func (s *State) DomainsOf(id ID) iter.Seq[*Domain] {
	return func(yield func(*Domain) bool) {
		for d := range s.domains.all() {
			if d.Tenant == id && !yield(d) {
				return
			}
		}
	}
}

// MaySendAs reports whether a sender domain is proved for the tenant. The match
// is exact: a sub-domain of a proved domain must be proved itself, because who
// answers for example.com need not answer for a delegated part of it.
func (s *State) MaySendAs(id ID, domain string) bool {
	if len(domain) > maxHost {
		return false
	}
	d := s.domains.get(lower(domain))
	return d != nil && d.Tenant == id
}

// RouteFor finds the route of a recipient domain, or that of "*", or nil.
func (s *State) RouteFor(domain string) *Route {
	if r := s.routes.get(domain); r != nil {
		return r
	}
	return s.routes.get("*")
}

// Routes lists all routes, ascending by domain.
func (s *State) Routes() iter.Seq[*Route] { return s.routes.all() }

// Grant returns the live grant of an account in a window or nil.
func (s *State) Grant(a AccountID, w Window) *Grant {
	if q := s.quotaIn(a, w); q != nil && q.live.ID != 0 {
		return &q.live.Grant
	}
	return nil
}

// UsageOf is the settled use (live grants not included).
func (s *State) UsageOf(a AccountID, w Window) Amount {
	if q := s.quotaIn(a, w); q != nil {
		return q.used
	}
	return Amount{}
}

// SpentOf is all that is known to be spent: the settled use, and what the owner
// last said of the live grant.
func (s *State) SpentOf(a AccountID, w Window) Amount {
	if q := s.quotaIn(a, w); q != nil {
		return q.used.Plus(q.live.spent)
	}
	return Amount{}
}

// UsagesOf lists what is known to be spent in each window kept, oldest first.
func (s *State) UsagesOf(a AccountID) []Usage {
	var us []Usage
	for _, b := range [2]*book{s.closed.get(a), s.open.get(a)} {
		if b == nil {
			continue
		}
		for i := range b.quotas {
			q := &b.quotas[i]
			if q.window.expired(s.now) {
				continue
			}
			us = append(us, Usage{Account: a, Window: q.window, Used: q.used.Plus(q.live.spent)})
		}
	}
	slices.SortStableFunc(us, func(x, y Usage) int { return x.Window.compare(y.Window) })
	return us
}

// Limit is the account's limit for windows of that kind; 0 fields mean none.
func (s *State) Limit(a AccountID, k WindowKind) Amount {
	acc := s.accounts.get(a)
	if acc == nil {
		return Amount{}
	}
	if k == Month {
		return Amount{Mails: acc.Plan.MailsPerMonth, Bytes: acc.Plan.BytesPerMonth}
	}
	var limit Amount
	for _, l := range acc.Limits {
		if l.Kind == k {
			limit = l.Limit
		}
	}
	if k == Hour {
		if n := s.Throttled(a); n != 0 && (limit.Mails == 0 || n < limit.Mails) {
			limit.Mails = n
		}
	}
	return limit
}

// WindowsOf lists the windows an account's message spends in at t: the month,
// and one for each of its caution limits.
func (s *State) WindowsOf(a AccountID, t time.Time) []Window {
	acc := s.accounts.get(a)
	if acc == nil || !inRange(t) {
		return nil
	}
	ws := make([]Window, 0, 1+len(acc.Limits))
	for _, k := range acc.counted() {
		ws = append(ws, WindowAt(k, t))
	}
	if hour := WindowAt(Hour, t); s.Throttled(a) != 0 && !slices.Contains(ws, hour) {
		ws = append(ws, hour)
	}
	return ws
}
