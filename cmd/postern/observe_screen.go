package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"postern/node/dnsbl"
	"postern/tenant"
)

var levelWords = map[tenant.ListingLevel]string{
	tenant.LevelBlind: "NOT KNOWN", tenant.LevelClear: "clean", tenant.LevelInfo: "listed where it does not matter", tenant.LevelNotice: "NOTICE",
	tenant.LevelWarning: "WARNING", tenant.LevelMove: "LISTED: tenants would move",
}

// observed writes a report: the zones that cannot be believed, then each address.
func (a *app) observed(r *dnsbl.Report) {
	for _, n := range r.Nodes {
		a.sight(n)
	}
	for _, z := range r.Faulty {
		a.paragraph("", z+" began to list most of these addresses within one hour: it is set aside, for the list may be at fault")
	}
	for i := range r.Subjects {
		if i > 0 || len(r.Faulty) > 0 {
			a.say("")
		}
		a.judged(&r.Subjects[i], len(r.Nodes))
	}
}

// sight says what a resolver cannot see, and why.
func (a *app) sight(n dnsbl.NodeView) {
	if n.Blind() {
		a.paragraph("", fmt.Sprintf("%s: verdict blind: %d of %d heavy zones usable", n.Node, n.Usable, n.Heavy))
	}
	for _, h := range n.Health {
		if h.State != dnsbl.Usable {
			a.paragraph("  ", fmt.Sprintf("%s (%s): %s: %s", h.Zone, h.Space, h.State, h.Why.Text()))
		}
	}
}

func (a *app) judged(j *dnsbl.Judged, nodes int) {
	v := j.Verdict
	head := j.Subject + ": " + levelWords[v.Level]
	switch {
	case v.Soon > 0 && j.Space == tenant.SpaceDomain: // no sum of these moves anyone
		head += fmt.Sprintf(", weight %d", v.Soon)
	case v.Soon > 0:
		head += fmt.Sprintf(", sum %d of %d", v.Soon, tenant.MaxWeight)
	}
	a.paragraph("", head)
	var clean, unknown []string
	for i, z := range j.Zones {
		t := v.Terms[i]
		switch listed := z.Listed(); {
		case listed != nil:
			a.term(&z, t, nodes)
		case t.State == tenant.TermClean:
			clean = append(clean, z.Zone)
		default:
			unknown = append(unknown, z.Zone)
		}
	}
	if v.Hold {
		a.paragraph("  ", "not fit for a tenant before a policy list is mended")
	}
	for _, n := range v.Needs {
		if j.Space == tenant.SpaceDomain {
			break
		}
		a.paragraph("  ", "tenants would not move yet: "+n)
	}
	if len(clean) > 0 {
		a.paragraph("  ", "clean in "+some(len(clean), "zone")+": "+strings.Join(clean, ", "))
	}
	if len(unknown) > 0 {
		a.paragraph("  ", "not known in "+some(len(unknown), "zone")+": "+strings.Join(unknown, ", "))
	}
}

func (a *app) term(z *dnsbl.Asked, t tenant.ListingTerm, nodes int) {
	text := fmt.Sprintf("%s: %d of %d say listed", z.Zone, t.Listed, nodes)
	if t.Blind > 0 {
		text += fmt.Sprintf(", %d not known", t.Blind)
	}
	switch t.State {
	case tenant.TermAlone:
		text += "; too few, counts nothing"
	case tenant.TermFaulty:
		text += "; set aside, counts nothing"
	case tenant.TermNothing, tenant.TermBlind, tenant.TermClean:
		text += "; counts nothing"
	default:
		text += fmt.Sprintf("; counts %d", t.Soon)
	}
	a.paragraph("  ", text)
	l := z.Listed()
	for _, h := range l.Hits {
		means := fmt.Sprintf("%s %s", h.Code, h.Means)
		if h.Policy == tenant.PolicyMove {
			means += fmt.Sprintf(" (%d)", h.Weight)
		} else {
			means += " (" + h.Policy.String() + ")"
		}
		a.paragraph("    ", means)
	}
	if l.Text != "" {
		a.paragraph("    ", "\""+l.Text+"\"")
	}
	if z.Delist != "" {
		a.say("    -> %s", clean(z.Delist)) // one line, however long: it is there to be copied
	}
}

// change is one line of --watch --json.
type change struct {
	Observation *tenant.Observation `json:"observation,omitempty"`
	Verdict     *dnsbl.Judged       `json:"verdict,omitempty"`
	Report      *dnsbl.Report       `json:"report,omitempty"`
}

// watch writes the report, then every changed answer and verdict, until it is
// told to end. Its status is that of the last verdicts.
func (a *app) watch(ctx context.Context, f observing, reg *prometheus.Registry, observers []*dnsbl.Observer, subjects []dnsbl.Subject,
	changes <-chan tenant.Observation, r dnsbl.Report) error {
	g, within := errgroup.WithContext(ctx)
	if f.metrics != "" {
		l, err := net.Listen("tcp", f.metrics)
		if err != nil {
			return usagef("serve metrics: %v", err)
		}
		g.Go(func() error { return serveMetrics(within, l, reg) })
	}
	if a.json {
		a.encode(change{Report: &r})
	} else {
		a.observed(&r)
		a.say("")
		a.say("Watching; Ctrl-C ends it.")
	}
	for _, o := range observers {
		g.Go(func() error { return o.Run(within) })
	}
	g.Go(func() error {
		again := time.NewTicker(judgeEvery)
		defer again.Stop()
		for {
			select {
			case <-within.Done():
				return within.Err()
			case ob := <-changes:
				a.changed(ob)
				for len(changes) > 0 { // judged once, however many came at a time
					a.changed(<-changes)
				}
			case <-again.C:
			}
			now := dnsbl.Judge(a.now(), observers, subjects)
			a.verdicts(&r, &now)
			r = now
		}
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return verdictOf(&r)
}

func (a *app) changed(ob tenant.Observation) {
	if a.json {
		a.encode(change{Observation: &ob})
		return
	}
	text := ob.Answer.Kind.String()
	for _, h := range ob.Answer.Hits {
		text += fmt.Sprintf(" %s %s", h.Code, h.Means)
	}
	if ob.Answer.Why != "" {
		text += ": " + ob.Answer.Why.Text()
	}
	a.paragraph("", fmt.Sprintf("%s %s %s, by %s: %s", ob.At.Format(time.TimeOnly), ob.Subject, ob.Zone, ob.Node, text))
}

// verdicts writes those whose level or sum changed.
func (a *app) verdicts(before, now *dnsbl.Report) {
	for i := range now.Subjects {
		was, is := before.Subjects[i].Verdict, now.Subjects[i].Verdict
		if was.Level == is.Level && was.Score == is.Score && was.Soon == is.Soon && slices.Equal(was.Needs, is.Needs) {
			continue
		}
		if a.json {
			a.encode(change{Verdict: &now.Subjects[i]})
			continue
		}
		a.say("")
		a.judged(&now.Subjects[i], len(now.Nodes))
	}
}

func serveMetrics(ctx context.Context, l net.Listener, reg *prometheus.Registry) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	srv := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return ctx.Err()
}
