package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"postern/node/admin"
)

const (
	// listingEvery is how often the demo looks at listings.
	listingEvery = 250 * time.Millisecond
	// armedEvery is how many looks there are to one at backups.
	armedEvery = 8
)

// listingWatch tells what DNS lists say of the sources and what follows.
type listingWatch struct {
	d      *demo
	levels map[string]string          // of each source, as told
	cases  map[uint64]map[string]bool // what was told of each case
	looks  int
	armed  map[string]string // what keeps tenants from moving, as told
}

// inviteListing says how to have an IP listed.
func (d *demo) inviteListing() {
	source, say := nodeIP(0, 11), d.screen.say
	if len(d.lists) > 0 || len(d.nodes) == 1 {
		return
	}
	say("Or have %s listed, by two of three nodes' word, and cleaned again:", source)
	at := "http://" + d.lab.API() + "/listing/" + source.String()
	say("  curl -X PUT -d '{\"views\":{\"%s\":\"127.255.255.254\"}}' \\", nodeNamed(len(d.nodes)-1))
	say("    %s", at)
	say("  curl -X DELETE %s", at)
	say("")
}

// watchListings looks until ctx ends.
func (d *demo) watchListings(ctx context.Context) error {
	w := &listingWatch{d: d, levels: map[string]string{}, cases: map[uint64]map[string]bool{}, armed: map[string]string{}}
	tick := time.NewTicker(listingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		w.look(ctx)
	}
}

func (w *listingWatch) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if w.looks++; w.looks%armedEvery == 0 {
		w.lookArmed(ctx)
	}
	page, err := ask(w.d, func(c *admin.Client) (admin.Page[admin.Listing], error) {
		return c.Listings(ctx, admin.List{Limit: 1000})
	})
	if err != nil {
		return // there is no leader now; the next look will tell
	}
	for _, x := range page.Items {
		was := w.levels[x.Addr]
		w.levels[x.Addr] = x.Level
		if was == x.Level || was == "" || (x.Level != "warning" && x.Level != "move") {
			continue
		}
		if d, err := ask(w.d, func(c *admin.Client) (admin.ListingDetail, error) { return c.ListingOf(ctx, x.Addr) }); err == nil {
			w.tellLevel(d)
		}
	}
	cases, err := ask(w.d, func(c *admin.Client) (admin.Page[admin.Case], error) { return c.Cases(ctx, admin.List{Limit: 1000}) })
	if err != nil {
		return
	}
	first := len(w.cases) == 0
	for _, c := range cases.Items {
		if w.cases[c.ID] == nil {
			w.cases[c.ID] = map[string]bool{}
			if first && time.Since(c.Raised) > time.Minute { // of an earlier run
				w.cases[c.ID]["end"] = true
				continue
			}
		}
		w.tellCase(c)
	}
}

// lookArmed says whose backup would not do, and when it would again.
func (w *listingWatch) lookArmed(ctx context.Context) {
	page, err := ask(w.d, func(c *admin.Client) (admin.Page[admin.Tenant], error) {
		return c.Tenants(ctx, admin.List{Limit: 1000})
	})
	if err != nil {
		return
	}
	for _, t := range page.Items {
		was := w.armed[t.Name]
		switch w.armed[t.Name] = t.Unprepared; {
		case t.Unprepared == was:
		case t.Unprepared == "":
			w.d.sayFolded("%s is armed now.", t.Name)
		default:
			w.d.sayFolded("%s is NOT armed: %s", t.Name, t.Unprepared)
		}
	}
}

// tellLevel says who said what, and what it adds up to.
func (w *listingWatch) tellLevel(x admin.ListingDetail) {
	var said []string
	for _, z := range x.Zones {
		for _, a := range z.Answers {
			switch a.Says {
			case "listed":
				said = append(said, fmt.Sprintf("%s hears %s", a.Node, strings.Join(a.Codes, " ")))
			case "unknown", "refused":
				said = append(said, fmt.Sprintf("%s: not known, not counted", a.Node))
			}
		}
	}
	if x.Refusals != nil && x.Refusals.Counts > 0 {
		said = append(said, refusalsText(x.Refusals))
	}
	verdict := "a warning"
	switch {
	case x.Level == "move":
		verdict = "LISTED"
	case x.Soon >= 100:
		verdict = "listed, if the next round says the same"
	}
	w.d.sayFolded("%s of %s: %s; sum %d of 100: %s", x.Addr, x.Node, strings.Join(said, ", "), x.Score, verdict)
}

// tellCase says what followed, each thing once.
func (w *listingWatch) tellCase(c admin.Case) {
	told := w.cases[c.ID]
	once := func(what, format string, args ...any) {
		if !told[what] && !told["end"] {
			told[what] = true
			w.d.sayFolded(format, args...)
		}
	}
	for i, s := range c.Suspects {
		if !s.Held {
			continue
		}
		next := 0
		if i+1 < len(c.Suspects) {
			next = c.Suspects[i+1].Score
		}
		once("held "+s.Account, "%s/%s HELD %s; next suspect %d. Its tenant's others go on.", s.Tenant, s.Account, s.Sum, next)
	}
	for _, t := range c.Tenants {
		switch {
		case t.Fate == "moves" && t.FirstDelivery != nil:
			once("first "+t.Tenant, "%s -> %s: first delivery %s after the verdict%s", t.Tenant, placeText(*t.To),
				brief(t.FirstDelivery.Sub(c.Raised)), lastDotText(c, t))
		case t.Fate != "moves":
			once(t.Fate+" "+t.Tenant, "%s %s: %s", t.Tenant, t.Fate, t.Why)
		}
	}
	if c.Ended != nil {
		once("over", "%s may be used again: %s", c.Source, c.Why)
		told["end"] = true
	}
}

func lastDotText(c admin.Case, t admin.CaseTenant) string {
	if t.LastDot == nil {
		return ""
	}
	if d := t.LastDot.Sub(c.Raised); d > 0 {
		return "; last dot from " + c.Source + " " + brief(d) + " after it"
	}
	return "; none left by " + c.Source + " after it"
}
