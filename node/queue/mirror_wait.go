package queue

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNoCopy says that the second copy of a message was not confirmed in time;
// the message was taken back.
var ErrNoCopy = errors.New("no second copy in time")

// awaitRoom waits until the records on their way leave room for one more.
func (s *Store) awaitRoom(ctx context.Context, g *tlog) error {
	if s.ship == nil {
		return nil
	}
	s.ship.mu.Lock()
	timer := time.NewTimer(s.limits.word)
	s.ship.mu.Unlock()
	defer timer.Stop()
	for {
		s.ship.mu.Lock()
		full, room := s.ship.octets >= s.limits.unsent, s.ship.room
		s.ship.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return fmt.Errorf("%w: too much is on its way", ErrNoCopy)
		case <-g.out.leaving:
			return ErrStale
		case <-s.ship.ctx.Done():
			return errClosed
		case <-s.dead:
			return s.broken()
		}
	}
}

// await waits for the holder's word on a record: durably, or that it has it.
func (s *Store) await(ctx context.Context, o *outgoing, durably bool) error {
	if o == nil {
		return nil
	}
	var timer *time.Timer
	for {
		s.ship.mu.Lock()
		if o.err != nil || o.durable || o.received && !durably {
			defer s.ship.mu.Unlock()
			return o.err
		}
		if o.told == nil {
			o.told = make(chan struct{})
		}
		told, word := o.told, s.limits.word
		s.ship.mu.Unlock()
		if timer == nil {
			timer = time.NewTimer(word)
			defer timer.Stop()
		}
		select {
		case <-told:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNoCopy, ctx.Err())
		case <-timer.C:
			return ErrNoCopy
		case <-o.g.out.leaving:
			return ErrStale
		case <-s.ship.ctx.Done():
			return errClosed
		case <-s.dead:
			return s.broken()
		}
	}
}

// wait is await without a time limit of its own, for steps of the walk.
func (s *Store) wait(ctx context.Context, o *outgoing) error {
	for {
		err := s.await(ctx, o, true)
		if !errors.Is(err, ErrNoCopy) || ctx.Err() != nil {
			return err
		}
	}
}
