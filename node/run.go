package node

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// stage is a part with what must be told to end before it.
type stage struct {
	name string
	run  func(context.Context) error
}

// Run starts every part and blocks until ctx ends or a part fails. Parts end in
// the order mail flows, each only after the one before it has: submission, then
// delivery, then what they both stand on.
func (n *Node) Run(ctx context.Context) error {
	stages := []stage{
		{"submission", func(ctx context.Context) error { return n.submission.Run(ctx, n.ports...) }},
		{"intake", n.runIntake},
		{"late bounces", n.late.Run},
		{"delivery", n.sender.Run},
		{"reconcile", n.owned.Run},
		{"mirrors", n.mirrors.Run},
		{"handover", n.handover.Run},
		{"forwards", n.forwards.Run},
		{"returns", n.returns.Run},
		{"controller", n.controller.Run},
		{"watcher", n.watcher.Run},
		{"notices", n.notifier.Run},
		{"uses", n.uses.Run},
		{"denials", n.denials.Run},
		{"archive", n.archive.Run},
		{"retention", n.expiry.Run},
		{"erasing", n.erasing.Run},
		{"heard", n.heard.Run},
		{"list notices", n.listTold.Run},
		{"wrote", n.wrote.Run},
		{"sent as", n.sentAs.Run},
		{"linked", n.linked.Run},
		{"doctor", n.doctor.Run},
		{"ages", n.ages.Run},
		{"grants", n.grants.Run},
		{"log level", n.level.Run},
		{"admin", n.admin.Run},
		{"queue", n.runQueue},
		{"cluster", n.cluster.Run},
	}
	return runInOrder(ctx, stages)
}

// runQueue closes the store when everything that uses it has ended.
func (n *Node) runQueue(ctx context.Context) error {
	err := n.queue.Run(ctx)
	if closed := n.queue.Close(); err == nil {
		err = closed
	}
	return err
}

// runInOrder runs all stages at once and ends them one after the other, first
// to last, when ctx ends or one of them returns.
func runInOrder(ctx context.Context, stages []stage) error {
	g, failed := errgroup.WithContext(ctx)
	before := failed
	for _, s := range stages {
		own, end := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan struct{})
		wait := before
		g.Go(func() error { // ends the stage when the one before it has ended
			<-wait.Done()
			end()
			return nil
		})
		g.Go(func() error {
			defer close(ended)
			if err := s.run(own); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if failed.Err() == nil {
				return fmt.Errorf("%s: ended by itself", s.name)
			}
			return nil
		})
		next, passed := context.WithCancel(context.WithoutCancel(ctx))
		g.Go(func() error { // those before it may still run if it failed
			<-ended
			<-wait.Done()
			passed()
			return nil
		})
		before = next
	}
	return g.Wait()
}
