package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"postern/tenant"
)

// forwardTime bounds one try; the same request id makes the next one safe.
const forwardTime = 5 * time.Second

// What became of a forwarded proposal at the leader. Values are sent.
type forwardStatus uint8

const (
	forwardDone     forwardStatus = iota // it is entry Index, or was already in a state of that index
	forwardNoLeader                      // nothing was handed over
	forwardUnknown
	forwardRefused // before it became an entry
	forwardTooLarge
	forwardBad // no repeat changes it
)

type forwardAnswer struct {
	Status forwardStatus
	Index  uint64 `json:",omitempty"`
	Text   string `json:",omitempty"`
}

// forward hands a command to the leader. Its outcome comes from this node's own
// state, as soon as the entry is applied here: also when the leader's answer is
// lost on its way.
func (c *Cluster) forward(ctx context.Context, data []byte, mine <-chan *applied) (*applied, error) {
	leader := c.leader()
	if leader == "" || leader == c.cfg.Name || c.peers == nil {
		return nil, ErrNoLeader
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTime)
	defer cancel()
	type reply struct {
		answer forwardAnswer
		err    error
	}
	got := make(chan reply, 1)
	if !c.calls.begin(func() {
		var r reply
		r.err = c.peers.call(ctx, leader, verbPropose, data, &r.answer)
		got <- r
	}) {
		return nil, ErrClosed
	}
	var r reply
	select {
	case a := <-mine:
		return a, nil
	case r = <-got:
	case <-c.closing:
		return nil, fmt.Errorf("%w: %w", ErrUnknown, ErrClosed)
	}
	if r.err != nil {
		if errors.Is(r.err, errUnreached) {
			return nil, fmt.Errorf("%w: %w", ErrNoLeader, r.err)
		}
		return nil, fmt.Errorf("%w: %w", ErrUnknown, r.err)
	}
	if err := r.answer.error(); err != nil {
		return nil, err
	}
	select {
	case a := <-mine:
		return a, nil
	case <-c.closing:
		return nil, fmt.Errorf("%w: %w", ErrUnknown, ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: entry %d is not here: %w", ErrUnknown, r.answer.Index, context.Cause(ctx))
	}
}

// error is the answer's meaning here; nil when the proposal became an entry.
func (a forwardAnswer) error() error {
	switch a.Status {
	case forwardDone:
		return nil
	case forwardNoLeader:
		return fmt.Errorf("%w: %s", ErrNoLeader, a.Text)
	case forwardRefused:
		return &tenant.Refused{Reason: a.Text}
	case forwardTooLarge:
		return fmt.Errorf("%w: %s", ErrTooLarge, a.Text)
	case forwardBad:
		return errors.New(a.Text)
	default:
		return fmt.Errorf("%w: %s", ErrUnknown, a.Text)
	}
}

// answerPropose carries a follower's command through the log, with this
// leader's stamp.
func (c *Cluster) answerPropose(ctx context.Context, from string, req []byte) ([]byte, error) {
	a := c.proposeFor(ctx, req)
	c.notice(from, a.Index)
	return json.Marshal(a)
}

func (c *Cluster) proposeFor(ctx context.Context, req []byte) forwardAnswer {
	if len(req) > MaxCommand {
		return forwardAnswer{Status: forwardTooLarge, Text: fmt.Sprintf("%d octets", len(req))}
	}
	cmd, err := tenant.DecodeCommand(req)
	if err != nil {
		return forwardAnswer{Status: forwardBad, Text: err.Error()}
	}
	if cmd.Request == (tenant.RequestID{}) {
		return forwardAnswer{Status: forwardBad, Text: "a forwarded command has no request id"}
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTime)
	defer cancel()
	if err := c.awaitLeads(ctx); err != nil {
		return forwardAnswer{Status: forwardNoLeader, Text: err.Error()}
	}
	r, err := c.once(ctx, cmd.Request, cmd.Op)
	refused := (*tenant.Refused)(nil)
	switch {
	case r != nil:
		return forwardAnswer{Index: r.state.Index()}
	case errors.As(err, &refused):
		return forwardAnswer{Status: forwardRefused, Text: refused.Reason}
	case errors.Is(err, ErrUnknown):
		return forwardAnswer{Status: forwardUnknown, Text: err.Error()}
	case errors.Is(err, ErrNoLeader), errors.Is(err, ErrClosed):
		return forwardAnswer{Status: forwardNoLeader, Text: err.Error()}
	case errors.Is(err, ErrTooLarge):
		return forwardAnswer{Status: forwardTooLarge, Text: err.Error()}
	default:
		return forwardAnswer{Status: forwardBad, Text: err.Error()}
	}
}
