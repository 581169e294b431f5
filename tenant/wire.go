package tenant

import (
	"bytes"
	"fmt"
)

// Versions of what is stored or sent. A version's meaning never changes.
const (
	firstVersion     = 1 // before there were clusters; still read
	commandVersion   = 2
	clusterSnapshot  = 2  // as long as no command of version 2 was carried out
	listingSnapshot  = 3  // and of version 3
	containSnapshot  = 4  // and of version 5
	journalSnapshot  = 5  // and of version 6
	readySnapshot    = 6  // and of version 7
	denialSnapshot   = 7  // and of version 8
	banSnapshot      = 8  // and of version 9
	conductSnapshot  = 9  // and of version 10
	heardSnapshot    = 10 // and of version 12
	noticeSnapshot   = 11 // and of version 13
	bounceSnapshot   = 12 // and of version 14
	hashSnapshot     = 13 // and of version 16
	wordSnapshot     = 14 // and of version 17
	circleSnapshot   = 15 // and of version 20
	domainSnapshot   = 16 // and of version 21
	customerSnapshot = 17 // and of version 24
	importSnapshot   = 18 // and of version 25
	eraseSnapshot    = 19 // and of version 26
	linkSnapshot     = 20
	snapshotVersion  = linkSnapshot
)

// opCode names an operation in the log. Values are stored: do not reorder.
type opCode byte

const (
	opAddNode opCode = iota + 1
	opAddSource
	opRemoveSource
	opAddTenant
	opRemoveTenant
	opSetToken
	opSetPlace
	opAddAccount
	opSetAccount
	opRemoveAccount
	opSetDomain
	opRemoveDomain
	opSetRoute
	opOwn
	opTakeGrant
	opPause
	opHold
	opSetAuthority
	opAddToken
	opRemoveToken
	opJoin
	opSetNode
	opRemoveNode
	opNodesDown
	opNodesUp
	opSetMirrors
	opCloseMirrors
	opHandover
	opRelease
	opReported
	opSetLists
	opObserve
	opSetContain
	opUsed
	opAddEvidence
	opReview
	opDrill
	opEndCase
	opPassed
	opBy
	opOpenJournal
	opFound
	opDenied
	opClose
	opPurged
	opAddBan
	opLiftBan
	opSetCustomer
	opVetted
	opAskedDelisting
	opSetConduct
	opSetPool
	opHeard
	opSetNotices
	opTestNotices
	opNotified
	opSetBounce
	opFoundBounces
	opAddHashed
	opSetHash
	opEnrol
	opListTold
	opWrote
	opBatch
	opSawDomains
	opSentAs
	opSuspend
	opSetRetention
	opEraseTenant
	opErased
	opSuppressed
	opSetWarm
	opNoteImport
	opLinked
	opDisclosed
)

// EncodeCommand gives the canonical bytes of a command: version, length, body,
// CRC-32C. What could not be decoded again is an error.
func EncodeCommand(cmd Command) ([]byte, error) {
	c := &coder{out: make([]byte, 0, 256)}
	codeCommand(c, &cmd)
	if c.err == nil && len(c.out) > maxCommand {
		c.err = errBounds
	}
	if c.err != nil {
		return nil, fmt.Errorf("encode command: %w", c.err)
	}
	return frame(commandVersion, c.out), nil
}

// DecodeCommand reads a command. It never panics, and bounds what it allocates
// by the length of the input. Only canonical bytes are accepted.
func DecodeCommand(b []byte) (Command, error) {
	body, version, err := unframe(commandVersion, b, maxCommand)
	if err == nil {
		var cmd Command
		if cmd, err = decodeCommand(body, version == firstVersion); err == nil {
			return cmd, nil
		}
	}
	return Command{}, fmt.Errorf("decode command: %w", err)
}

func decodeCommand(body []byte, first bool) (Command, error) {
	var cmd Command
	err := decode(body, first, func(c *coder) { codeCommand(c, &cmd) })
	return cmd, err
}

// decode reads body with code, and writes it again to prove that there is only
// one way to say it.
func decode(body []byte, first bool, code func(*coder)) error {
	c := &coder{reading: true, first: first, in: body}
	code(c)
	if c.err != nil {
		return c.err
	}
	if len(c.in) > 0 {
		return fmt.Errorf("%w: %d octets too many", errCanon, len(c.in))
	}
	w := &coder{first: first, out: make([]byte, 0, len(body))}
	code(w)
	if w.err != nil {
		return w.err
	}
	if !bytes.Equal(w.out, body) {
		return errCanon
	}
	return nil
}

