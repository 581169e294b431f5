package bounce

import "slices"

// rule is one line of a table. All conditions that are set must hold.
//
// Patterns are lower case and at least three octets long. One that begins with
// a letter or digit must begin a word of the text; one that ends with $ must
// end a word too. So "rbl$" is not found in "garbled", and "greylist" is found
// in "greylisted".
type rule struct {
	class string
	scope Scope

	reply   int      // 4 or 5: only replies of that class
	codes   []int    // one of these codes
	details []string // one of these enhanced codes, without their class
	words   []string // one of these in the text
	also    []string // and one of these
	without []string // and none of these

	hold bool // keep although the reply says never: the fault is not the message's

	zone string // the list this rule's words stand for
	hint string // for an operator
	wide bool   // speaks of our network
	weak bool   // no evidence by itself
}

// table is a list of rules made ready, so that one walk over a text finds all
// patterns of all rules at once.
type table struct {
	rules  []readyRule
	starts map[uint32][]pattern // by the first three octets
	size   int                  // length of a wordSet
}

type pattern struct {
	text  string
	whole bool
	id    int
}

type readyRule struct {
	rule
	words, also, without wordSet
}

// wordSet is a set of pattern ids.
type wordSet []uint64

func (s wordSet) meets(o wordSet) bool {
	for i, w := range s {
		if w&o[i] != 0 {
			return true
		}
	}
	return false
}

var generic = makeTable(genericRules)

func makeTable(rules []rule) *table {
	t := &table{starts: map[uint32][]pattern{}}
	ids := map[string]int{}
	for _, r := range rules {
		for _, p := range slices.Concat(r.words, r.also, r.without) {
			if _, ok := ids[p]; !ok {
				ids[p] = len(ids)
			}
		}
	}
	t.size = (len(ids) + 63) / 64
	for p, id := range ids {
		text, whole := p, p[len(p)-1] == '$'
		if whole {
			text = p[:len(p)-1]
		}
		k := key(text)
		t.starts[k] = append(t.starts[k], pattern{text, whole, id})
	}
	set := func(list []string) wordSet {
		if list == nil {
			return nil
		}
		s := make(wordSet, t.size)
		for _, p := range list {
			s[ids[p]/64] |= 1 << (ids[p] % 64)
		}
		return s
	}
	for _, r := range rules {
		t.rules = append(t.rules, readyRule{r, set(r.words), set(r.also), set(r.without)})
	}
	return t
}

func key(s string) uint32 { return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 }

// find gives the patterns that stand in text.
func (t *table) find(text string) wordSet {
	found := make(wordSet, t.size)
	inside := false // the octet before belongs to a word
	for i := 0; i+3 <= len(text); i++ {
		word := alnum(text[i])
		if !(word && inside) {
			for _, p := range t.starts[key(text[i:])] {
				end := i + len(p.text)
				if end <= len(text) && text[i:end] == p.text && (!p.whole || end == len(text) || !alnum(text[end])) {
					found[p.id/64] |= 1 << (p.id % 64)
				}
			}
		}
		inside = word
	}
	return found
}

func alnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// first gives the first rule that fits, or nil.
func (t *table) first(r reading) *readyRule {
	found := t.find(r.text)
	for i := range t.rules {
		if u := &t.rules[i]; u.fits(r, found) {
			return u
		}
	}
	return nil
}

func (u *readyRule) fits(r reading, found wordSet) bool {
	return (u.reply == 0 || u.reply == r.class) &&
		(u.codes == nil || slices.Contains(u.codes, r.code)) &&
		(u.details == nil || slices.Contains(u.details, r.detail)) &&
		(u.words == nil || u.words.meets(found)) &&
		(u.also == nil || u.also.meets(found)) &&
		!u.without.meets(found)
}

func (u *readyRule) verdict(class int) Verdict {
	v := Verdict{Class: u.class, Scope: u.scope, Course: CourseRetry, Zone: u.zone, Hint: u.hint, Range: u.wide, Weak: u.weak}
	switch {
	case !u.hold && class == 5:
		v.Course = CourseBounce
	case u.scope == ScopeNode || u.class == IPBlock || u.class == SpamBlock:
		v.Course = CourseHold
	case u.scope == ScopeSource:
		v.Course = CourseSlow
	}
	return v
}
