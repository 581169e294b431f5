package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/queue"
	"postern/node/submission"
	"postern/tenant"
)

// How grants are sized. A grant is to last grantAhead of the present rate, so
// that a renewal never makes a message wait, and small enough that what a dead
// node leaves unspent hurts nobody.
const (
	grantEvery   = time.Second
	grantAhead   = 4 // seconds of the present rate
	grantMails   = 64
	grantBytes   = 4 << 20
	grantTimeout = 20 * time.Second
	grantPause   = 100 * time.Millisecond
	// A limit that was reached is asked about again after this long, so that a
	// tenant who goes on trying costs one log entry a second at most.
	shortFor = time.Second
)

var (
	errNotOwned = errors.New("tenant is not owned here")
	errNoGrant  = errors.New("no answer to a request for quota in time")
	errPassed   = errors.New("window of the reservation has passed")
)

// grants spends the quota this node was granted and renews it in time. It is
// the local half of the escrow: tenant decides how much, grants only counts.
type grants struct {
	state   func() *tenant.State
	propose func(context.Context, tenant.Op) ([]tenant.Event, error)
	node    func() tenant.NodeID
	now     func() time.Time
	waits   prometheus.Counter // reservations that waited for a renewal
	kick    chan struct{}

	mu     sync.Mutex // guards what follows
	purses map[purseKey]*purse
}

type purseKey struct {
	account tenant.AccountID
	window  tenant.Window
}

// purse is what is left of one grant.
type purse struct {
	tenant   tenant.ID
	epoch    uint64
	given    tenant.Amount // cumulative under epoch
	spent    tenant.Amount // by messages that were kept, cumulative under epoch
	reserved tenant.Amount // by messages that are not kept yet
	reported tenant.Amount // spent, as last proposed
	mark     tenant.Amount // spent, at the start of this round
	rate     tenant.Amount // spent in the last round
	waiting  tenant.Amount // what reservations wait for
	renewed  chan struct{} // closed at the next renewal
	short    time.Time     // until then the limit is known to be reached
}

func newGrants(state func() *tenant.State, node func() tenant.NodeID, propose func(context.Context, tenant.Op) ([]tenant.Event, error), now func() time.Time) *grants {
	return &grants{
		state: state, node: node, propose: propose, now: now,
		waits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postern_grant_waits_total",
			Help: "Reservations of quota that waited for a grant's renewal.",
		}),
		kick:   make(chan struct{}, 1),
		purses: map[purseKey]*purse{},
	}
}

// Reserve implements submission.Quota.
func (g *grants) Reserve(ctx context.Context, a tenant.AccountID, need tenant.Amount) (submission.Reservation, error) {
	st := g.state()
	acc := st.Account(a)
	if acc == nil {
		return nil, errNotOwned
	}
	t := st.Tenant(acc.Tenant)
	if t == nil || t.Owner != g.node() {
		return nil, errNotOwned
	}
	r := &reservation{grants: g, account: a}
	now := g.now()
	if at := st.Now(); at.After(now) {
		now = at // a wall clock set back must not ask for windows that closed
	}
	for _, w := range st.WindowsOf(a, now) {
		r.keys = append(r.keys, purseKey{a, w})
	}
	r.tenant, r.epoch = t.ID, t.Epoch
	if err := r.Grow(ctx, need); err != nil {
		r.Release()
		return nil, err
	}
	return r, nil
}

// reservation is one transaction's hold on its account's purses.
type reservation struct {
	grants  *grants
	account tenant.AccountID
	tenant  tenant.ID
	epoch   uint64
	keys    []purseKey
	held    tenant.Amount
	over    bool
}

// Grow implements submission.Reservation.
func (r *reservation) Grow(ctx context.Context, need tenant.Amount) error {
	for i, k := range r.keys {
		if err := r.grants.take(ctx, k, r.tenant, r.epoch, need); err != nil {
			for _, done := range r.keys[:i] {
				r.grants.giveBack(done, r.epoch, need)
			}
			return err
		}
	}
	r.held.Mails += need.Mails
	r.held.Bytes += need.Bytes
	return nil
}

// Spend implements submission.Reservation. What it names stays reserved: the
// message may never reach the log, and the state is told of nothing that the
// log may lack. It would stay charged for good, as the state believes the
// larger of both.
func (r *reservation) Spend(used tenant.Amount) []queue.Spend {
	used.Mails = min(used.Mails, r.held.Mails)
	used.Bytes = min(used.Bytes, r.held.Bytes)
	r.free(r.held.Minus(used), false)
	r.held = used
	out := make([]queue.Spend, 0, len(r.keys))
	for _, k := range r.keys {
		out = append(out, queue.Spend{Window: k.window, Amount: used})
	}
	return out
}

// Kept implements submission.Reservation.
func (r *reservation) Kept() { r.end(true) }

// Release implements submission.Reservation.
func (r *reservation) Release() { r.end(false) }

func (r *reservation) end(kept bool) {
	if !r.over {
		r.over = true
		r.free(r.held, kept)
	}
}

// free takes a part off what is reserved, and books it as spent if kept. A purse
// of another epoch has nothing of it; the log said what became of it.
func (r *reservation) free(part tenant.Amount, kept bool) {
	g := r.grants
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range r.keys {
		p := g.purses[k]
		if p == nil || p.epoch != r.epoch {
			continue
		}
		p.reserved = p.reserved.Minus(part)
		if kept {
			p.spent = p.spent.Plus(part)
		}
	}
}