func codeCommand(c *coder, cmd *Command) {
	c.raw(cmd.Request[:])
	c.time(&cmd.At)
	codeOperation(c, cmd)
}

// codeOperation codes what a command does.
func codeOperation(c *coder, cmd *Command) {
	code := opCodeOf(cmd.Op)
	number(c, &code)
	if c.err != nil {
		return
	}
	switch code {
	case opAddNode:
		codeOp(c, cmd, func(c *coder, o *AddNode) { c.str(&o.Name, maxHost) })
	case opAddSource:
		codeOp(c, cmd, (*coder).addSource)
	case opRemoveSource:
		codeOp(c, cmd, func(c *coder, o *RemoveSource) { number(c, &o.Source) })
	case opAddTenant:
		codeOp(c, cmd, (*coder).addTenant)
	case opRemoveTenant:
		codeOp(c, cmd, func(c *coder, o *RemoveTenant) { number(c, &o.Tenant) })
	case opSetToken:
		codeOp(c, cmd, func(c *coder, o *SetToken) { number(c, &o.Tenant); c.raw(o.Hash[:]) })
	case opSetPlace:
		codeOp(c, cmd, (*coder).setPlace)
	case opAddAccount:
		codeOp(c, cmd, (*coder).addAccount)
	case opSetAccount:
		codeOp(c, cmd, (*coder).setAccount)
	case opRemoveAccount:
		codeOp(c, cmd, func(c *coder, o *RemoveAccount) { number(c, &o.Account) })
	case opSetDomain:
		codeOp(c, cmd, (*coder).setDomain)
	case opRemoveDomain:
		codeOp(c, cmd, func(c *coder, o *RemoveDomain) { c.str(&o.Name, maxHost) })
	case opSetRoute:
		codeOp(c, cmd, func(c *coder, o *SetRoute) { o.Route.code(c) })
	case opOwn:
		codeOp(c, cmd, (*coder).own)
	case opTakeGrant:
		codeOp(c, cmd, (*coder).takeGrant)
	case opPause:
		codeOp(c, cmd, func(c *coder, o *Pause) { number(c, &o.Tenant); c.str(&o.Reason, maxReason) })
	case opHold:
		codeOp(c, cmd, (*coder).hold)
	default:
		codeClusterOp(c, cmd, code)
	}
}

// codeClusterOp codes what version 1 did not have.
func codeClusterOp(c *coder, cmd *Command, code opCode) {
	if c.first {
		code = 0
	}
	switch code {
	case opSetAuthority:
		codeOp(c, cmd, func(c *coder, o *SetAuthority) { o.Authority.code(c) })
	case opAddToken:
		codeOp(c, cmd, func(c *coder, o *AddToken) { o.Token.code(c) })
	case opRemoveToken:
		codeOp(c, cmd, func(c *coder, o *RemoveToken) { c.raw(o.Hash[:]) })
	case opJoin:
		codeOp(c, cmd, (*coder).join)
	case opSetNode:
		codeOp(c, cmd, (*coder).setNode)
	case opRemoveNode:
		codeOp(c, cmd, func(c *coder, o *RemoveNode) { number(c, &o.Node); c.bool(&o.Lost) })
	case opNodesDown:
		codeOp(c, cmd, func(c *coder, o *NodesDown) { list(c, &o.Nodes, maxNodes, number[NodeID]) })
	case opNodesUp:
		codeOp(c, cmd, func(c *coder, o *NodesUp) { list(c, &o.Nodes, maxNodes, number[NodeID]) })
	case opSetMirrors:
		codeOp(c, cmd, func(c *coder, o *SetMirrors) { list(c, &o.Changes, MaxChanges, codeMirrorChange) })
	case opCloseMirrors:
		codeOp(c, cmd, func(c *coder, o *CloseMirrors) { list(c, &o.Changes, MaxChanges, codeMirrorChange) })
	case opHandover:
		codeOp(c, cmd, func(c *coder, o *Handover) { number(c, &o.Tenant); c.uint(&o.Expect); number(c, &o.To) })
	case opRelease:
		codeOp(c, cmd, (*coder).release)
	case opReported:
		codeOp(c, cmd, (*coder).reported)
	default:
		codeListingOp(c, cmd, code)
	}
}

