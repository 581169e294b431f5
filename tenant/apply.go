package tenant

import (
	"fmt"
	"time"
)

// draft is the next state while it is made. Its tables clone before the first
// write, so the state it began from never changes.
type draft struct {
	State
	scratch coder
	events  []Event
	names   bool        // an index by name must be made anew
	books   []AccountID // whose books were touched
	actor   string      // who asked for the operation
	told    uint64      // notices it made
}

func (s *State) draft() *draft { return &draft{State: *s} }

func (d *draft) hash(r record) [32]byte { return hashRecord(&d.scratch, r) }

func (d *draft) emit(e Event) { d.events = append(d.events, e) }

func (d *draft) touch(a AccountID) { d.books = append(d.books, a) }

// publish ends the draft and gives the state it made.
func (d *draft) publish() *State {
	if d.names {
		d.lookup = buildIndex(&d.State)
	}
	s := d.State
	s.nodes.publish()
	s.sources.publish()
	s.tenants.publish()
	s.accounts.publish()
	s.domains.publish()
	s.routes.publish()
	s.open.publish()
	s.closed.publish()
	s.authority.publish()
	s.tokens.publish()
	s.lists.publish()
	s.seen.publish()
	s.watches.publish()
	s.listings.publish()
	s.contain.publish()
	s.uses.publish()
	s.evidence.publish()
	s.dismissed.publish()
	s.cases.publish()
	s.plights.publish()
	s.heads.publish()
	s.fitness.publish()
	s.outlooks.publish()
	s.conducts.publish()
	s.pooled.publish()
	s.denials.publish()
	s.notices.publish()
	s.outbox.publish()
	s.bounces.publish()
	s.intakes.publish()
	s.hashes.publish()
	s.enrolled.publish()
	s.listWords.publish()
	s.closures.publish()
	s.bans.publish()
	s.customers.publish()
	s.askings.publish()
	s.echoes.publish()
	s.circles.publish()
	s.domainSeen.publish()
	s.senders.publish()
	s.suspensions.publish()
	s.retention.publish()
	s.erasures.publish()
	s.traces.publish()
	s.sold.publish()
	s.warmths.publish()
	s.imports.publish()
	s.links.publish()
	s.linked.publish()
	return &s
}

func refuse(format string, args ...any) error { return &Refused{Reason: fmt.Sprintf(format, args...)} }

// Apply carries out c as log entry index and returns the next state. s never
// changes. A *Refused error comes with the state that remembers the refusal.
//
// A request id that is remembered changes nothing but the index and yields the
// first result again. The zero id is never remembered.
func Apply(s *State, index uint64, c Command) (*State, []Event, error) {
	if index <= s.index {
		return s, nil, refuse("log entry %d is not after %d", index, s.index)
	}
	base := s.draft()
	base.header.index = index
	if c.Request != (RequestID{}) {
		if r := s.requests.find(c.Request); r != nil {
			events, err := decodeOutcome(r.outcome)
			return base.publish(), events, err
		}
	}
	base.tick(c.At)
	before := base.publish()
	d := before.draft()
	d.books = base.books
	err := d.known(c.Op)
	op, actor := unwrapped(c.Op)
	if err == nil {
		d.actor = actor
		d.journalOp(op, actor)
		if err = d.unvetted(op); err == nil {
			err = d.run(op)
		}
	}
	if err == nil && mayMove(op) {
		d.reviewNow()
	}
	if err == nil {
		err = d.check(s)
	}
	if err != nil {
		d = before.draft()
	}
	if c.Request != (RequestID{}) {
		d.remember(c.Request, d.events, err)
	}
	if d.level != before.level {
		d.names = true // what is looked up depends on it
	}
	return d.publish(), d.events, err
}

// reviewNow is a review of a draft in which something was just changed.
func (d *draft) reviewNow() {
	if d.names {
		d.lookup = buildIndex(&d.State) // review and check look for pools
	}
	d.review()
}

// mayMove says whether open cases may have to be decided anew after an
// operation. Those that come every second change nothing about them.
func mayMove(op Op) bool {
	switch op.(type) {
	case TakeGrant, SetMirrors, CloseMirrors, Observe, Used, Passed, OpenJournal, Notified, Denied, Heard, ListTold, Wrote, SawDomains, SentAs, Linked, SetRetention, Erased, SetWarm, NoteImport:
		return false
	}
	return true
}

// tick moves the clock on; it never goes back. A time that cannot be stored
// moves nothing.
func (d *draft) tick(at time.Time) {
	if !inRange(at) || at.UnixNano() <= d.now {
		return
	}
	was, before := WindowAt(Month, d.Now()), d.Now()
	d.now = at.UnixNano()
	if d.links.len()+d.linked.len() > 0 && newDay(before, d.Now()) {
		d.forgetOldLinks()
	}
	if WindowAt(Month, d.Now()) != was {
		d.rollAll()
		if d.from(customerVersion) {
			d.sell(was)
			d.names = true // the level may have risen
		}
	}
	d.endJournal()
}