// take reserves need of one purse, waiting for a renewal when it is empty.
func (g *grants) take(ctx context.Context, k purseKey, t tenant.ID, epoch uint64, need tenant.Amount) error {
	var late <-chan time.Time // made only when there is something to wait for
	for {
		g.mu.Lock()
		p := g.purses[k]
		if p == nil || p.epoch < epoch {
			p = &purse{tenant: t, epoch: epoch, renewed: make(chan struct{})}
			g.purses[k] = p
		}
		if p.epoch > epoch {
			g.mu.Unlock()
			return errNotOwned
		}
		if p.left().Covers(need) {
			p.reserved = p.reserved.Plus(need)
			g.mu.Unlock()
			return nil
		}
		if g.now().Before(p.short) {
			left := p.left()
			g.mu.Unlock()
			if err := g.unserved(k, t, epoch); err != nil {
				return err
			}
			return g.overLimit(k, left, need)
		}
		p.waiting = p.waiting.Plus(need)
		renewed := p.renewed
		g.mu.Unlock()
		select {
		case g.kick <- struct{}{}:
		default:
		}
		if late == nil {
			g.waits.Inc()
			timer := time.NewTimer(grantTimeout)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-renewed:
		case <-late:
			return errNoGrant
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *grants) giveBack(k purseKey, epoch uint64, a tenant.Amount) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.purses[k]; p != nil && p.epoch == epoch {
		p.reserved = p.reserved.Minus(a)
	}
}

// unserved says why the state gives nothing more to a purse that is not at its
// limit: a reached limit is told for good, and this must not be.
func (g *grants) unserved(k purseKey, t tenant.ID, epoch uint64) error {
	st := g.state()
	owner := st.Tenant(t)
	if owner == nil || owner.Owner != g.node() || owner.Epoch != epoch {
		return errNotOwned
	}
	if !slices.Contains(st.WindowsOf(k.account, st.Now()), k.window) {
		return errPassed
	}
	return nil
}

func (g *grants) overLimit(k purseKey, left, need tenant.Amount) error {
	limit := g.state().Limit(k.account, k.window.Kind)
	e := &submission.OverLimit{Window: k.window.Kind, Limit: limit.Mails, Resets: k.window.End()}
	if left.Mails >= need.Mails {
		e.Bytes, e.Limit = true, limit.Bytes
	}
	return e
}

// drop forgets the purses of a tenant this node no longer owns under epoch.
func (g *grants) drop(t tenant.ID, epoch uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for k, p := range g.purses {
		if p.tenant == t && p.epoch < epoch {
			close(p.renewed)
			delete(g.purses, k)
		}
	}
}

// Run renews grants and reports use: at once when a reservation waits, else
// once a second in one entry for all accounts, and only when there is news.
func (g *grants) Run(ctx context.Context) error {
	tick := time.NewTimer(untilBeat(grantEvery))
	defer tick.Stop()
	for {
		round := false
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			round = true
			tick.Reset(untilBeat(grantEvery))
		case <-g.kick:
		}
		for wants := range slices.Chunk(g.wants(round), tenant.MaxWants) {
			events, err := g.propose(ctx, tenant.TakeGrant{Node: g.node(), Wants: wants})
			g.renew(wants, events, err)
			if err != nil {
				select { // who waits asks again at once: not faster than this
				case <-ctx.Done():
				case <-time.After(grantPause):
				}
			}
		}
	}
}

// wants lists what to ask for now. A round also measures rates and reports use.
func (g *grants) wants(round bool) []tenant.Want {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	var wants []tenant.Want
	for k, p := range g.purses {
		burst := p.spent.Minus(p.mark)
		if round {
			p.rate, p.mark = burst, p.spent
		}
		// A rate that is not known yet is found by doubling.
		ahead := tenant.Amount{
			Mails: max(grantMails, grantAhead*p.rate.Mails, 2*burst.Mails),
			Bytes: max(grantBytes, grantAhead*p.rate.Bytes, 2*burst.Bytes),
		}
		waits := !p.waiting.IsZero()
		news := round && p.spent != p.reported
		low := !p.left().Covers(tenant.Amount{Mails: ahead.Mails / 2, Bytes: ahead.Bytes / 2})
		switch {
		case waits, news, round && low && !p.rate.IsZero():
			wants = append(wants, tenant.Want{
				Account: k.account, Window: k.window, Epoch: p.epoch, Spent: p.spent,
				Need: p.reserved.Plus(p.waiting).Plus(ahead),
			})
		case round && now.After(k.window.End().Add(2*grantTimeout)) && p.reserved.IsZero():
			// Not sooner: who began before the edge may still wait, and a purse
			// made anew would not know what was spent of its grant.
			delete(g.purses, k)
		}
		p.waiting = tenant.Amount{}
	}
	return wants
}

// renew books what was granted and wakes who waits. After a failed proposal
// the waiters ask again, until their own deadline.
func (g *grants) renew(wants []tenant.Want, events []tenant.Event, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		for _, w := range wants {
			if p := g.purses[purseKey{w.Account, w.Window}]; p != nil && p.epoch == w.Epoch {
				p.reported = w.Spent
				p.short = g.now().Add(shortFor)
			}
		}
		for _, e := range events {
			e, ok := e.(tenant.Granted)
			if !ok {
				continue
			}
			p := g.purses[purseKey{e.Grant.Account, e.Grant.Window}]
			if p == nil || p.epoch != e.Grant.Epoch {
				continue
			}
			if e.Grant.ID != 0 { // else the want was not served and the old grant stands
				p.given = e.Grant.Given
			}
			if !e.Short {
				p.short = time.Time{}
			}
		}
	}
	for _, p := range g.purses {
		close(p.renewed)
		p.renewed = make(chan struct{})
	}
}

func (p *purse) left() tenant.Amount { return p.given.Minus(p.spent).Minus(p.reserved) }
