package dnsbl

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/tenant"
)

// MaxSubjects bounds what one Observer watches, and with the bound of zones its
// memory.
const MaxSubjects = 8192

// Config of an Observer. Values in brackets are what zero means.
type Config struct {
	Node     string // whose observations these are
	Book     *Book
	Resolver *Resolver
	Rule     tenant.ListingRule // how rounds are counted [tenant.DefaultListingRule]
	Parallel int                // questions at once [32]
	Metrics  prometheus.Registerer
	Log      *slog.Logger // [nowhere]
	// Changed is told each observation whose answer differs from the one before,
	// one after the other; it must not wait for the Observer.
	Changed func(tenant.Observation)
}

// Observer asks all zones about all subjects and keeps what it was told.
type Observer struct {
	cfg     Config
	metrics *metrics
	asker   asker
	seed    maphash.Seed  // makes each subject's place in a round this Observer's own
	slots   chan struct{} // bounds the questions at once
	views   []*view
	pace    map[*Zone]*pace
	bell    chan struct{} // the subjects changed, or a zone is in a hurry

	telling sync.Mutex // one Changed at a time, in the order of recording

	mu       sync.Mutex // guards what follows and view.last
	subjects []Subject
	kept     map[Subject]map[string]*kept // by subject and zone
	hurried  map[string]bool              // zones to be asked at once
}

// kept is the memory of one subject in one zone.
type kept struct {
	sighting tenant.Sighting
	last     tenant.Answer // the latest of any kind
	at       time.Time     // when it came
	told     bool
	ill      bool // the last is the zone's ill health
}

// New makes an Observer; it asks nothing before Round or Run.
func New(cfg Config) (*Observer, error) {
	switch {
	case cfg.Book == nil || len(cfg.Book.Zones) == 0:
		return nil, errors.New("make observer: no zones")
	case cfg.Resolver == nil:
		return nil, errors.New("make observer: no resolver")
	case cfg.Metrics == nil:
		return nil, errors.New("make observer: no registry for metrics")
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 32
	}
	if cfg.Rule == (tenant.ListingRule{}) {
		cfg.Rule = tenant.DefaultListingRule()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	o := &Observer{cfg: cfg, asker: cfg.Resolver, seed: maphash.MakeSeed(), slots: make(chan struct{}, cfg.Parallel), pace: make(map[*Zone]*pace), bell: make(chan struct{}, 1),
		kept: make(map[Subject]map[string]*kept), hurried: make(map[string]bool)}
	for i := range cfg.Book.Zones {
		z := &cfg.Book.Zones[i]
		o.pace[z] = &pace{gap: time.Second / time.Duration(max(1, z.Rate))}
		for _, s := range z.Spaces {
			v := &view{zone: z, space: s, turn: make(chan struct{}, 1), last: Health{Zone: z.Name, Space: s, Heavy: z.Heavy}}
			v.turn <- struct{}{}
			o.views = append(o.views, v)
		}
	}
	o.metrics = newMetrics(cfg.Metrics, o)
	return o, nil
}

func (o *Observer) now() time.Time { return time.Now() }

// Watch replaces the subjects. What was known of those that stay is kept, of
// others forgotten.
func (o *Observer) Watch(subjects []Subject) error {
	seen := make(map[Subject]bool, len(subjects))
	var list []Subject
	for _, s := range subjects {
		if s != (Subject{}) && !seen[s] {
			seen[s] = true
			list = append(list, s)
		}
	}
	if len(list) > MaxSubjects {
		return fmt.Errorf("watch subjects: %d of them, %d at most", len(list), MaxSubjects)
	}
	o.mu.Lock()
	o.subjects = list
	for s := range o.kept {
		if !seen[s] {
			delete(o.kept, s)
		}
	}
	o.mu.Unlock()
	o.ring()
	return nil
}

// Hurry makes Run ask a zone about all its subjects at once, besides its rounds
// and within its rate: somebody says that it lists one of them. All are asked
// about, or a zone that lists the world would be believed about the first.
func (o *Observer) Hurry(zone string) {
	o.mu.Lock()
	o.hurried[zone] = true
	o.mu.Unlock()
	o.ring()
}

func (o *Observer) ring() {
	select {
	case o.bell <- struct{}{}:
	default:
	}
}

// hurries gives the zones that are in a hurry, once.
func (o *Observer) hurries() map[string]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	zones := o.hurried
	o.hurried = make(map[string]bool)
	return zones
}

// of gives the subjects a view is asked about.
func (o *Observer) of(v *view) (list []Subject) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.subjects {
		if s.Space() == v.space {
			list = append(list, s)
		}
	}
	return list
}

