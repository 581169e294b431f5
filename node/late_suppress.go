package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"postern/node/bounce"
	"postern/node/delivery"
	"postern/node/queue"
)

// lateClasses are the classes that another node may name.
var lateClasses = [...]string{bounce.InvalidRecipient, bounce.InactiveMailbox, bounce.BadDomain}

// suppress puts whom a report names on the tenant's list: recipients of the
// message alone, which the envelope kept here says, and nobody else whom the
// report's writer may have thought of.
func (l *late) suppress(ctx context.Context, r lateReport, x delivery.Late) error {
	if x.Envelope == nil || x.Envelope.Kind != queue.Submitted {
		return nil
	}
	fs := complaints(r, x)
	for _, f := range x.Match() {
		if f.Rcpt < 0 || !slices.Contains(lateClasses[:], f.Class) {
			continue
		}
		fs = append(fs, queue.Failure{Addr: f.Addr, Reason: queue.HardBounce, Class: f.Class, Domain: f.Class == bounce.BadDomain,
			Reply: queue.Reply{Enhanced: f.Status, Text: plainLine(f.Text)}, Account: x.Envelope.Account, Message: x.ID, At: x.At})
	}
	err := l.queue.Suppress(ctx, r.Tenant, fs)
	if errors.Is(err, queue.ErrOlder) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("suppress recipients of late report: %w", err)
	}
	return nil
}

// complaints is the one recipient who complained, if it is known who that was.
func complaints(r lateReport, x delivery.Late) []queue.Failure {
	rcpts := x.Envelope.Rcpts
	to := r.To
	if to < 0 && len(rcpts) == 1 {
		to = 0
	}
	if !r.Complained || to < 0 || to >= len(rcpts) {
		return nil
	}
	return []queue.Failure{{Addr: rcpts[to].Addr, Reason: queue.Complaint, Account: x.Envelope.Account, Message: x.ID, At: x.At}}
}
