package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/cluster"
	"postern/node/dnsbl"
	"postern/node/trouble"
	"postern/tenant"
)

const (
	// watchEvery bounds how often a node tells what changed.
	watchEvery = time.Second
	// tellWait bounds one proposal of what was seen.
	tellWait = 15 * time.Second
	// listWait bounds one question to one resolver.
	listWait = 3 * time.Second
)

// watcher asks the DNS lists of the state about all sources of the cluster,
// through this node's own resolver, and tells the state what it does not know
// yet. It compares with the state and not with what it told before: so nothing
// has to be remembered over a restart, a lost proposal or other lists.
type watcher struct {
	name        string
	cluster     *cluster.Cluster
	resolver    *dnsbl.Resolver
	beside      string // where key files are
	credentials string
	log         *slog.Logger
	failed      *trouble.Log[string] // by node: this one
	metrics     *swapped

	observer *dnsbl.Observer // of the lists that were applied last; nil without any
	rule     tenant.ListingRule
	zones    []tenant.Zone // those it asks
	watched  []*tenant.Source
	domains  []dnsbl.Subject      // asked about beside them
	named    time.Time            // when it was looked which
	hurried  map[string]time.Time // when a zone was asked last because a refusal named it
}

func (n *Node) newWatcher(reg *prometheus.Registry, log *slog.Logger) (*watcher, error) {
	servers, err := n.cfg.listResolvers()
	if err != nil {
		return nil, err
	}
	r, err := dnsbl.NewResolver(servers, listWait)
	if err != nil {
		return nil, fmt.Errorf("prepare watcher: %w", err)
	}
	w := &watcher{name: n.cfg.Name, cluster: n.cluster, resolver: r, beside: n.cfg.Dir, credentials: os.Getenv("CREDENTIALS_DIRECTORY"), log: log,
		failed: trouble.New[string](log, slog.LevelError, "sightings not told, trying again", "node"), metrics: &swapped{}, hurried: map[string]time.Time{}}
	if err := reg.Register(w.metrics); err != nil {
		return nil, fmt.Errorf("register watcher metrics: %w", err)
	}
	return w, nil
}

// Run asks and tells until ctx ends.
func (w *watcher) Run(ctx context.Context) error {
	var lists *tenant.Lists
	end := func() {}
	defer func() { end() }()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		st := w.cluster.State()
		if now := st.Lists(); !sameLists(lists, now) {
			lists = now
			end()
			end = w.begin(ctx, st)
		}
		if w.observer == nil {
			continue
		}
		w.follow(st)
		w.attend(st, time.Now())
		if err := w.tell(ctx, st); err == nil {
			w.failed.Well(w.name)
		} else if ctx.Err() == nil {
			w.failed.Bad(w.name, "err", err)
		}
	}
}

// sameLists says whether nothing changed in how lists are asked. A zone that is
// set aside makes another record with the same zones.
func sameLists(a, b *tenant.Lists) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Rule == b.Rule && len(a.Zones) == len(b.Zones) && (len(a.Zones) == 0 || &a.Zones[0] == &b.Zones[0])
}

// begin starts an observer of the state's lists and gives what ends it.
func (w *watcher) begin(ctx context.Context, st *tenant.State) (end func()) {
	w.observer, w.watched, w.zones, w.domains = nil, nil, nil, nil
	w.metrics.clear()
	book, failed := dnsbl.BookOf(st.Lists(), w.beside, w.credentials)
	for _, err := range failed {
		w.log.Error("a DNS list is not asked", "err", err)
	}
	if len(book.Zones) == 0 {
		return func() {}
	}
	o, err := dnsbl.New(dnsbl.Config{Node: w.name, Book: book, Resolver: w.resolver, Rule: book.Rule, Metrics: w.metrics, Log: w.log})
	if err != nil {
		w.log.Error("DNS lists cannot be asked", "err", err)
		return func() {}
	}
	w.observer, w.rule = o, book.Rule
	for i := range book.Zones {
		w.zones = append(w.zones, book.Zones[i].Zone)
	}
	w.follow(st)
	own, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := o.Run(own); err != nil && own.Err() == nil {
			w.log.Error("asking DNS lists ended", "err", err)
		}
	}()
	return func() {
		stop()
		<-ended
	}
}

// follow makes the observer ask about the sources and domains there are.
func (w *watcher) follow(st *tenant.State) {
	sources := slices.Collect(st.Sources())
	domains := w.names(st, time.Now())
	if w.watched != nil && slices.Equal(sources, w.watched) && slices.Equal(domains, w.domains) {
		return
	}
	subjects := make([]dnsbl.Subject, len(sources), len(sources)+len(domains))
	for i, src := range sources {
		subjects[i] = dnsbl.AddrSubject(src.Addr)
	}
	subjects = append(subjects, domains...)
	if err := w.observer.Watch(subjects); err != nil {
		w.log.Error("some sources or domains are not asked about", "err", err)
		return
	}
	w.watched, w.domains = sources, domains
}