// Sightings is what is known of a subject, zone by zone in the order of the
// book; a zone that was never asked is missing.
func (o *Observer) Sightings(s Subject) (all []tenant.Sighting) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.cfg.Book.Zones {
		if k := o.kept[s][o.cfg.Book.Zones[i].Name]; k != nil {
			all = append(all, k.sighting)
		}
	}
	return all
}

// Known is what is known of a subject in a zone: the last answer of any kind,
// when it came, and what all of them add up to.
type Known struct {
	Zone     string
	At       time.Time
	Latest   tenant.Answer
	Sighting tenant.Sighting
	Ill      bool // the latest is the ill health of the zone: nothing about the subject was asked, or believed
}

// Known lists what is known of a subject, zone by zone in the order of the
// book; a zone that was never asked is missing.
func (o *Observer) Known(s Subject) (all []Known) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.cfg.Book.Zones {
		if k := o.kept[s][o.cfg.Book.Zones[i].Name]; k != nil {
			all = append(all, Known{Zone: o.cfg.Book.Zones[i].Name, At: k.at, Latest: k.last, Sighting: k.sighting, Ill: k.ill})
		}
	}
	return all
}

// Latest is the last answer about a subject in a zone, of whatever kind.
func (o *Observer) Latest(s Subject, zone string) tenant.Answer {
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := o.kept[s][zone]; k != nil {
		return k.last
	}
	return tenant.Answer{Why: tenant.WhyNotAsked}
}

// Health is the last test of every zone that is asked about a subject.
func (o *Observer) Health() (all []Health) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, v := range o.views {
		if o.concerned(v) {
			all = append(all, v.last)
		}
	}
	return all
}

func (o *Observer) concerned(v *view) bool {
	return slices.ContainsFunc(o.subjects, func(s Subject) bool { return s.Space() == v.space })
}

// Sight is how much of what matters can be seen.
type Sight struct {
	Heavy  int `json:"heavy"`        // heavy zones that are asked about a subject
	Usable int `json:"heavy_usable"` // those whose every test passed
}

// Blind says that something that matters cannot be seen.
func (s Sight) Blind() bool { return s.Usable < s.Heavy || s.Heavy == 0 }

// Sight counts the heavy zones. Of one asked about several kinds of subject
// every kind must be usable.
func (o *Observer) Sight() (s Sight) {
	state := make(map[string]bool)
	for _, h := range o.Health() {
		if h.Heavy {
			was, seen := state[h.Zone]
			state[h.Zone] = h.State == Usable && (was || !seen)
		}
	}
	for _, ok := range state {
		s.Heavy++
		if ok {
			s.Usable++
		}
	}
	return s
}

// record keeps an answer, or the ill health of the zone for one, and tells of a
// change.
func (o *Observer) record(s Subject, z *Zone, a tenant.Answer, ill bool) {
	o.telling.Lock()
	defer o.telling.Unlock()
	ob := tenant.Observation{Node: o.cfg.Node, Subject: s.String(), Zone: z.Name, At: o.now(), Answer: a}
	o.mu.Lock()
	if !slices.Contains(o.subjects, s) {
		o.mu.Unlock()
		return // no longer watched
	}
	if o.kept[s] == nil {
		o.kept[s] = make(map[string]*kept)
	}
	k := o.kept[s][z.Name]
	if k == nil {
		k = &kept{}
		o.kept[s][z.Name] = k
	}
	changed := !k.told || !Same(k.last, a)
	k.sighting, k.last, k.at, k.told, k.ill = o.cfg.Rule.Fold(k.sighting, ob), a, ob.At, true, ill
	o.mu.Unlock()
	if changed && o.cfg.Changed != nil {
		o.cfg.Changed(ob)
	}
}

// Same compares what answers mean: a list may word its reason anew each time,
// and give its codes in any order.
func Same(a, b tenant.Answer) bool {
	return a.Kind == b.Kind && a.Why == b.Why && len(a.Hits) == len(b.Hits) &&
		!slices.ContainsFunc(a.Hits, func(h tenant.Hit) bool { return !slices.Contains(b.Hits, h) })
}

func (o *Observer) healthChanged(before, now Health) {
	log := o.cfg.Log.With("zone", now.Zone, "space", now.Space.String(), "state", now.State.String())
	switch {
	case now.State != Usable:
		log.Warn("zone cannot be believed", "reason", now.Why.Text())
	case before.State != Unchecked:
		log.Info("zone can be believed again")
	}
}
