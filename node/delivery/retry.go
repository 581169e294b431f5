package delivery

import (
	"time"

	"postern/node/queue"
	"postern/tenant"
)

// defaultBackoff is how long a destination that cannot be reached is left alone.
var defaultBackoff = []time.Duration{
	5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour,
}

// throttled is how long a provider is left alone that said we send too much
// (large providers ask for this pace); afterwards one connection, then one more
// at a time.
const throttled = 10 * time.Minute

// The default waits after an attempt: the first ones, then hourly up to a day
// of age, then every four hours. RFC 5321 §4.5.4.1 wants half an hour between
// tries in general; two early ones get greylisted mail through.
var firstWaits = [...]time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute}

// retryWait is the wait after the n-th attempt (1 for the first) of a message
// of that age.
func retryWait(table []time.Duration, n int, age time.Duration) time.Duration {
	n = max(n, 1)
	switch {
	case len(table) > 0:
		return table[min(n, len(table))-1]
	case n <= len(firstWaits):
		return firstWaits[n-1]
	case age < 24*time.Hour:
		return time.Hour
	}
	return 4 * time.Hour
}

// jittered spreads d by a fifth to both sides; r is in [0,1).
func jittered(d time.Duration, r float64) time.Duration {
	return d + time.Duration((r*0.4-0.2)*float64(d))
}

// backoffWait is how long to leave a destination alone after n failures in a row.
func backoffWait(table []time.Duration, n int) time.Duration {
	return table[min(max(n, 1), len(table))-1]
}

// deadline is when a message expires: later by what it stood still.
func deadline(st *tenant.State, e *queue.Envelope) time.Time {
	return e.Expires.Add(st.StoodStill(e.Account, e.Arrived))
}

// stateClock carries the state's clock on between commands, so that an idle
// cluster's messages expire too. It runs on the monotonic clock: a jump of the
// wall clock does not move it. It is not safe for concurrent use.
type stateClock struct {
	index uint64
	base  time.Time // the state's clock
	seen  time.Time // when it was seen, with monotonic reading
}

// now is the state's clock as it would read now.
func (c *stateClock) now(st *tenant.State, now time.Time) time.Time {
	if st.Index() != c.index || c.seen.IsZero() {
		c.index, c.base, c.seen = st.Index(), st.Now(), now
	}
	return c.base.Add(now.Sub(c.seen))
}
