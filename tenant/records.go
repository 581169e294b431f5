package tenant

import "time"

// Bounds of what one record may hold. Longer input is refused, and a snapshot
// that holds longer is broken.
const (
	maxName      = 63
	maxHost      = 253
	maxAddress   = 254
	maxReason    = 500
	maxKey       = 8 << 10
	maxNetworks  = 64
	maxSpans     = 64
	maxEpochs    = 64
	maxWindows   = 128
	maxSpent     = 16384
	maxOutcome   = 1 << 20
	maxCommand   = 1 << 20
	maxSnapshot  = 1 << 30
	maxOfTenant  = 1000 // accounts, and domains, of one tenant
	maxRoutes    = 10000
	maxNodes     = 64
	maxSources   = 4096
	maxCounter   = uint64(1) << 62 // no id, epoch or index comes near it
	maxRecipient = 1000            // the largest MaxRecipients of a plan
	maxPlan      = uint64(1) << 60 // the largest number of a plan
	maxPeer      = maxHost + 6     // host:port
	maxTokens    = 64
	maxCopies    = 8 // open ones of a tenant
	maxEnds      = 16
	maxWaiting   = 1024
	maxLimits    = 4 // a kind of short window each
	maxGap       = 24 * time.Hour
)

// MaxChanges is the most changes of one SetMirrors or CloseMirrors.
const MaxChanges = 1024

// MaxWants is the most wants of one TakeGrant, so that the entry stays small;
// an owner with more sends several.
const MaxWants = 1024

// header is what the state holds beside its tables.
type header struct {
	index uint64
	now   int64 // nanoseconds since 1970

	lastNode    NodeID
	lastSource  SourceID
	lastTenant  ID
	lastAccount AccountID
	lastGrant   GrantID

	// incarnation is raised when the state is restored; it is in the high bits
	// of every epoch given since.
	incarnation uint64
	level       uint32 // the newest command version ever applied
}

func (*header) kind() recordKind { return kindHeader }

func (h *header) code(c *coder) {
	c.uint(&h.index)
	size(c, &h.now)
	number(c, &h.lastNode)
	number(c, &h.lastSource)
	number(c, &h.lastTenant)
	number(c, &h.lastAccount)
	number(c, &h.lastGrant)
	if c.first {
		return
	}
	c.uint(&h.incarnation)
	number(c, &h.level)
}

func (*Node) kind() recordKind { return kindNode }

func (n *Node) code(c *coder) {
	number(c, &n.ID)
	c.str(&n.Name, maxName)
	if c.first {
		return
	}
	c.str(&n.Peer, maxPeer)
	c.raw(n.Key[:])
	c.bool(&n.Witness)
	number(c, &n.Version)
	c.bool(&n.Draining)
	c.time(&n.Away)
	c.time(&n.Down)
	c.time(&n.Up)
}

func (*Source) kind() recordKind { return kindSource }

func (s *Source) code(c *coder) {
	number(c, &s.ID)
	number(c, &s.Node)
	c.addr(&s.Addr)
	c.str(&s.EHLO, maxHost)
	c.bool(&s.Shared)
}

func codePlace(c *coder, p *Place) {
	number(c, &p.Node)
	number(c, &p.Source)
}

func codeSpan(c *coder, s *Span) {
	c.time(&s.From)
	c.time(&s.Until)
}

func (*Tenant) kind() recordKind { return kindTenant }

func (t *Tenant) code(c *coder) {
	number(c, &t.ID)
	c.str(&t.Name, maxName)
	c.str(&t.Hostname, maxHost)
	codePlace(c, &t.Home)
	codePlace(c, &t.Backup)
	number(c, &t.Owner)
	c.uint(&t.Epoch)
	c.str(&t.Paused, maxReason)
	c.str(&t.Held, maxReason)
	c.raw(t.Token[:])
	list(c, &t.Stopped, maxSpans, codeSpan)
	if c.first {
		return
	}
	c.uint(&t.Generation)
	list(c, &t.Copies, maxCopies, codeCopy)
	list(c, &t.Ends, maxEnds, codeEnd)
	number(c, &t.To)
	list(c, &t.Waiting, maxWaiting, number[uint64])
	list(c, &t.Awaited, maxNodes, number[NodeID])
}

func codePlan(c *coder, p *Plan) {
	c.uint(&p.BytesPerMonth)
	c.uint(&p.MailsPerMonth)
	size(c, &p.MaxRecipients)
	size(c, &p.MaxSize)
}

func (*Account) kind() recordKind { return kindAccount }

func (a *Account) code(c *coder) {
	number(c, &a.ID)
	number(c, &a.Tenant)
	c.str(&a.Username, maxAddress)
	c.raw(a.Secret[:])
	list(c, &a.Networks, maxNetworks, (*coder).prefix)
	c.str(&a.Reference, maxAddress)
	codePlan(c, &a.Plan)
	number(c, &a.Class)
	c.str(&a.Held, maxReason)
	list(c, &a.Stopped, maxSpans, codeSpan)
	if c.first {
		return
	}
	list(c, &a.Limits, maxLimits, codeLimit)
	size(c, &a.Gap)
}

func (*Domain) kind() recordKind { return kindDomain }

func (d *Domain) code(c *coder) {
	c.str(&d.Name, maxHost)
	number(c, &d.Tenant)
	c.str(&d.Selector, maxName)
	c.bytes(&d.SealedKey, maxKey)
}

func (*Route) kind() recordKind { return kindRoute }

func (r *Route) code(c *coder) {
	c.str(&r.Domain, maxHost)
	c.str(&r.Host, maxHost)
	number(c, &r.Port)
}

func codeWindow(c *coder, w *Window) {
	number(c, &w.Kind)
	size(c, &w.Start)
}

func codeAmount(c *coder, a *Amount) {
	c.uint(&a.Mails)
	c.uint(&a.Bytes)
}

func codeGrant(c *coder, g *Grant) {
	number(c, &g.ID)
	number(c, &g.Account)
	codeWindow(c, &g.Window)
	c.uint(&g.Epoch)
	codeAmount(c, &g.Given)
}

func codeEpochUse(c *coder, e *epochUse) {
	c.uint(&e.epoch)
	codeAmount(c, &e.amount)
}

func codeQuota(c *coder, q *quota) {
	codeWindow(c, &q.window)
	codeAmount(c, &q.used)
	c.uint(&q.floor)
	list(c, &q.epochs, maxEpochs, codeEpochUse)
	live := q.live.ID != 0
	c.bool(&live)
	if !live {
		return
	}
	codeGrant(c, &q.live.Grant)
	codeAmount(c, &q.live.spent)
	codeAmount(c, &q.live.limit)
	codeAmount(c, &q.live.base)
}

func (b *book) kind() recordKind {
	if b.closed {
		return kindClosed
	}
	return kindOpen
}

func (b *book) code(c *coder) {
	c.bool(&b.closed)
	number(c, &b.account)
	list(c, &b.quotas, maxWindows, codeQuota)
}
