package tenant

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// ListTold records notices of lists' operators whose signature a node verified:
// anybody can write in their name, and what is not signed is only logged. It is
// a fact and never refused for what it says.
type ListTold struct {
	Node    NodeID
	Notices []ListNotice
}

// ListNotice is one notice.
type ListNotice struct {
	Zone string // the list's usual name
	At   time.Time
	// Account is the one whose message it returns, by our own signature there; 0:
	// none. Ref tells the message, as an Echo's does.
	Account AccountID
	Ref     uint64
	Sources []SourceID // that it names, ascending
}

// ListWord is what one list's operator wrote about a source.
type ListWord struct {
	Zone        string
	First, Last time.Time
	Count       uint64
}

func (ListTold) op()           {}
func (ListTold) since() uint32 { return listWordVersion }

// Bounds of a ListTold and of what is kept of it.
const (
	MaxListNotices = 64 // of one command
	MaxListSources = 16 // of one notice
	maxListWords   = 16 // of one source; then the oldest goes
)

// listWords are what was written about one source, ascending by zone.
type listWords struct {
	source SourceID
	words  []ListWord
}

// ListWords lists what operators of lists wrote about a source within
// ContainRule.Window, ascending by zone.
func (s *State) ListWords(src SourceID) (all []ListWord) {
	if x := s.listWords.get(src); x != nil {
		for _, w := range x.words {
			if w.Last.Add(s.containRule().Window).After(s.Now()) {
				all = append(all, w)
			}
		}
	}
	return all
}

func (d *draft) listTold(c ListTold) error {
	if len(c.Notices) > MaxListNotices {
		return refuse("more than %d notices in one command", MaxListNotices)
	}
	changed := make(map[AccountID]*echoBook)
	for _, n := range c.Notices {
		if !ValidHost(n.Zone) || n.At.IsZero() || !inRange(n.At) || len(n.Sources) > MaxListSources {
			continue
		}
		if n.At.After(d.Now()) {
			n.At = d.Now() // a clock that is ahead: the fact stays one
		}
		for _, src := range n.Sources {
			d.listWord(src, n)
		}
		if d.Contain() == nil || !d.accounts.has(n.Account) {
			continue
		}
		x := changed[n.Account]
		if x == nil {
			x = d.echoes.get(n.Account).clone(n.Account)
			changed[n.Account] = x
		}
		x.add(keptEcho{kind: EchoList, ref: n.Ref, at: n.At})
	}
	d.keepEchoes(changed)
	return nil
}

// listWord counts a notice about one source.
func (d *draft) listWord(src SourceID, n ListNotice) {
	if !d.sources.has(src) {
		return
	}
	next := &listWords{source: src}
	if old := d.listWords.get(src); old != nil {
		next.words = slices.Clone(old.words)
	}
	i, known := slices.BinarySearchFunc(next.words, n.Zone, func(w ListWord, zone string) int { return cmp.Compare(w.Zone, zone) })
	if !known {
		next.words = slices.Insert(next.words, i, ListWord{Zone: n.Zone, First: n.At, Last: n.At})
	}
	w := &next.words[i]
	w.Count = plus(w.Count, 1)
	if n.At.After(w.Last) {
		w.Last = n.At
	}
	if n.At.Before(w.First) {
		w.First = n.At
	}
	if len(next.words) > maxListWords {
		oldest := 0
		for k, w := range next.words {
			if w.Last.Before(next.words[oldest].Last) {
				oldest = k
			}
		}
		next.words = slices.Delete(next.words, oldest, oldest+1)
	}
	put(d, &d.listWords, src, next)
}

func (c *coder) listTold(o *ListTold) {
	number(c, &o.Node)
	list(c, &o.Notices, MaxListNotices, func(c *coder, n *ListNotice) {
		c.str(&n.Zone, maxHost)
		c.time(&n.At)
		number(c, &n.Account)
		c.uint(&n.Ref)
		list(c, &n.Sources, MaxListSources, number[SourceID])
	})
}

func (*listWords) kind() recordKind { return kindListWords }

func (x *listWords) code(c *coder) {
	number(c, &x.source)
	list(c, &x.words, maxListWords, func(c *coder, w *ListWord) {
		c.str(&w.Zone, maxHost)
		c.time(&w.First)
		c.time(&w.Last)
		c.uint(&w.Count)
	})
}

func (s *State) checkListWords() error {
	for i, x := range s.listWords.vals {
		if x.source != s.listWords.keys[i] || !s.sources.has(x.source) || len(x.words) == 0 || len(x.words) > maxListWords {
			return fmt.Errorf("words of lists about source %d", x.source)
		}
		for k, w := range x.words {
			if !ValidHost(w.Zone) || k > 0 && x.words[k-1].Zone >= w.Zone || w.First.IsZero() || w.Last.Before(w.First) || w.Last.After(s.Now()) || w.Count == 0 {
				return fmt.Errorf("words of lists about source %d: %q", x.source, w.Zone)
			}
		}
	}
	return nil
}
