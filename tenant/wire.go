package tenant

import (
	"bytes"
	"fmt"
	"net/netip"
)

// Versions of what is stored or sent. A version's meaning never changes.
const (
	commandVersion  = 1
	snapshotVersion = 1
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
	body, err := unframe(commandVersion, b, maxCommand)
	if err == nil {
		var cmd Command
		if cmd, err = decodeCommand(body); err == nil {
			return cmd, nil
		}
	}
	return Command{}, fmt.Errorf("decode command: %w", err)
}

func decodeCommand(body []byte) (Command, error) {
	var cmd Command
	err := decode(body, func(c *coder) { codeCommand(c, &cmd) })
	return cmd, err
}

// decode reads body with code, and writes it again to prove that there is only
// one way to say it.
func decode(body []byte, code func(*coder)) error {
	c := &coder{reading: true, in: body}
	code(c)
	if c.err != nil {
		return c.err
	}
	if len(c.in) > 0 {
		return fmt.Errorf("%w: %d octets too many", errCanon, len(c.in))
	}
	w := &coder{out: make([]byte, 0, len(body))}
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
	return 0
}

func (c *coder) addSource(o *AddSource) {
	number(c, &o.Node)
	c.addr(&o.Addr)
	c.str(&o.EHLO, maxHost)
	c.bool(&o.Shared)
}

func (c *coder) addTenant(o *AddTenant) {
	c.str(&o.Name, maxHost)
	c.str(&o.Hostname, maxHost)
	codePlace(c, &o.Home)
	codePlace(c, &o.Backup)
}

func (c *coder) setPlace(o *SetPlace) {
	number(c, &o.Tenant)
	codePlace(c, &o.Home)
	codePlace(c, &o.Backup)
}

func (c *coder) addAccount(o *AddAccount) {
	number(c, &o.Tenant)
	c.str(&o.Username, maxAddress)
	c.raw(o.Secret[:])
	list(c, &o.Networks, maxNetworks, (*coder).prefix)
	c.str(&o.Reference, maxAddress)
	codePlan(c, &o.Plan)
	number(c, &o.Class)
}

func (c *coder) setAccount(o *SetAccount) {
	number(c, &o.Account)
	option(c, &o.Secret, func(c *coder, p *[32]byte) { c.raw(p[:]) })
	option(c, &o.Networks, func(c *coder, p *[]netip.Prefix) { list(c, p, maxNetworks, (*coder).prefix) })
	option(c, &o.Reference, func(c *coder, p *string) { c.str(p, maxAddress) })
	option(c, &o.Plan, codePlan)
	option(c, &o.Class, number[Class])
}

func (c *coder) setDomain(o *SetDomain) {
	number(c, &o.Tenant)
	c.str(&o.Name, maxHost)
	c.str(&o.Selector, maxHost)
	c.bytes(&o.SealedKey, maxKey)
}

func (c *coder) own(o *Own) {
	number(c, &o.Tenant)
	number(c, &o.Node)
	c.uint(&o.Expect)
	list(c, &o.Spent, maxSpent, func(c *coder, s *Spent) {
		number(c, &s.Account)
		codeWindow(c, &s.Window)
		c.uint(&s.Epoch)
		codeAmount(c, &s.Amount)
	})
}

func (c *coder) takeGrant(o *TakeGrant) {
	number(c, &o.Node)
	list(c, &o.Wants, MaxWants, func(c *coder, w *Want) {
		number(c, &w.Account)
		codeWindow(c, &w.Window)
		c.uint(&w.Epoch)
		codeAmount(c, &w.Spent)
		codeAmount(c, &w.Need)
	})
}

func (c *coder) hold(o *Hold) {
	number(c, &o.Tenant)
	number(c, &o.Account)
	c.str(&o.Reason, maxReason)
}
