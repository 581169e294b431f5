package tenant

import (
	"fmt"
	"iter"
	"time"
)

// Delisting is what was asked of a list about a source, and what came of it.
type Delisting struct {
	Source  SourceID
	Zone    string
	Asked   time.Time // the last time
	By      string    // who asked
	Times   uint64
	Next    time.Time // before it the list takes no other request
	Cleared time.Time // the list says clean again; zero: not yet
}

// maxDelistings bounds how many requests are remembered.
const maxDelistings = 1000

// AskedDelisting notes that a list was asked to take a source off. Before Next it
// is refused a second time, unless Again says so: lists count requests.
type AskedDelisting struct {
	Source SourceID
	Zone   string
	Next   time.Time
	Again  bool
}

func (AskedDelisting) op()           {}
func (AskedDelisting) since() uint32 { return banVersion }

func delistingKey(src SourceID, zone string) string { return fmt.Sprintf("%d %s", src, zone) }

// Delisting is what was asked of a zone about a source, or nil.
func (s *State) Delisting(src SourceID, zone string) *Delisting {
	return s.askings.get(delistingKey(src, zone))
}

// Delistings lists all that was asked of lists.
func (s *State) Delistings() iter.Seq[*Delisting] { return s.askings.all() }

func (d *draft) askedDelisting(c AskedDelisting, actor string) error {
	src := d.sources.get(c.Source)
	l := d.Lists()
	switch {
	case src == nil:
		return refuse("source %d is not known", c.Source)
	case l == nil || l.Zone(c.Zone) == nil:
		return refuse("zone %q is not among the lists", clip(c.Zone))
	case !c.Next.IsZero() && (!inRange(c.Next) || c.Next.After(d.Now().Add(maxSpan))):
		return refuse("the next request is too far ahead")
	}
	x := Delisting{Source: c.Source, Zone: c.Zone}
	if old := d.Delisting(c.Source, c.Zone); old != nil {
		if !c.Again && old.Cleared.IsZero() && old.Next.After(d.Now()) {
			return refuse("%s was asked at %s by %s, and takes the next request from %s", c.Zone, old.Asked.Format(time.DateTime), old.By, old.Next.Format(time.DateTime))
		}
		x = *old
	}
	x.Asked, x.By, x.Next, x.Cleared = d.Now(), plain(actor, maxActor), c.Next.UTC(), time.Time{}
	if c.Next.IsZero() {
		x.Next = time.Time{}
	}
	x.Times++
	if d.askings.len() >= maxDelistings && !d.askings.has(delistingKey(x.Source, x.Zone)) && !d.forgetDelisting() {
		return refuse("%d requests to lists are open already", maxDelistings)
	}
	put(d, &d.askings, delistingKey(x.Source, x.Zone), &x)
	return nil
}

// forgetDelisting makes room: what was cleared the longest ago leaves.
func (d *draft) forgetDelisting() bool {
	var oldest *Delisting
	for x := range d.askings.all() {
		if !x.Cleared.IsZero() && (oldest == nil || x.Cleared.Before(oldest.Cleared)) {
			oldest = x
		}
	}
	if oldest == nil {
		return false
	}
	remove(d, &d.askings, delistingKey(oldest.Source, oldest.Zone))
	return true
}

// delisted notes which requests a verdict shows to be granted: some node says
// clean and none listed.
func (d *draft) delisted(src SourceID, v *ListingVerdict) {
	if d.askings.len() == 0 {
		return
	}
	for _, t := range v.Terms {
		x := d.Delisting(src, t.Zone)
		if x == nil || !x.Cleared.IsZero() || t.Listed > 0 || t.Clean == 0 {
			continue
		}
		next := *x
		next.Cleared = d.Now()
		put(d, &d.askings, delistingKey(src, t.Zone), &next)
		d.decided(Entry{Act: "delisted", Subject: d.sourceText(src), Source: src, Why: t.Zone + " was asked at " + x.Asked.Format(time.DateTime) + " and says clean"})
	}
}

// forgetDelistings drops what was asked about a source that is gone.
func (d *draft) forgetDelistings(src SourceID) {
	var keys []string
	for x := range d.askings.all() {
		if x.Source == src {
			keys = append(keys, delistingKey(src, x.Zone))
		}
	}
	for _, k := range keys {
		remove(d, &d.askings, k)
	}
}

func (s *State) checkDelistings() error {
	for i, x := range s.askings.vals {
		if s.askings.keys[i] != delistingKey(x.Source, x.Zone) || !s.sources.has(x.Source) || x.Times == 0 || x.Asked.IsZero() || x.Asked.After(s.Now()) || x.Cleared.After(s.Now()) {
			return fmt.Errorf("delisting of source %d by %s", x.Source, x.Zone)
		}
	}
	if s.askings.len() > maxDelistings {
		return fmt.Errorf("delistings: %d", s.askings.len())
	}
	return nil
}

func (*Delisting) kind() recordKind { return kindDelisting }

func (x *Delisting) code(c *coder) {
	number(c, &x.Source)
	c.str(&x.Zone, maxHost)
	c.time(&x.Asked)
	c.str(&x.By, maxActor)
	c.uint(&x.Times)
	c.time(&x.Next)
	c.time(&x.Cleared)
}

func (c *coder) askedDelisting(o *AskedDelisting) {
	number(c, &o.Source)
	c.str(&o.Zone, maxHost)
	c.time(&o.Next)
	c.bool(&o.Again)
}
