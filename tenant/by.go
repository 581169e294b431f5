package tenant

// By is an operation with the name of who asked for it, for the journal. An
// operation without one is the cluster's own.
type By struct {
	Actor string // "operator anna"
	Op    Op     // not a By
}

func (By) op() {}

func (b By) since() uint32 { return max(journalVersion, sinceOf(b.Op)) }

// wrapping is what a coder is inside of.
type wrapping uint8

const (
	inBy wrapping = iota + 1
	inBatch
	inVetted
)

// unwrapped gives the operation itself and who asked for it.
func unwrapped(op Op) (Op, string) {
	if b, ok := op.(By); ok {
		return b.Op, b.Actor
	}
	return op, ActorAutomation
}

func (c *coder) by(b *By) {
	c.str(&b.Actor, maxActor)
	inner := Command{Op: b.Op}
	// Before it goes deeper: who sends wrappings without end must not have us
	// follow.
	if _, nested := b.Op.(By); nested || c.wrapped != 0 {
		c.fail(errBounds)
		return
	}
	c.wrapped = inBy
	codeOperation(c, &inner)
	c.wrapped = 0
	if _, nested := inner.Op.(By); nested {
		c.fail(errBounds)
		return
	}
	b.Op = inner.Op
}