// tell proposes what the state does not know yet, in one entry; of domains when
// there is nothing of sources.
func (w *watcher) tell(ctx context.Context, st *tenant.State) error {
	me := st.NodeByName(w.name)
	if me == nil {
		return nil
	}
	var op tenant.Op
	switch seen, domains := w.news(st, me.ID); {
	case len(seen.Seen)+len(seen.Upto) > 0:
		op = seen
	case len(domains.Seen) > 0:
		op = domains
	default:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tellWait)
	defer cancel()
	if _, _, err := w.cluster.Propose(ctx, tenant.RequestID{}, op); err != nil {
		return fmt.Errorf("tell what DNS lists said: %w", err)
	}
	return nil
}

// news is what the observer knows and the state does not.
func (w *watcher) news(st *tenant.State, me tenant.NodeID) (tenant.Observe, tenant.SawDomains) {
	op := tenant.Observe{Node: me}
	asked := make(map[string]*asking, len(w.zones))
	for i := range w.zones {
		asked[w.zones[i].Name] = &asking{zone: &w.zones[i]}
	}
	for _, src := range w.watched {
		told := make(map[string]tenant.Sighting)
		for _, s := range st.SightingsBy(src.ID, me) {
			told[s.Zone] = s
		}
		known := w.observer.Known(dnsbl.AddrSubject(src.Addr))
		for i := range w.zones {
			if z := &w.zones[i]; z.Asks(dnsbl.AddrSubject(src.Addr).Space()) {
				asked[z.Name].wanted++
			}
		}
		for _, k := range known {
			asked[k.Zone].add(k)
			if was, ok := told[k.Zone]; (!ok || w.isNew(was, k)) && len(op.Seen) < tenant.MaxSeen {
				op.Seen = append(op.Seen, tenant.Seen{Source: src.ID, Zone: k.Zone, At: k.At, Values: k.Latest.Values, Why: whyOf(k.Latest), Text: k.Latest.Text})
			}
		}
	}
	domains := w.newsOfDomains(st, me, asked)
	if len(op.Seen)+len(domains.Seen) == 0 { // what is new first: it may change what is said here
		for _, z := range w.zones {
			if at := asked[z.Name].upto(); at.Sub(st.WatchedUpto(me, z.Name)) >= w.rule.FreshFor(&z)/3 {
				op.Upto = append(op.Upto, tenant.Upto{Zone: z.Name, At: at})
			}
		}
	}
	return op, domains
}

// whyOf is why there are no values; with some, their meaning is the state's to
// say.
func whyOf(a tenant.Answer) tenant.Why {
	if len(a.Values) > 0 {
		return ""
	}
	return a.Why
}

// isNew says whether the state should hear of an answer: it says another thing
// than the last one told, or it is one more of the rounds that a verdict needs.
func (w *watcher) isNew(was tenant.Sighting, k dnsbl.Known) bool {
	if !k.Latest.Says() {
		return was.DoubtSince.IsZero() || was.Doubt.Kind != k.Latest.Kind || was.Doubt.Why != k.Latest.Why
	}
	switch {
	case !was.DoubtSince.IsZero(), was.Rounds == 0, !dnsbl.Same(was.Answer, k.Latest):
		return k.At.After(was.Last)
	case k.Latest.Kind != tenant.AnswerListed:
		return false
	}
	return was.Rounds < max(w.rule.Rounds, w.rule.Alone) && k.At.Sub(was.Counted) >= w.rule.Apart
}

// asking is how far a zone was asked about all sources.
type asking struct {
	zone          *tenant.Zone
	wanted, heard int
	oldest        time.Time
}

func (a *asking) add(k dnsbl.Known) {
	a.heard++
	if k.Latest.Says() && (a.oldest.IsZero() || k.At.Before(a.oldest)) {
		a.oldest = k.At
	}
}

// upto is since when no source has gone unasked, or zero.
func (a *asking) upto() time.Time {
	if a.heard < a.wanted {
		return time.Time{}
	}
	return a.oldest
}

// swapped lets the metrics of one observer follow those of another: the lists
// change while the node runs. It is a registry to observers and a collector to
// the node's registry.
type swapped struct {
	mu  sync.Mutex // guards all
	all []prometheus.Collector
}

// Register implements prometheus.Registerer.
func (s *swapped) Register(c prometheus.Collector) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, c)
	return nil
}

// MustRegister implements prometheus.Registerer.
func (s *swapped) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = s.Register(c)
	}
}

// Unregister implements prometheus.Registerer.
func (s *swapped) Unregister(c prometheus.Collector) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.all)
	s.all = slices.DeleteFunc(s.all, func(x prometheus.Collector) bool { return x == c })
	return len(s.all) < before
}

func (s *swapped) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
}

// Describe implements prometheus.Collector: what there is changes.
func (s *swapped) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (s *swapped) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	all := slices.Clone(s.all)
	s.mu.Unlock()
	for _, c := range all {
		c.Collect(ch)
	}
}