// codeListingOp codes what came with listings.
func codeListingOp(c *coder, cmd *Command, code opCode) {
	switch code {
	case opSetLists:
		codeOp(c, cmd, (*coder).setLists)
	case opObserve:
		codeOp(c, cmd, (*coder).observe)
	default:
		codeContainOp(c, cmd, code)
	}
}

// codeContainOp codes what follows from listings.
func codeContainOp(c *coder, cmd *Command, code opCode) {
	switch code {
	case opSetContain:
		codeOp(c, cmd, func(c *coder, o *SetContain) { o.Contain.code(c) })
	case opUsed:
		codeOp(c, cmd, (*coder).used)
	case opAddEvidence:
		codeOp(c, cmd, (*coder).addEvidence)
	case opReview:
		codeOp(c, cmd, func(*coder, *Review) {})
	case opDrill:
		codeOp(c, cmd, func(c *coder, o *Drill) { number(c, &o.Source); number(c, &o.Only) })
	case opEndCase:
		codeOp(c, cmd, func(c *coder, o *EndCase) { c.uint(&o.Case); c.str(&o.Reason, maxReason) })
	case opPassed:
		codeOp(c, cmd, (*coder).passed)
	case opBy:
		codeOp(c, cmd, (*coder).by)
	case opOpenJournal:
		codeOp(c, cmd, func(*coder, *OpenJournal) {})
	case opFound:
		codeOp(c, cmd, (*coder).found)
	case opSetConduct:
		codeOp(c, cmd, func(c *coder, o *SetConduct) { o.Conduct.code(c) })
	case opSetPool:
		codeOp(c, cmd, func(c *coder, o *SetPool) { number(c, &o.Source); number(c, &o.Class) })
	case opDenied:
		codeOp(c, cmd, (*coder).denied)
	case opHeard:
		codeOp(c, cmd, (*coder).heard)
	case opWrote:
		codeOp(c, cmd, (*coder).wrote)
	case opSawDomains:
		codeOp(c, cmd, (*coder).sawDomains)
	case opSentAs:
		codeOp(c, cmd, (*coder).sentAs)
	case opLinked:
		codeOp(c, cmd, (*coder).linkedTo)
	default:
		codeBanOp(c, cmd, code)
	}
}

// codeBanOp codes what came with bans.
func codeBanOp(c *coder, cmd *Command, code opCode) {
	switch code {
	case opClose:
		codeOp(c, cmd, (*coder).close)
	case opPurged:
		codeOp(c, cmd, (*coder).purged)
	case opAddBan:
		codeOp(c, cmd, (*coder).addBan)
	case opLiftBan:
		codeOp(c, cmd, func(c *coder, o *LiftBan) { c.uint(&o.Ban) })
	case opSetCustomer:
		codeOp(c, cmd, (*coder).setCustomer)
	case opVetted:
		codeOp(c, cmd, (*coder).vetted)
	case opAskedDelisting:
		codeOp(c, cmd, (*coder).askedDelisting)
	case opSetNotices:
		codeOp(c, cmd, func(c *coder, o *SetNotices) { o.Notices.code(c) })
	case opTestNotices:
		codeOp(c, cmd, func(*coder, *TestNotices) {})
	case opNotified:
		codeOp(c, cmd, (*coder).notified)
	case opSetBounce:
		codeOp(c, cmd, func(c *coder, o *SetBounce) { c.str(&o.Domain, maxHost); c.str(&o.Name, maxHost) })
	case opFoundBounces:
		codeOp(c, cmd, (*coder).foundBounces)
	case opAddHashed:
		codeOp(c, cmd, (*coder).addHashed)
	case opSetHash:
		codeOp(c, cmd, (*coder).setHash)
	case opEnrol:
		codeOp(c, cmd, (*coder).enrol)
	case opListTold:
		codeOp(c, cmd, (*coder).listTold)
	case opBatch:
		codeOp(c, cmd, (*coder).batch)
	case opSuppressed:
		codeOp(c, cmd, (*coder).suppressed)
	case opDisclosed:
		codeOp(c, cmd, (*coder).disclosed)
	default:
		codeCustomerOp(c, cmd, code)
	}
}

