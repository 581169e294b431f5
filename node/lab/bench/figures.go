package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// figure is one measurement; run gives one sample of each of its values.
type figure struct {
	name   string
	run    func(ctx context.Context, t target, scale float64) (map[string]float64, error)
	values []value
	alone  bool // of Postern only: one round, no ratio
	three  bool // of three nodes instead of one
}

// value is one line of the table. Floor and Goal are multiples of Postfix; for
// Less they are what Postern may take of what Postfix takes. Max is an absolute
// bound on Postern's own figure; limit names the sample that is the bound; none
// allows nothing but zero.
type value struct {
	key, title, unit string
	less             bool
	floor, goal      float64
	max              float64
	limit            string
	none             bool
}

const (
	small = 5 << 10
	large = 100 << 10
)

func figures() []figure {
	return []figure{
		{name: "relay", run: relay(small, 20, 2000, 20000), values: []value{
			{key: "rate", title: "relay end to end, 5 KB, 20 sessions", unit: "msg/s", floor: 6, goal: 10},
			{key: "cpu", title: "CPU per 1,000 messages relayed", unit: "s", less: true, floor: 1.0 / 6, goal: 1.0 / 10},
			{key: "rss", title: "memory under that load", unit: "MB", less: true, max: 250},
		}},
		{name: "backlog", run: backlog(small, 20, 2000, 20000), values: []value{
			{key: "accept", title: "accepting, delivery stopped, 5 KB", unit: "msg/s", floor: 6, goal: 10},
			{key: "drain", title: "draining that backlog", unit: "msg/s", floor: 5, goal: 8},
		}},
		{name: "large", run: relay(large, 20, 800, 3000), values: []value{
			{key: "rate", title: "relay end to end, 100 KB, 20 sessions", unit: "msg/s", floor: 3, goal: 5},
		}},
		{name: "tls", run: tlsRelay(small, 20, 2000, 16000), values: []value{
			{key: "rate", title: "STARTTLS and AUTH, 5 KB, 20 kept connections", unit: "msg/s", floor: 6, goal: 9},
		}},
		{name: "latency1", run: latency(1, 700), values: []value{
			{key: "p50", title: "accept latency, 1 session, p50", unit: "ms", less: true, floor: 1},
		}},
		{name: "latency20", run: latency(20, 3000), values: []value{
			{key: "p99", title: "accept latency, 20 sessions, p99", unit: "ms", less: true, floor: 1.0 / 3},
		}},
		{name: "huge", alone: true, run: huge, values: []value{
			{key: "more", title: "memory for ten 90 MB messages at once, more by", unit: "MB", less: true, max: 100},
		}},
		{name: "idle", three: true, alone: true, run: idle, values: []value{
			{key: "rss", title: "three nodes, idle: memory of the largest", unit: "MB", less: true, max: 60},
			{key: "core", title: "three nodes, idle: share of a core of the busiest", unit: "%", less: true, max: 1},
		}},
		{name: "relay3", three: true, run: relay(small, 20, 2000, 10000), values: []value{
			{key: "rate", title: "three nodes, two copies: relay end to end, 5 KB, 20 sessions", unit: "msg/s", floor: 3, goal: 5},
			{key: "cpu", title: "three nodes, two copies: CPU per 1,000 messages, all nodes", unit: "s", less: true},
		}},
		{name: "through", three: true, alone: true, run: through, values: []value{
			{key: "rate", title: "the same, all clients connected to a node that does not own the tenant", unit: "msg/s"},
		}},
		{name: "latency3", three: true, alone: true, run: latency3, values: []value{
			{key: "sync", title: "this disk's fsync of 5 KB, p50", unit: "ms", less: true},
			{key: "p50", title: "three nodes, two copies: accept latency, 1 session, p50", unit: "ms", less: true, limit: "limit"},
		}},
		{name: "steady", three: true, alone: true, run: steady, values: []value{
			{key: "rate", title: "three nodes, steady load of three tenants: accepted", unit: "msg/s"},
			{key: "entries", title: "raft entries per 1,000 messages of it", unit: "", less: true, max: 5},
			{key: "waits", title: "messages of it that waited for a grant", unit: "", less: true, none: true},
			{key: "p99", title: "accept latency of it, p99", unit: "ms", less: true},
		}},
	}
}

