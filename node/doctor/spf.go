package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"blitiri.com.ar/go/spf"

	"postern/tenant"
)

// spf wants the domain's SPF to pass for every source its mail may leave from.
func (c *Checker) spf(ctx context.Context, d *Domain) Finding {
	v := &spfView{ctx: ctx, r: c.r, kept: map[string]any{}}
	texts, err := v.LookupTXT(ctx, d.Name)
	if v.failed != nil {
		return unknown("the SPF record of "+d.Name, v.failed)
	} else if err != nil {
		texts = nil
	}
	records := slices.DeleteFunc(texts, func(s string) bool { return !isSPF(s) })
	var lacking []tenant.Exit
	var passes []tenant.SourceID
	var blind, broken error
	for _, e := range d.Exits {
		v.failed = nil
		result, err := spf.CheckHostWithSender(e.Addr.AsSlice(), e.EHLO, "postmaster@"+d.Name, spf.WithContext(ctx), spf.WithResolver(v))
		switch {
		case result == spf.Pass:
			passes = append(passes, e.ID)
		case v.failed != nil:
			blind = v.failed
		default:
			lacking = append(lacking, e)
			if result == spf.PermError {
				broken = err
			}
		}
	}
	var f Finding
	switch {
	case len(d.Exits) == 0:
		return wrong("its tenant has no source to leave from")
	case len(lacking) > 0:
		f = d.mendSPF(records, lacking, broken)
		for _, e := range lacking {
			f.Lacks = append(f.Lacks, e.ID)
		}
		f.Why = faultOfSPF(records, broken)
	case blind != nil:
		f = unknown("what the SPF record of "+d.Name+" refers to", blind)
	default:
		f = ok(fmt.Sprintf("SPF passes for all its sources (%d)", len(d.Exits)))
	}
	f.Passes = passes
	return f
}

// faultOfSPF names in a few words what is wrong with the records besides what
// they lack; "" when nothing is.
func faultOfSPF(records []string, broken error) string {
	switch {
	case len(records) == 0:
		return "it has no SPF record"
	case len(records) > 1:
		return fmt.Sprintf("it has %d SPF records, which counts as none", len(records))
	case errors.Is(broken, spf.ErrLookupLimitReached), errors.Is(broken, spf.ErrVoidLookupLimitReached):
		return "its record needs too many look-ups"
	case broken != nil:
		return "its record is faulty"
	}
	return ""
}

// isSPF is RFC 7208 section 4.5.
func isSPF(text string) bool {
	version, _, _ := strings.Cut(text, " ")
	return strings.EqualFold(version, "v=spf1")
}

// mendSPF says why SPF does not pass for some exits, and the record that mends
// it. The terms go first, where they cost no look-up.
func (d *Domain) mendSPF(records []string, lacking []tenant.Exit, broken error) Finding {
	var names []string
	for _, e := range lacking {
		place := "home"
		if e.Backup {
			place = "backup"
		}
		names = append(names, fmt.Sprintf("%s (%s %s)", e.Addr, place, d.Where[e.ID]))
	}
	text := "SPF lacks " + strings.Join(names, ", ")
	switch {
	case len(records) == 0:
		text = "no SPF record"
	case errors.Is(broken, spf.ErrMultipleRecords) && len(records) > 1:
		text = fmt.Sprintf("%d SPF records, which is an error to receivers: this one instead of them", len(records))
	case errors.Is(broken, spf.ErrLookupLimitReached):
		text += ": its record needs more than 10 look-ups, at which receivers give up; take out what is no longer used"
	case errors.Is(broken, spf.ErrVoidLookupLimitReached):
		text += ": its record names more than two things that do not exist, at which receivers give up; take them out"
	case broken != nil:
		text += ": its record is faulty (" + broken.Error() + "); mend or take out the faulty term"
	}
	want := tenant.SPFTerms(d.Exits)
	if d.Include != "" {
		want = []string{"include:" + d.Include}
		if len(records) == 1 && slices.ContainsFunc(strings.Fields(records[0]), func(t string) bool { return strings.EqualFold(t, want[0]) }) {
			return wrong(text+", and so does "+d.Include, d.Provider...)
		}
	}
	record := mergeSPF(d.Name, records, want)
	switch {
	case len(record.Value) > maxRepeated:
		return wrong(text + "; put right behind its v=spf1: " + strings.Join(want, " "))
	case len(record.Value) > tenant.MaxSPF:
		text += fmt.Sprintf("; the record has %d octets, and receivers may cut what is beyond %d", len(record.Value), tenant.MaxSPF)
	}
	return wrong(text, record)
}