// codeCustomerOp codes what came with suspensions.
func codeCustomerOp(c *coder, cmd *Command, code opCode) {
	switch code {
	case opSuspend:
		codeOp(c, cmd, (*coder).suspend)
	case opSetRetention:
		codeOp(c, cmd, func(c *coder, o *SetRetention) { o.Retention.code(c) })
	case opEraseTenant:
		codeOp(c, cmd, func(c *coder, o *EraseTenant) { number(c, &o.Tenant) })
	case opErased:
		codeOp(c, cmd, (*coder).erased)
	case opSetWarm:
		codeOp(c, cmd, (*coder).setWarm)
	case opNoteImport:
		codeOp(c, cmd, (*coder).noteImport)
	default:
		c.fail(fmt.Errorf("%w: operation %d", errBounds, code))
	}
}

// codeOp codes the operation of one type inside a command.
func codeOp[T Op](c *coder, cmd *Command, code func(*coder, *T)) {
	var op T
	if !c.reading {
		op = cmd.Op.(T)
	}
	code(c, &op)
	if c.reading {
		cmd.Op = op
	}
}

func opCodeOf(op Op) opCode {
	switch op.(type) {
	case AddNode:
		return opAddNode
	case AddSource:
		return opAddSource
	case RemoveSource:
		return opRemoveSource
	case AddTenant:
		return opAddTenant
	case RemoveTenant:
		return opRemoveTenant
	case SetToken:
		return opSetToken
	case SetPlace:
		return opSetPlace
	case AddAccount:
		return opAddAccount
	case SetAccount:
		return opSetAccount
	case RemoveAccount:
		return opRemoveAccount
	case SetDomain:
		return opSetDomain
	case RemoveDomain:
		return opRemoveDomain
	case SetRoute:
		return opSetRoute
	case Own:
		return opOwn
	case TakeGrant:
		return opTakeGrant
	case Pause:
		return opPause
	case Hold:
		return opHold
	}
	return clusterOpCodeOf(op)
}

func clusterOpCodeOf(op Op) opCode {
	switch op.(type) {
	case SetAuthority:
		return opSetAuthority
	case AddToken:
		return opAddToken
	case RemoveToken:
		return opRemoveToken
	case Join:
		return opJoin
	case SetNode:
		return opSetNode
	case RemoveNode:
		return opRemoveNode
	case NodesDown:
		return opNodesDown
	case NodesUp:
		return opNodesUp
	case SetMirrors:
		return opSetMirrors
	case CloseMirrors:
		return opCloseMirrors
	case Handover:
		return opHandover
	case Release:
		return opRelease
	case Reported:
		return opReported
	case SetLists:
		return opSetLists
	case Observe:
		return opObserve
	case SetContain:
		return opSetContain
	case Used:
		return opUsed
	case AddEvidence:
		return opAddEvidence
	case Review:
		return opReview
	case Drill:
		return opDrill
	case EndCase:
		return opEndCase
	case Passed:
		return opPassed
	case By:
		return opBy
	case OpenJournal:
		return opOpenJournal
	case Found:
		return opFound
	case SetConduct:
		return opSetConduct
	case SetPool:
		return opSetPool
	case Denied:
		return opDenied
	case Close:
		return opClose
	case Purged:
		return opPurged
	case AddBan:
		return opAddBan
	case LiftBan:
		return opLiftBan
	case SetCustomer:
		return opSetCustomer
	case Vetted:
		return opVetted
	case AskedDelisting:
		return opAskedDelisting
	case Heard:
		return opHeard
	case Wrote:
		return opWrote
	case SawDomains:
		return opSawDomains
	case SentAs:
		return opSentAs
	case Linked:
		return opLinked
	case SetNotices:
		return opSetNotices
	case TestNotices:
		return opTestNotices
	case Notified:
		return opNotified
	case SetBounce:
		return opSetBounce
	case FoundBounces:
		return opFoundBounces
	case AddHashed:
		return opAddHashed
	case SetHash:
		return opSetHash
	case Enrol:
		return opEnrol
	case ListTold:
		return opListTold
	case Batch:
		return opBatch
	case Suspend:
		return opSuspend
	case SetRetention:
		return opSetRetention
	case EraseTenant:
		return opEraseTenant
	case Erased:
		return opErased
	case Suppressed:
		return opSuppressed
	case Disclosed:
		return opDisclosed
	case SetWarm:
		return opSetWarm
	case NoteImport:
		return opNoteImport
	}
	return 0
}
