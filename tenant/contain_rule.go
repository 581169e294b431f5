package tenant

import "time"

// Automation is what may follow from a listing by itself.
type Automation uint8

const (
	AutomationOn     Automation = iota + 1 // the source is left, tenants move, a culprit is held
	AutomationShadow                       // what would follow is decided and told, and nothing done
	AutomationOff                          // nothing follows
)

var automationNames = map[Automation]string{AutomationOn: "on", AutomationShadow: "shadow", AutomationOff: "off"}

func (a Automation) String() string { return automationNames[a] }

// ParseAutomation reads "on", "shadow" or "off".
func ParseAutomation(name string) (Automation, error) {
	for a, n := range automationNames {
		if n == name {
			return a, nil
		}
	}
	return 0, refuse("automation is on, shadow or off, not %q", clip(name))
}

// ContainRule is how it is found out who caused a listing, and who leaves.
type ContainRule struct {
	Slot    time.Duration // what accounts send is counted in spans of this length
	Window  time.Duration // what was sent, and said, this long ago counts
	History time.Duration // and this long ago it is what an account usually sends
	Young   time.Duration // who began to send after that is new
	Culprit int           // an account with so many points, and twice those of the next or half of this more, is held
	Suspect int           // one with so many waits when nobody is the culprit
	Top     int           // but no more tenants than this

	Patience time.Duration // so long suspects wait
	Again    time.Duration // a listing moves a tenant once in this time
	Hourly   int           // and so many tenants in an Hour
	Hour     time.Duration
	Repeat   time.Duration // a dedicated source listed again within it holds its tenant
	HomeIn   time.Duration // so long after it is clean again tenants go home

	// While mail waits its time to expire stands still, but no longer than this.
	Transactional, Bulk time.Duration
}

// DefaultContainRule is what a cluster has that sets nothing else.
func DefaultContainRule() ContainRule {
	const day = 24 * time.Hour
	return ContainRule{Slot: 6 * time.Hour, Window: 3 * day, History: 28 * day, Young: 7 * day, Culprit: 50, Suspect: 20, Top: 2,
		Patience: 2 * time.Hour, Again: day, Hourly: 40, Hour: time.Hour, Repeat: 3 * day, HomeIn: day,
		Transactional: 2 * time.Hour, Bulk: 2 * day}
}

// spans are all lengths of time in the rule.
func (r *ContainRule) spans() []*time.Duration {
	return []*time.Duration{&r.Slot, &r.Window, &r.History, &r.Young, &r.Patience, &r.Again, &r.Hour, &r.Repeat, &r.HomeIn, &r.Transactional, &r.Bulk}
}

// drill is how long a drill lasts that nobody ends: ten minutes, and in trials
// with short rounds still as long as a person needs.
func (r ContainRule) drill() time.Duration { return max(r.Patience/12, time.Minute) }

func (r ContainRule) valid() bool {
	for _, d := range r.spans() {
		if *d <= 0 || *d > maxSpan {
			return false
		}
	}
	return r.Culprit > 0 && r.Culprit <= 1000 && r.Suspect > 0 && r.Suspect <= r.Culprit && r.Top >= 0 && r.Top <= NodeTenants &&
		r.Hourly >= 0 && r.Hourly <= 10000 && r.Window/r.Slot <= maxUses/4 && r.History/r.Slot <= maxUses/2 && r.Window <= r.History
}

// Scaled makes every length of time as much shorter, or longer, as a round is
// than the two minutes that are usual: for trials that cannot wait.
func (r ContainRule) Scaled(round time.Duration) ContainRule {
	for _, d := range r.spans() {
		*d = min(scaled(*d, round), maxSpan)
	}
	return r
}

func scaled(d, round time.Duration) time.Duration {
	return max(time.Duration(float64(d)*(float64(round)/float64(DefaultListingRule().Apart))), time.Millisecond)
}

// Usual is what a cluster does that was told nothing else, in rounds of that
// length (0: the usual two minutes).
func Usual(round time.Duration) Contain {
	c := Contain{Mode: AutomationOn, Rule: DefaultContainRule()}
	if round > 0 {
		c.Rule = c.Rule.Scaled(round)
	}
	return c
}

// Contain says what follows from a listing.
type Contain struct {
	Mode Automation
	Rule ContainRule
}

// SetContain sets it. Before the first one nothing follows from listings. A case
// that keeps mail from leaving goes on whatever the mode becomes; what is listed
// when the mode becomes On is followed up at once.
type SetContain struct{ Contain Contain }

func (SetContain) op()           {}
func (SetContain) since() uint32 { return containVersion }

// Contain returns what follows from listings; nil before it was set.
func (s *State) Contain() *Contain { return s.contain.get(0) }

func (s *State) containRule() ContainRule {
	if c := s.Contain(); c != nil {
		return c.Rule
	}
	return DefaultContainRule()
}

func (d *draft) setContain(c SetContain) error {
	if c.Contain.Mode < AutomationOn || c.Contain.Mode > AutomationOff || !c.Contain.Rule.valid() {
		return refuse("what follows from listings cannot be so: a number is out of bounds")
	}
	if old := d.Contain(); old != nil && old.Rule.Slot != c.Contain.Rule.Slot {
		// What was counted in other spans says nothing any more.
		for len(d.uses.keys) > 0 {
			remove(d, &d.uses, d.uses.keys[0])
		}
		for len(d.echoes.keys) > 0 {
			remove(d, &d.echoes, d.echoes.keys[0])
		}
		for len(d.circles.keys) > 0 {
			remove(d, &d.circles, d.circles.keys[0])
		}
		d.forgetSenders()
		d.forgetLinks()
	}
	put(d, &d.contain, 0, &c.Contain)
	d.emit(ListsChanged{})
	d.judgeAll()
	d.catchUp()
	return nil
}

// catchUp opens the cases of what was listed while nothing followed from it, or
// was only told. What keeps mail from leaving already goes on.
func (d *draft) catchUp() {
	mode := d.Contain().Mode
	for _, src := range d.sources.vals {
		l := d.listings.get(src.ID)
		if l == nil || l.Raised.IsZero() {
			continue
		}
		if c := d.OpenCase(src.ID); c != nil && c.Mode == AutomationShadow && mode == AutomationOn {
			d.end(c.ID, "automation was switched on", d.Now(), false)
		}
		if d.OpenCase(src.ID) == nil {
			d.followUp(src, l)
		}
	}
}