func (d *draft) remember(id RequestID, events []Event, err error) {
	r := &request{id: id, index: d.header.index, outcome: encodeOutcome(events, err)}
	d.sum.add(d.hash(r))
	d.requests.add(r, func(old *request) { d.sum.sub(d.hash(old)) })
}

// run carries out one operation on the draft.
func (d *draft) run(op Op) error {
	switch op := op.(type) {
	case AddNode:
		return d.addNode(op)
	case AddSource:
		return d.addSource(op)
	case RemoveSource:
		return d.removeSource(op)
	case AddTenant:
		return d.addTenant(op)
	case RemoveTenant:
		return d.removeTenant(op)
	case SetToken:
		return d.setToken(op)
	case SetPlace:
		return d.setPlace(op)
	case AddAccount:
		return d.addAccount(op)
	case SetAccount:
		return d.setAccount(op)
	case RemoveAccount:
		return d.removeAccount(op)
	case SetDomain:
		return d.setDomain(op)
	case RemoveDomain:
		return d.removeDomain(op)
	case SetRoute:
		return d.setRoute(op)
	case Own:
		return d.own(op)
	case TakeGrant:
		return d.takeGrant(op)
	case Pause:
		return d.pause(op)
	case Hold:
		return d.hold(op)
	}
	return d.runCluster(op)
}

// runCluster carries out the cluster's own operations.
func (d *draft) runCluster(op Op) error {
	switch op := op.(type) {
	case SetAuthority:
		return d.setAuthority(op)
	case AddToken:
		return d.addToken(op)
	case RemoveToken:
		return d.removeToken(op)
	case Join:
		return d.join(op)
	case SetNode:
		return d.setNode(op)
	case RemoveNode:
		return d.removeNode(op)
	case NodesDown:
		return d.nodesDown(op)
	case NodesUp:
		return d.nodesUp(op)
	case SetMirrors:
		return d.setMirrors(op)
	case CloseMirrors:
		return d.closeMirrors(op)
	case Handover:
		return d.handover(op)
	case Release:
		return d.release(op)
	case Reported:
		return d.reported(op)
	}
	return d.runListing(op)
}

// runListing carries out what came with listings.
func (d *draft) runListing(op Op) error {
	switch op := op.(type) {
	case SetLists:
		return d.setLists(op)
	case Observe:
		return d.observe(op)
	case SetContain:
		return d.setContain(op)
	case Used:
		return d.used(op)
	case AddEvidence:
		return d.addEvidence(op)
	case Review:
		return d.reviewAgain(op)
	case Drill:
		return d.drill(op)
	case EndCase:
		return d.endCase(op)
	case Passed:
		return d.passed(op)
	case OpenJournal:
		return d.openJournal(op)
	case Found:
		return d.found(op)
	case SetConduct:
		return d.setConduct(op)
	case SetPool:
		return d.setPool(op)
	case Denied:
		return d.denied(op)
	case Heard:
		return d.heard(op)
	case Wrote:
		return d.wrote(op)
	case SawDomains:
		return d.sawDomains(op)
	case SentAs:
		return d.sentAs(op)
	case Linked:
		return d.link(op)
	}
	return d.runBans(op)
}

// runBans carries out what came with bans.
func (d *draft) runBans(op Op) error {
	switch op := op.(type) {
	case Close:
		return d.close(op)
	case Purged:
		return d.purged(op)
	case Suppressed:
		return d.suppressed(op)
	case Disclosed:
		return d.disclosed(op)
	case AddBan:
		return d.addBan(op)
	case LiftBan:
		return d.liftBan(op)
	case SetCustomer:
		return d.setCustomer(op)
	case Vetted:
		return d.vet(op)
	case AskedDelisting:
		return d.askedDelisting(op, d.actor)
	case SetNotices:
		return d.setNotices(op)
	case TestNotices:
		return d.testNotices(op)
	case Notified:
		return d.notified(op)
	case SetBounce:
		return d.setBounce(op)
	case FoundBounces:
		return d.foundBounces(op)
	case AddHashed:
		return d.addHashed(op)
	case SetHash:
		return d.setHash(op)
	case Enrol:
		return d.enrol(op)
	case ListTold:
		return d.listTold(op)
	case Batch:
		return d.batch(op, d.actor)
	case Suspend:
		return d.suspend(op)
	case SetRetention:
		return d.setRetention(op)
	case EraseTenant:
		return d.eraseTenant(op)
	case Erased:
		return d.erased(op)
	case SetWarm:
		return d.setWarm(op)
	case NoteImport:
		return d.noteImport(op)
	}
	return refuse("operation is not known")
}
