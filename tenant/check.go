package tenant

import (
	"errors"
	"fmt"
)

// Check reports the first broken invariant.
func (s *State) Check() error {
	if s.sum != s.recount() {
		return errors.New("check digest: it is not that of the records")
	}
	if s.now >= maxNano || max(uint64(s.lastNode), uint64(s.lastSource), uint64(s.lastTenant), uint64(s.lastAccount), uint64(s.lastGrant), s.header.index) >= maxCounter {
		return errors.New("check header: a number is out of bounds")
	}
	if err := s.checkConfig(nil); err != nil {
		return err
	}
	for _, t := range [2]*table[AccountID, *book]{&s.open, &s.closed} {
		for i, b := range t.vals {
			if b.account != t.keys[i] || b.closed != (t == &s.closed) {
				return fmt.Errorf("check book of account %d: wrong key", b.account)
			}
			if err := s.checkBook(b); err != nil {
				return err
			}
		}
	}
	if err := s.checkEntries(); err != nil {
		return fmt.Errorf("check %w", err)
	}
	return s.checkRequests()
}

// check judges a draft made from before: what it did not touch was sound.
func (d *draft) check(before *State) error {
	err := d.checkTouched(before)
	if err == nil {
		err = d.checkCounters(before)
	}
	if err != nil {
		return refuse("the command would break an invariant: %v", err)
	}
	return nil
}

