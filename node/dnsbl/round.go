package dnsbl

import (
	"cmp"
	"context"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"postern/tenant"
)

const (
	// proofAge is how old a zone's test may be when a listing is believed, and
	// restAge for "clean", whose error costs less than the questions would.
	proofAge = time.Minute
	restAge  = 10 * time.Minute
	// retryAge is how soon a zone that failed its test is tested again.
	retryAge = 5 * time.Minute
	// firstSpread is over how long the first round is spread at most, so that a
	// node sees soon after its start.
	firstSpread = time.Minute
)

// Round asks every zone about every subject once, as fast as the zones' rates
// allow.
func (o *Observer) Round(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, v := range o.views {
		g.Go(func() error { return o.round(ctx, v, 0) })
	}
	return g.Wait()
}

// Run asks every zone in rounds until ctx ends. Each round of a zone takes most
// of its interval, its questions spread at random over it, so that neither the
// list nor the resolver sees a burst.
func (o *Observer) Run(ctx context.Context) error {
	select {
	case <-o.bell: // the first round asks about all there are now
	default:
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, v := range o.views {
		g.Go(func() error { return o.rounds(ctx, v) })
	}
	g.Go(func() error { return o.attend(ctx) })
	return g.Wait()
}

// rounds repeats a view's round. Every subject has its place in it, so that the
// time between two questions about one is the period and a little jitter, and
// never more than the zone's interval, unless the list is slower than its rate.
func (o *Observer) rounds(ctx context.Context, v *view) error {
	every := v.zone.Every
	period, spread := every*9/10, every*7/10
	if err := o.round(ctx, v, min(spread, firstSpread)); err != nil {
		return err
	}
	for {
		began := o.now()
		if err := o.round(ctx, v, spread); err != nil {
			return err
		}
		wait := period
		if o.lastHealth(v).State != Usable {
			wait = min(period, retryAge) // blindness should not last for a slow zone's interval
		}
		if err := sleep(ctx, wait-o.now().Sub(began)); err != nil {
			return err
		}
	}
}

// attend asks about new subjects, and zones that are in a hurry, at once instead
// of at the zones' next rounds, which may be hours away.
func (o *Observer) attend(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-o.bell:
		}
		hurried := o.hurries()
		g, ctx := errgroup.WithContext(ctx)
		for _, v := range o.views {
			g.Go(func() error {
				var fresh []Subject
				for _, s := range o.of(v) {
					if hurried[v.zone.Name] || o.Latest(s, v.zone.Name).Why == tenant.WhyNotAsked {
						fresh = append(fresh, s)
					}
				}
				return o.askAll(ctx, v, fresh, 0)
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
}

func (o *Observer) round(ctx context.Context, v *view, spread time.Duration) error {
	subjects := o.of(v)
	if len(subjects) == 0 {
		return ctx.Err()
	}
	began := o.now()
	if err := o.askAll(ctx, v, subjects, spread); err != nil {
		return err
	}
	o.metrics.round.WithLabelValues(v.zone.Name).Observe(o.now().Sub(began).Seconds())
	return nil
}

// askAll tests the zone and asks about the subjects, spread over a time. A zone
// that fails its test is asked nothing: whatever it says, the answer is its ill
// health.
func (o *Observer) askAll(ctx context.Context, v *view, subjects []Subject, spread time.Duration) error {
	if len(subjects) == 0 {
		return ctx.Err()
	}
	if h := o.healthOf(ctx, v, 0); h.State != Usable {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, s := range subjects {
			o.record(s, v.zone, h.answer(), true)
		}
		return nil
	}
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(o.cfg.Parallel)
	began := o.now()
	for _, p := range o.places(v, subjects, spread) {
		if sleep(within, p.due-o.now().Sub(began)) != nil {
			break
		}
		g.Go(func() error { return o.askOne(within, v, p.subject) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// place is when in a round a subject's turn is.
type place struct {
	due     time.Duration
	subject Subject
}

// places gives each subject its own, lasting place in a zone's round, and a
// little jitter, in the order of time.
func (o *Observer) places(v *view, subjects []Subject, spread time.Duration) []place {
	all := make([]place, len(subjects))
	for i, s := range subjects {
		share := maphash.Comparable(o.seed, [2]string{v.zone.Name, s.String()}) >> 40 // 24 bits
		all[i] = place{subject: s, due: spread / (1 << 24) * time.Duration(share)}
		if jitter := int64(spread / 20); jitter > 0 {
			all[i].due += time.Duration(rand.Int64N(jitter))
		}
	}
	slices.SortFunc(all, func(a, b place) int { return cmp.Compare(a.due, b.due) })
	return all
}

func (o *Observer) askOne(ctx context.Context, v *view, s Subject) error {
	a, ill := o.ask(ctx, v.zone, s.label(), true), false
	// The zone may have gone bad since its test: before it is believed, it is
	// tested again when that was a while ago.
	if a.Says() {
		age := restAge
		if a.Kind == tenant.AnswerListed {
			age = proofAge
		}
		if h := o.healthOf(ctx, v, age); h.State != Usable {
			a, ill = h.answer(), true
		}
	}
	if ctx.Err() != nil {
		return ctx.Err() // an unanswered question of a process that ends says nothing
	}
	o.record(s, v.zone, a, ill)
	return nil
}

// ask puts one question to a zone within its rate. With why, a listing's reason
// is asked for too.
func (o *Observer) ask(ctx context.Context, z *Zone, label string, why bool) (a tenant.Answer) {
	if o.pace[z].wait(ctx) != nil {
		return tenant.Answer{Why: tenant.WhyTimeout}
	}
	select {
	case o.slots <- struct{}{}:
	case <-ctx.Done():
		return tenant.Answer{Why: tenant.WhyTimeout}
	}
	defer func() { <-o.slots }()
	name := z.question(label)
	values, bad := o.asker.values(ctx, name)
	switch bad {
	case "":
		a = z.Read(values)
	case tenant.WhyRefused:
		a = tenant.Answer{Kind: tenant.AnswerRefused, Why: bad}
	default:
		a = tenant.Answer{Why: bad}
	}
	o.metrics.asked(z.Name, a.Kind)
	if why && a.Kind == tenant.AnswerListed {
		o.metrics.queries.WithLabelValues(z.Name, "text").Inc()
		a.Text = cut(z.key.hide(o.asker.reason(ctx, name)), maxReason)
	}
	return a
}

// pace keeps the questions to one zone apart.
type pace struct {
	gap  time.Duration
	mu   sync.Mutex // guards next
	next time.Time
}

func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(p.gap)
	p.mu.Unlock()
	return sleep(ctx, wait)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
