package tenant

import (
	"fmt"
	"strings"
	"time"
)

// monthText lists what accounts used in a month, as a bill wants it.
func (x *transcript) monthText() string {
	t, err := time.Parse("2006-01", x.td.CmdArgs[0].Key)
	x.must(err)
	w := WindowAt(Month, t)
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", x.s.MonthState(w))
	for _, u := range x.s.MonthUses(w, 0) {
		plan := "plan not noted"
		if u.Plan != nil {
			plan = fmt.Sprintf("of %d, %d octets", u.Plan.MailsPerMonth, u.Plan.BytesPerMonth)
		}
		fmt.Fprintf(&b, "%s %s: %d, %d octets %s; over by %d, %d\n", u.TenantName, u.Username, u.Used.Mails, u.Used.Bytes, plan, u.Over().Mails, u.Over().Bytes)
	}
	return b.String()
}

func (x *transcript) erasureText() string {
	var b strings.Builder
	for e := range x.s.Erasures() {
		fmt.Fprintf(&b, "%s: left %v, done %t\n", e.Name, e.Left, !e.Done.IsZero())
	}
	return b.String()
}

// tracesText says which lines speak of a tenant that is being erased.
func (x *transcript) tracesText() string {
	of := x.s.TracesOf(ID(x.num("tenant")))
	if of == nil {
		return "none are kept\n"
	}
	var b strings.Builder
	for line := range strings.Lines(x.td.Input) {
		line = strings.TrimSpace(line)
		fmt.Fprintf(&b, "%t: %s\n", of.In(line), line)
	}
	return b.String()
}