func (d *draft) checkTouched(before *State) error {
	if err := d.checkConfig(before); err != nil {
		return err
	}
	for _, a := range d.books {
		if b := d.open.get(a); b != nil {
			if err := d.checkBook(b); err != nil {
				return err
			}
		}
		if b := d.closed.get(a); b != nil && b != before.closed.get(a) {
			if err := d.checkBook(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkCounters proves that nothing goes backwards between two versions.
func (d *draft) checkCounters(before *State) error {
	a, b := &before.header, &d.header
	if b.now < a.now || b.lastNode < a.lastNode || b.lastSource < a.lastSource || b.lastTenant < a.lastTenant ||
		b.lastAccount < a.lastAccount || b.lastGrant < a.lastGrant {
		return errors.New("a counter fell")
	}
	if b.incarnation < a.incarnation || b.level < a.level {
		return errors.New("the incarnation or the command version fell")
	}
	if d.tenants.same(&before.tenants) {
		return nil
	}
	for t := range d.tenants.all() {
		if old := before.tenants.get(t.ID); old != nil && t.Epoch < old.Epoch {
			return fmt.Errorf("epoch of tenant %d fell", t.ID)
		} else if old != nil && t.Generation < old.Generation {
			return fmt.Errorf("generation of tenant %d fell", t.ID)
		}
	}
	return nil
}

// checkConfig judges the tables that differ from before's, and those that refer
// to them; all when there is no before.
func (s *State) checkConfig(before *State) error {
	if before == nil {
		before = &State{}
	}
	nodes := !s.nodes.same(&before.nodes)
	sources := nodes || !s.sources.same(&before.sources)
	tenants := sources || !s.tenants.same(&before.tenants)
	gone := s.tenants.len() != before.tenants.len()
	for _, x := range []struct {
		touched bool
		check   func() error
	}{
		{nodes, s.checkNodes},
		{sources, s.checkSources},
		{tenants, s.checkTenants},
		{gone || !s.accounts.same(&before.accounts), s.checkAccounts},
		{gone || !s.domains.same(&before.domains), s.checkDomains},
		{!s.routes.same(&before.routes), s.checkRoutes},
		{!s.tokens.same(&before.tokens), s.checkTokens},
		{!s.authority.same(&before.authority), s.checkAuthority},
		{!s.lists.same(&before.lists), s.checkLists},
		{tenants || gone || !s.contain.same(&before.contain) || !s.uses.same(&before.uses) || !s.evidence.same(&before.evidence) || !s.dismissed.same(&before.dismissed) ||
			!s.accounts.same(&before.accounts), s.checkContain},
		{tenants || !s.cases.same(&before.cases) || !s.plights.same(&before.plights) || !s.conducts.same(&before.conducts) || !s.pooled.same(&before.pooled), s.checkCases},
		{tenants || gone || !s.accounts.same(&before.accounts) || !s.closures.same(&before.closures) || !s.bans.same(&before.bans) || !s.customers.same(&before.customers), s.checkBans},
		{!s.notices.same(&before.notices) || !s.outbox.same(&before.outbox), s.checkNotices},
		{gone || !s.accounts.same(&before.accounts) || !s.hashes.same(&before.hashes), s.checkHashes},
		{sources || !s.enrolled.same(&before.enrolled), s.checkEnrolments},
		{sources || !s.askings.same(&before.askings), s.checkDelistings},
		{tenants || gone || !s.accounts.same(&before.accounts) || !s.suspensions.same(&before.suspensions), s.checkSuspensions},
		{!s.retention.same(&before.retention), s.checkRetention},
		{nodes || gone || !s.erasures.same(&before.erasures), s.checkErasures},
		{gone || !s.erasures.same(&before.erasures) || !s.traces.same(&before.traces), s.checkTraces},
		{gone || !s.accounts.same(&before.accounts) || !s.sold.same(&before.sold), s.checkSold},
		{sources || !s.warmths.same(&before.warmths), s.checkWarm},
		{tenants || gone || !s.accounts.same(&before.accounts) || !s.domains.same(&before.domains) || !s.routes.same(&before.routes) || !s.imports.same(&before.imports), s.checkImports},
		{!s.heads.same(&before.heads), s.checkHead},
		{sources || !s.domains.same(&before.domains) || !s.fitness.same(&before.fitness) || !s.outlooks.same(&before.outlooks), s.checkFound},
		{sources || !s.domains.same(&before.domains) || !s.bounces.same(&before.bounces) || !s.intakes.same(&before.intakes), s.checkBounces},
		{sources || !s.listWords.same(&before.listWords), s.checkListWords},
		{tenants || gone || !s.conducts.same(&before.conducts) || !s.pooled.same(&before.pooled), s.checkConducts},
		{sources || !s.denials.same(&before.denials), s.checkDenials},
		{gone || !s.echoes.same(&before.echoes) || !s.accounts.same(&before.accounts), s.checkEchoes},
		{gone || !s.circles.same(&before.circles) || !s.accounts.same(&before.accounts), s.checkCircles},
		{sources || gone || !s.domains.same(&before.domains) || !s.lists.same(&before.lists) || !s.domainSeen.same(&before.domainSeen) || !s.linked.same(&before.linked), s.checkDomainSeen},
		{gone || !s.senders.same(&before.senders) || !s.accounts.same(&before.accounts), s.checkSenders},
		{gone || !s.links.same(&before.links) || !s.linked.same(&before.linked) || !s.accounts.same(&before.accounts), s.checkLinks},
		{sources || !s.lists.same(&before.lists) || !s.seen.same(&before.seen) || !s.watches.same(&before.watches) || !s.listings.same(&before.listings), s.checkSeen},
	} {
		if x.touched {
			if err := x.check(); err != nil {
				return fmt.Errorf("check %w", err)
			}
		}
	}
	return nil
}

// checkBook judges the quotas of one account: at most one live grant a window,
// of the owner's epoch or of one that no Own has settled yet, given within the
// limit of that moment.
func (s *State) checkBook(b *book) error {
	a := s.accounts.get(b.account)
	if a == nil {
		return fmt.Errorf("check book: no account %d", b.account)
	}
	t := s.tenants.get(a.Tenant)
	if len(b.quotas) == 0 || len(b.quotas) > maxWindows {
		return fmt.Errorf("check book of account %d: %d windows", a.ID, len(b.quotas))
	}
	for i := range b.quotas {
		q := &b.quotas[i]
		if !q.window.Valid() || i > 0 && q.window.compare(b.quotas[i-1].window) <= 0 {
			return fmt.Errorf("check book of account %d: windows", a.ID)
		}
		if err := q.check(a, t); err != nil {
			return fmt.Errorf("check quota of account %d: %w", a.ID, err)
		}
		if b.closed && q.window.Kind.short() {
			return fmt.Errorf("check quota of account %d: a short window in the history", a.ID)
		}
		if b.closed && q.live.ID != 0 {
			return fmt.Errorf("check quota of account %d: a grant in a closed window", a.ID)
		}
		if q.live.ID > s.lastGrant {
			return fmt.Errorf("check quota of account %d: grant %d was never given", a.ID, q.live.ID)
		}
	}
	return nil
}

func (q *quota) check(a *Account, t *Tenant) error {
	var settled Amount
	for i, e := range q.epochs {
		if e.epoch <= q.floor || e.epoch > t.Epoch || i > 0 && e.epoch <= q.epochs[i-1].epoch {
			return errors.New("epochs are out of order")
		}
		settled = settled.Plus(e.amount)
	}
	if !q.used.Covers(settled) || q.floor == 0 && q.used != settled {
		return errors.New("settled use is not the sum of its epochs")
	}
	g := &q.live
	if g.ID == 0 {
		if q.live != (liveGrant{}) {
			return errors.New("a grant without an id")
		}
		return nil
	}
	if g.Account != a.ID || g.Window != q.window || g.Epoch > t.Epoch {
		return errors.New("grant of another account, window or epoch")
	}
	if !q.used.Covers(g.base) {
		return errors.New("settled use fell")
	}
	sum := g.base.Plus(g.Given)
	if g.limit.Mails != 0 && g.Given.Mails != 0 && sum.Mails > g.limit.Mails ||
		g.limit.Bytes != 0 && g.Given.Bytes != 0 && sum.Bytes > g.limit.Bytes {
		return errors.New("more given than the limit left")
	}
	return nil
}

func (s *State) checkRequests() error {
	n, bytes, last := 0, 0, uint64(0)
	for r := range s.requests.all() {
		if r.index <= last || r.index > s.header.index || s.requests.find(r.id) != r {
			return fmt.Errorf("check request at entry %d: out of order", r.index)
		}
		last = r.index
		n++
		bytes += len(r.outcome)
	}
	if n != s.requests.n || bytes != s.requests.bytes || n > maxRequests || bytes > maxRequestBytes {
		return fmt.Errorf("check requests: %d with %d octets", n, bytes)
	}
	return nil
}
