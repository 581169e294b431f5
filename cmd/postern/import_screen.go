package main

import (
	"postern/node/migrate"
)

// importPlan writes what was found and what becomes of it.
func (a *app) importPlan(p *migrate.Plan) {
	a.say("What was read of %s:", clean(p.From))
	for _, x := range p.Read {
		a.indent("  " + x.File + ": " + x.Has)
	}
	a.say("\nWhat becomes what:")
	for _, x := range p.Becomes {
		a.indent("  " + x.What + " -> " + x.Now)
	}
	if len(p.NotCarried) == 0 {
		a.say("\nAll of it is carried.")
		return
	}
	a.say("\nWhat is not carried:")
	for _, x := range p.NotCarried {
		a.indent("  " + x.What + ": " + x.Why)
		if x.Do != "" {
			mark := "      -> "
			for _, line := range fold(clean(x.Do), wide-len(mark)) {
				a.say("%s%s", mark, line)
				mark = "         "
			}
		}
	}
}

// importNext says how to go on.
func (a *app) importNext(f *importFlags, v importView) {
	t := f.plan.Tenant
	if v.Suppressed > 0 {
		a.say("%s put on the suppression list.", some(v.Suppressed, "address"))
	}
	a.say("")
	switch {
	case v.Written != "":
		a.say("How to go on: read it, then")
		a.say("  postern apply %s", clean(v.Written))
		if len(v.Addresses) > 0 {
			a.say("  postern suppression import %s --tenant %s", clean(f.suppression), t)
		}
		return
	case !f.apply && v.Unasked != "":
		a.paragraph("", "No node was asked whether it is possible: "+v.Unasked)
		a.say("Nothing was changed, here or there. On a machine that reaches a node:")
		a.say("  the same with --apply carries it out, with --to FILE writes it down.")
		return
	case !f.apply && v.Changed:
		a.say("Nothing was changed, here or there. How to go on:")
		a.say("  the same with --apply carries it out, with --to FILE writes it down.")
		return
	case !v.Changed && v.Suppressed == 0:
		return
	}
	a.say("How to go on, while the old server goes on sending:")
	a.say("  postern tenant dns %s    what must be in the DNS before", t)
	a.say("  postern doctor --tenant %s    whether it is", t)
	if v.Declaration.Sources != nil {
		for _, x := range *v.Declaration.Sources {
			a.paragraph("  ", "Take "+x.Addr+" off the old server and give it to node "+x.Node+" in one go: until then mail for this tenant waits here.")
		}
	}
	a.paragraph("  ", "Then let the customer's programs connect to "+f.plan.Hostname+", port 587 or 465, with the logins and passwords they have. The way back is to let them connect to the old server again.")
	a.say("  postern import undo --tenant %s    takes away what was made here", t)
}
