package lab

import (
	"strings"
	"sync"
	"time"
)

// Reign is one node's ownership of a tenant, as far as a test learned of it:
// from the nodes' logs and APIs.
type Reign struct {
	Tenant string
	Epoch  uint64
	Node   string
	At     time.Time // when it was first known to have begun
}

// Dot is the final dot of one message, as an exchanger read it.
type Dot struct {
	Tenant string
	Source string // IP
	At     time.Time
	UID    string // "" when no load made the message
}

// Fault is what a test did to a cluster, and how long it lasted.
type Fault struct {
	What string // "kill", "freeze", "cut" ...
	Node string // "" when it was no single node's
	From time.Time
	To   time.Time // zero: at once, or not over yet
}

// Chronicle is what a test saw of a cluster: who owned each tenant, every final
// dot with the address it came from, every arrival, every fault. Check judges
// it. Safe for concurrent use.
type Chronicle struct {
	nodes   map[string]string // node by source IP
	tenants map[string]string // tenant by sender domain

	mu       sync.Mutex // guards what follows
	reigns   map[string]map[uint64]Reign
	dots     map[string][]Dot
	arrivals map[Key][]arrival
	faults   []Fault
	broken   []string // what no history excuses
}

// arrival is one recipient's share of a mail.
type arrival struct {
	at   time.Time
	rcpt string
	node string // whose source it came from
}

// NewChronicle makes an empty one. nodes says which node each source belongs
// to, tenants which tenant sends from a domain.
func NewChronicle(nodes, tenants map[string]string) *Chronicle {
	return &Chronicle{
		nodes: nodes, tenants: tenants,
		reigns: map[string]map[uint64]Reign{}, dots: map[string][]Dot{}, arrivals: map[Key][]arrival{},
	}
}

// Tenant is whose mail m is: by the sender's domain, or, of a notice, by the
// domain it goes back to. "" is nobody's.
func (c *Chronicle) Tenant(m *Mail) string {
	from := m.From
	if from == "" && len(m.Rcpts) > 0 {
		from = m.Rcpts[0]
	}
	return c.tenants[strings.ToLower(from[strings.LastIndexByte(from, '@')+1:])]
}

// maxBroken bounds the faults kept by their words.
const maxBroken = 20

// Taken enters a mail an exchanger took; it fits Config.Taken.
func (c *Chronicle) Taken(m *Mail) {
	tenant := c.Tenant(m)
	c.mu.Lock()
	defer c.mu.Unlock()
	if tenant != "" {
		c.dots[tenant] = append(c.dots[tenant], Dot{tenant, m.Source, m.At, m.UID})
	}
	if m.Bare > 0 || m.Early {
		c.blame(m.MX + ": bare line ends, or a message that began before its 354")
	}
	if uid, ok := m.ID(); ok {
		for _, r := range m.Rcpts {
			k := KeyOf(uid, r)
			c.arrivals[k] = append(c.arrivals[k], arrival{m.At, r, c.nodes[m.Source]})
		}
	}
}

// Reigns enters an ownership. Of one told more than once the earliest counts.
func (c *Chronicle) Reigns(r Reign) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.reigns[r.Tenant]
	if of == nil {
		of = map[uint64]Reign{}
		c.reigns[r.Tenant] = of
	}
	known, ok := of[r.Epoch]
	switch {
	case ok && known.Node != r.Node:
		c.blame("tenant " + r.Tenant + ": two nodes, " + known.Node + " and " + r.Node + ", own it under one epoch")
	case !ok || r.At.Before(known.At):
		of[r.Epoch] = r
	}
}

// Began enters a fault and returns what tells its end.
func (c *Chronicle) Began(what, node string) (ended func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := len(c.faults)
	c.faults = append(c.faults, Fault{What: what, Node: node, From: time.Now()})
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.faults[i].To = time.Now()
	}
}

// Faults lists what was done so far.
func (c *Chronicle) Faults() []Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Fault{}, c.faults...)
}

func (c *Chronicle) blame(text string) {
	if len(c.broken) < maxBroken {
		c.broken = append(c.broken, text)
	}
}

// FirstFrom is when the first dot of a tenant came from a source of another
// node than not, after a time; zero: none did.
func (c *Chronicle) FirstFrom(tenant, not string, after time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.dots[tenant]
	var first time.Time
	for i := len(all) - 1; i >= 0 && all[i].At.After(after.Add(-disorder)); i-- {
		if d := all[i]; d.At.After(after) && c.nodes[d.Source] != not {
			first = d.At
		}
	}
	return first
}

// Arrivals are the times a message's recipient got it.
func (c *Chronicle) Arrivals(k Key) (all []time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.arrivals[k] {
		all = append(all, a.at)
	}
	return all
}

// disorder is how far apart the order of entries and that of their times may be.
const disorder = 5 * time.Second
