package queue

import "time"

// untilBeat is how long it is to the next of the moments, one every period, at
// which all that looks again and again looks: an idle node wakes once for all
// of it, not once for each.
func untilBeat(every time.Duration) time.Duration {
	return time.Until(time.Now().Truncate(every).Add(every))
}
