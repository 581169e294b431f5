package node

import (
	"errors"
	"strings"
)

// Healthy says whether this node itself works: its consensus gets its writes
// done, and the queue's syncs end; an idle queue is made to try one, whose end
// the next question sees. Of the other nodes it says nothing: to end a node that
// has no majority would help nobody. Safe for concurrent use.
func (n *Node) Healthy() error {
	return errors.Join(n.cluster.Healthy(), n.queue.Stuck())
}

// Ready is nil when the node accepts and sends mail; else an error says why not,
// on one line.
func (n *Node) Ready() error {
	if why := n.admin.Stops(); len(why) > 0 {
		return errors.New(strings.Join(why, "; "))
	}
	return nil
}
