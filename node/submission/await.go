package submission

import (
	"context"
	"errors"
	"time"
)

// waits are the patience of a node with others; tests have less.
type waits struct {
	owner  time.Duration // for an owner, at MAIL
	word   time.Duration // for the answer to a recipient
	final  time.Duration // for the answer to a message, while its owner stays
	lost   time.Duration // for word of a message whose answer was lost
	frozen time.Duration // who is so much behind its time stood still
	poll   time.Duration // between two looks at the state
	silent time.Duration // beyond Idle, for the next frame of a message
}

var defaultWaits = waits{owner: 20 * time.Second, word: 40 * time.Second, final: keepWait + 10*time.Second,
	lost: 30 * time.Second, frozen: 3 * time.Second, poll: 50 * time.Millisecond, silent: time.Minute}

var errSilent = errors.New("talk to owner: no answer in time")

// await waits for the answer to the transaction at hand: for a time, while the
// connection lives, and while it is not found to be in vain.
func (s *Server) await(k *link, wait time.Duration, vain func() bool) (answer, error) {
	if a, ok := k.ready(); ok { // without clocks
		return a, nil
	}
	late := time.NewTimer(wait)
	defer late.Stop()
	var looks <-chan time.Time
	if vain != nil {
		tick := time.NewTicker(s.waits.poll)
		defer tick.Stop()
		looks = tick.C
	}
	for {
		select {
		case a := <-k.answers:
			if a.tag == k.tag {
				return a, nil
			}
		case <-k.dead:
			if a, ok := k.ready(); ok { // what came before the end counts
				return a, nil
			}
			return answer{}, errLinkDead
		case <-looks:
			if vain() {
				return answer{}, errSilent
			}
		case <-late.C:
			return answer{}, errSilent
		case <-s.hard.Done():
			return answer{}, context.Canceled
		}
	}
}

// pause waits a moment; false when the time is over.
func (s *Server) pause(until time.Time) bool {
	left := time.Until(until)
	if left <= 0 {
		return false
	}
	t := time.NewTimer(min(left, s.waits.poll))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.hard.Done():
		return false
	}
}
