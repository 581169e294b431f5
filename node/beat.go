package node

import (
	"context"
	"time"

	"postern/node/trouble"
)

// untilBeat is how long it is to the next of the moments, one every period, at
// which all that looks again and again looks: an idle node wakes once for all
// of it, not once for each.
func untilBeat(every time.Duration) time.Duration {
	return time.Until(time.Now().Truncate(every).Add(every))
}

// onBeat takes a step at each beat until ctx ends. Steps that fail one after the
// other are one trouble of the node.
func onBeat(ctx context.Context, every time.Duration, failed *trouble.Log[string], node string, step func(context.Context) error) {
	pause := time.NewTimer(untilBeat(every))
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		pause.Reset(untilBeat(every))
		if err := step(ctx); err == nil {
			failed.Well(node)
		} else if ctx.Err() == nil {
			failed.Bad(node, "err", err)
		}
	}
}