// maxRepeated bounds how much of a record that is there already is written
// again, in octets.
const maxRepeated = 2048

// mergeSPF is one record with the wanted terms in front of all that the present
// ones say.
func mergeSPF(name string, records, want []string) tenant.DNSRecord {
	if len(records) == 0 {
		return tenant.SPFRecord(name, want, "~all")
	}
	terms := slices.Clone(want)
	var last []string
	for _, record := range records {
		for i, t := range strings.Fields(record) {
			low := strings.ToLower(t)
			switch {
			case i == 0, slices.ContainsFunc(terms, func(have string) bool { return strings.EqualFold(have, strings.TrimPrefix(low, "+")) }):
			case len(records) > 1 && (strings.TrimLeft(low, "+-~?") == "all" || strings.HasPrefix(low, "redirect=")):
				// Of several records the first one's end stands, after all terms.
				if len(last) == 0 {
					last = []string{t}
				}
			default:
				terms = append(terms, t)
			}
		}
	}
	terms = append(terms, last...)
	return tenant.DNSRecord{Name: name, Type: "TXT", Value: "v=spf1 " + strings.Join(terms, " ")}
}

// maxAsked bounds the look-ups for one domain's SPF over all its exits: the
// library bounds those of one exit.
const maxAsked = 400

var errTooMany = errors.New("too many look-ups")

// spfView is the Resolver as the SPF library wants it. It asks each question
// once for all exits and notes whether one failed. Used by one goroutine.
type spfView struct {
	ctx    context.Context
	r      Resolver
	kept   map[string]any
	asked  int
	failed error // since it was last cleared
}

type spfAnswer[T any] struct {
	list []T
	err  error
}

func spfAsk[T any](v *spfView, kind, name string, ask func(context.Context, string) ([]T, error)) ([]T, error) {
	key := kind + strings.ToLower(name)
	a, known := v.kept[key].(spfAnswer[T])
	if !known {
		if v.asked++; v.asked > maxAsked {
			a.err = errTooMany
		} else {
			a.list, a.err = ask(v.ctx, name)
		}
		v.kept[key] = a
	}
	if a.err != nil {
		v.failed = a.err
	}
	switch {
	case a.err != nil && len(a.list) == 0:
		return nil, &net.DNSError{Err: "no answer", Name: name, IsTemporary: true}
	case len(a.list) == 0:
		return nil, &net.DNSError{Err: "no such record", Name: name, IsNotFound: true}
	}
	return slices.Clone(a.list), nil // the caller may change it
}

// LookupTXT is part of the library's DNSResolver, as are the others.
func (v *spfView) LookupTXT(_ context.Context, name string) ([]string, error) {
	return spfAsk(v, "txt ", name, v.r.TXT)
}

func (v *spfView) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return spfAsk(v, "mx ", name, v.r.MX)
}

func (v *spfView) LookupIPAddr(_ context.Context, name string) ([]net.IPAddr, error) {
	addrs, err := spfAsk(v, "a ", name, v.r.Addrs)
	var all []net.IPAddr
	for _, a := range addrs {
		all = append(all, net.IPAddr{IP: a.AsSlice()})
	}
	return all, err
}

func (v *spfView) LookupAddr(_ context.Context, addr string) ([]string, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: "no address", Name: addr, IsNotFound: true}
	}
	return spfAsk(v, "ptr ", tenant.ReverseName(a), v.r.PTR)
}
