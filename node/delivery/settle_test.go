package delivery

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"postern/node/queue"
)

func TestJudge(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cut := errors.New("connection reset")
	reply := func(code int, enhanced, text string) queue.Reply {
		return queue.Reply{Code: code, Enhanced: enhanced, Text: text}
	}
	for _, c := range []struct {
		name    string
		res     result
		over    bool
		want    queue.Result
		unknown int
		slow    bool
	}{
		{"kept", result{Stage: stageDot, DotSent: true, Replies: []queue.Reply{reply(250, "2.0.0", "kept")}}, false, queue.Delivered, 0, false},
		{"kept late", result{Stage: stageDot, DotSent: true, Replies: []queue.Reply{reply(250, "2.0.0", "kept")}}, true, queue.Delivered, 0, false},
		{"no such user", result{Stage: stageRcpt, Replies: []queue.Reply{reply(550, "5.1.1", "no such user")}}, false, queue.Bounced, 0, false},
		{"greylisted", result{Stage: stageRcpt, Replies: []queue.Reply{reply(451, "4.7.1", "greylisted, try later")}}, false, queue.Deferred, 0, false},
		{"greylisted, time up", result{Stage: stageRcpt, Replies: []queue.Reply{reply(451, "4.7.1", "greylisted, try later")}}, true, queue.Expired, 0, false},
		{"cut before the dot", result{Stage: stageBody, Err: cut, Replies: []queue.Reply{reply(0, "4.4.2", "connection reset")}}, false, queue.Deferred, 0, false},
		{"cut after the dot", result{Stage: stageDot, DotSent: true, Err: cut, Replies: []queue.Reply{reply(0, "4.4.2", "connection reset")}}, false, queue.Deferred, 1, false},
		{"cut after the dot, time up", result{Stage: stageDot, DotSent: true, Err: cut, Replies: []queue.Reply{reply(0, "4.4.2", "connection reset")}}, true, queue.Expired, 1, false},
		{"no 8BITMIME", result{Stage: stageMail, Replies: []queue.Reply{reply(0, "5.6.3", "host has no 8BITMIME")}}, false, queue.Bounced, 0, false},
		{"no SMTPUTF8", result{Stage: stageMail, Replies: []queue.Reply{reply(0, "5.6.7", "host has no SMTPUTF8")}}, false, queue.Bounced, 0, false},
		{"nonsense", result{Stage: stageMail, Replies: []queue.Reply{reply(399, "", "?")}}, false, queue.Deferred, 0, false},
		{"success before the dot", result{Stage: stageRcpt, Replies: []queue.Reply{reply(250, "", "ok")}}, false, queue.Deferred, 0, false},
		{"our IP sends too much", result{Stage: stageMail, Replies: []queue.Reply{reply(421, "4.7.28", "unusual rate of email originating from your IP address")}}, false, queue.Deferred, 0, true},
		{"no reply at all", result{Stage: stageMail, Err: cut}, false, queue.Deferred, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := judge([]int{4}, c.res, terms{now: now, over: c.over, life: 48 * time.Hour, limit: now.Add(time.Hour), random: 0.5, n: 1, arrived: now})
			if len(v.outcomes) != 1 || v.outcomes[0].Rcpt != 4 || v.outcomes[0].Result != c.want {
				t.Fatalf("outcome %+v, want result %d", v.outcomes, c.want)
			}
			if v.unknown != c.unknown || v.throttle != c.slow {
				t.Errorf("unknown %d, throttle %v; want %d, %v", v.unknown, v.throttle, c.unknown, c.slow)
			}
			if (c.want == queue.Deferred) != v.next.After(now) {
				t.Errorf("next %v for result %d", v.next, c.want)
			}
		})
	}
}

func TestNextAttemptNeverPassesTheDeadline(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	soft := result{Stage: stageRcpt, Replies: []queue.Reply{{Code: 450}}}
	v := judge([]int{0}, soft, terms{now: now, limit: now.Add(2 * time.Minute), random: 0.5, n: 1, arrived: now})
	if !v.next.Equal(now.Add(2 * time.Minute)) {
		t.Errorf("next %v, want the deadline", v.next)
	}
	// The wall clock is past it but the state's is not: no endless loop.
	v = judge([]int{0}, soft, terms{now: now, limit: now.Add(-time.Minute), random: 0.5, n: 1, arrived: now})
	if v.next.Sub(now) != 5*time.Minute {
		t.Errorf("next after %v, want the schedule's 5m", v.next.Sub(now))
	}
}

func TestRetryWait(t *testing.T) {
	for _, c := range []struct {
		table []time.Duration
		n     int
		age   time.Duration
		want  time.Duration
	}{
		{nil, 1, 0, 5 * time.Minute},
		{nil, 2, 0, 15 * time.Minute},
		{nil, 3, 0, 30 * time.Minute},
		{nil, 4, time.Hour, time.Hour},
		{nil, 30, 23 * time.Hour, time.Hour},
		{nil, 30, 24 * time.Hour, 4 * time.Hour},
		{nil, 0, 0, 5 * time.Minute},
		{[]time.Duration{time.Second, time.Minute}, 1, 0, time.Second},
		{[]time.Duration{time.Second, time.Minute}, 9, 99 * time.Hour, time.Minute},
	} {
		if got := retryWait(c.table, c.n, c.age); got != c.want {
			t.Errorf("retryWait(%v, %d, %v) = %v, want %v", c.table, c.n, c.age, got, c.want)
		}
	}
	if lo, hi := jittered(time.Hour, 0), jittered(time.Hour, 1); lo != 48*time.Minute || hi != 72*time.Minute {
		t.Errorf("jitter %v to %v, want a fifth to both sides", lo, hi)
	}
}

func TestStateClockRunsOnBetweenCommands(t *testing.T) {
	w := newWorld(t)
	var c stateClock
	st := w.state.Load()
	seen := time.Now()
	c.now(st, seen)
	if got := c.now(st, seen.Add(time.Hour)).Sub(st.Now()); got != time.Hour {
		t.Errorf("an hour later the state's clock moved %v", got)
	}
}

func TestAttemptedByProvider(t *testing.T) {
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	m.attempted("gmail", &verdict{delivered: 3, ended: 1})
	m.attempted("gmail", &verdict{delivered: 1, deferred: 2})
	m.attempted("other", &verdict{})
	for outcome, want := range map[string]float64{"delivered": 4, "bounced": 1, "deferred": 2} {
		var got dto.Metric
		if err := m.outcomes.WithLabelValues("gmail", outcome).Write(&got); err != nil || got.GetCounter().GetValue() != want {
			t.Errorf("%s: %v, want %v (%v)", outcome, got.GetCounter().GetValue(), want, err)
		}
	}
	// Text scrapes see buckets only.
	for _, h := range []prometheus.Histogram{m.attempt, m.latency} {
		var got dto.Metric
		if err := h.Write(&got); err != nil || len(got.GetHistogram().GetBucket()) < 10 {
			t.Errorf("%d buckets (%v)", len(got.GetHistogram().GetBucket()), err)
		}
	}
}