func names(fs []figure) string {
	var all []string
	for _, f := range fs {
		all = append(all, f.name)
	}
	return strings.Join(all, ", ")
}

func count(t target, scale float64, postfix, postern int) int {
	if t.Name() == "Postfix" {
		return max(1, int(float64(postfix)*scale))
	}
	return max(1, int(float64(postern)*scale))
}

// relay measures from the first connection to the last message in the sink.
func relay(size, sessions, nPostfix, nPostern int) func(context.Context, target, float64) (map[string]float64, error) {
	return func(ctx context.Context, t target, scale float64) (map[string]float64, error) {
		n := count(t, scale, nPostfix, nPostern)
		before, err := t.Usage()
		if err != nil {
			return nil, err
		}
		base, start := t.Sink().Count(), time.Now()
		if err := smtpSource(ctx, t.Plain(), size, sessions, n); err != nil {
			return nil, err
		}
		if err := t.Sink().Wait(ctx, base+n, time.Minute); err != nil {
			return nil, err
		}
		took := time.Since(start)
		after, err := t.Usage()
		if err != nil {
			return nil, err
		}
		return map[string]float64{
			"rate": float64(n) / took.Seconds(),
			"cpu":  (after.cpu - before.cpu).Seconds() * 1000 / float64(n),
			"rss":  float64(after.peak) / 1e6,
		}, nil
	}
}

// backlog measures accepting while nothing is delivered, then draining it.
func backlog(size, sessions, nPostfix, nPostern int) func(context.Context, target, float64) (map[string]float64, error) {
	return func(ctx context.Context, t target, scale float64) (map[string]float64, error) {
		n := count(t, scale, nPostfix, nPostern)
		if err := t.Pause(ctx); err != nil {
			return nil, err
		}
		base, start := t.Sink().Count(), time.Now()
		if err := smtpSource(ctx, t.Plain(), size, sessions, n); err != nil {
			return nil, err
		}
		accepted := time.Since(start)
		pause(ctx, time.Second)
		if got := t.Sink().Count(); got != base {
			return nil, fmt.Errorf("%d messages were delivered while delivery was stopped", got-base)
		}
		start, err := t.Resume(ctx)
		if err != nil {
			return nil, err
		}
		if err := t.Sink().Wait(ctx, base+n, time.Minute); err != nil {
			return nil, err
		}
		return map[string]float64{
			"accept": float64(n) / accepted.Seconds(),
			"drain":  float64(n) / time.Since(start).Seconds(),
		}, nil
	}
}

func tlsRelay(size, sessions, nPostfix, nPostern int) func(context.Context, target, float64) (map[string]float64, error) {
	return func(ctx context.Context, t target, scale float64) (map[string]float64, error) {
		n := count(t, scale, nPostfix, nPostern)
		base, start := t.Sink().Count(), time.Now()
		if _, err := load(ctx, loadSpec{addr: t.TLS(), password: t.Password(), size: size, sessions: sessions, n: n}); err != nil {
			return nil, err
		}
		if err := t.Sink().Wait(ctx, base+n, time.Minute); err != nil {
			return nil, err
		}
		return map[string]float64{"rate": float64(n) / time.Since(start).Seconds()}, nil
	}
}

// latency measures from the final dot to its 250.
func latency(sessions, n int) func(context.Context, target, float64) (map[string]float64, error) {
	return func(ctx context.Context, t target, _ float64) (map[string]float64, error) {
		base := t.Sink().Count()
		took, err := load(ctx, loadSpec{addr: t.Plain(), size: small, sessions: sessions, n: n})
		if err != nil {
			return nil, err
		}
		if err := t.Sink().Wait(ctx, base+n, time.Minute); err != nil {
			return nil, err
		}
		return map[string]float64{
			"p50": quantile(took, 0.50).Seconds() * 1000,
			"p99": quantile(took, 0.99).Seconds() * 1000,
		}, nil
	}
}
