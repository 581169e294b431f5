package tenant

// By is an operation with the name of who asked for it, for the journal. An
// operation without one is the cluster's own.
type By struct {
	Actor string // "operator anna"
	Op    Op     // not a By
}

func (By) op() {}

func (b By) since() uint32 { return max(journalVersion, sinceOf(b.Op)) }

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
	if _, nested := b.Op.(By); nested {
		c.fail(errBounds)
		return
	}
	codeOperation(c, &inner)
	if _, nested := inner.Op.(By); nested {
		c.fail(errBounds)
		return
	}
	b.Op = inner.Op
}
