package tenant

import (
	"errors"
	"fmt"
)

// checkMember judges what a node is in the cluster.
func (s *State) checkMember(n *Node, keys map[[32]byte]bool) error {
	switch {
	case n.Peer != "" && !ValidPeer(n.Peer):
		return fmt.Errorf("peer address %q", n.Peer)
	case n.Key != [32]byte{} && keys[n.Key]:
		return errors.New("the key of another")
	case n.Down.After(s.Now()) || n.Up.After(s.Now()):
		return errors.New("down or up in the time to come")
	}
	return nil
}

// checkLog judges who owns a tenant and holds its log.
func (s *State) checkLog(t *Tenant) error {
	owner := s.nodes.get(t.Owner)
	if owner.Witness {
		return errors.New("a witness owns it")
	}
	if t.Epoch>>incarnationShift > s.incarnation {
		return fmt.Errorf("epoch %d is of an incarnation to come", t.Epoch)
	}
	if t.Generation >= maxCounter || len(t.Copies) > maxCopies || len(t.Ends) > maxEnds || len(t.Waiting) > maxWaiting {
		return errors.New("copies, ends or waiting: too many")
	}
	last := uint64(0)
	for i, v := range t.Copies {
		switch {
		case i > 0 && v.Generation <= last || v.Generation > t.Generation || v.Generation == 0 && v.Node != 0:
			return fmt.Errorf("copy %d: generation", i)
		case v.Node != 0 && !s.nodes.has(v.Node):
			return fmt.Errorf("copy %d: no node %d", i, v.Node)
		case v.Epoch == 0 || v.Epoch > t.Epoch || v.First == 0 || i > 0 && v.Epoch < t.Copies[i-1].Epoch:
			return fmt.Errorf("copy %d: epoch or first sequence", i)
		case v.Epoch == t.Epoch && v.Node == t.Owner:
			return fmt.Errorf("copy %d: with the owner", i)
		}
		last = v.Generation
	}
	for i, e := range t.Ends {
		if e.Epoch == 0 || e.Epoch >= t.Epoch || e.Node == 0 || e.Node > s.lastNode || i > 0 && e.Epoch <= t.Ends[i-1].Epoch {
			return fmt.Errorf("end %d is out of order", i)
		}
	}
	for i, x := range t.Waiting {
		if x == 0 || i > 0 && x <= t.Waiting[i-1] {
			return fmt.Errorf("waiting %d is out of order", i)
		}
	}
	return s.checkMoving(t)
}

// checkMoving judges a handover and what a restore waits for.
func (s *State) checkMoving(t *Tenant) error {
	if t.To != 0 {
		n := s.nodes.get(t.To)
		if n == nil || !n.Usable() || t.To == t.Owner || t.To != t.Home.Node && t.To != t.Backup.Node {
			return fmt.Errorf("it is handed over to node %d", t.To)
		}
		if !s.sends(t, t.at(t.To)) {
			return fmt.Errorf("it is handed over to node %d, where its source is listed", t.To)
		}
	}
	for i, n := range t.Awaited {
		if !s.nodes.has(n) || i > 0 && n <= t.Awaited[i-1] {
			return fmt.Errorf("awaited node %d", n)
		}
	}
	if len(t.Awaited) > 0 && t.Paused == "" {
		return errors.New("nodes are awaited and nothing is paused")
	}
	return nil
}

func (s *State) checkTokens() error {
	if s.tokens.len() > maxTokens {
		return fmt.Errorf("tokens: %d", s.tokens.len())
	}
	for i, t := range s.tokens.vals {
		if string(t.Hash[:]) != s.tokens.keys[i] || t.Hash == ([32]byte{}) || t.Node != "" && !ValidName(t.Node) || t.Expires.IsZero() {
			return fmt.Errorf("token %d", i)
		}
	}
	return nil
}

func (s *State) checkAuthority() error {
	for i, a := range s.authority.vals {
		if s.authority.keys[i] != 0 || a.valid() != "" {
			return fmt.Errorf("authority: %s", a.valid())
		}
	}
	return nil
}

// validLimits reports whether the limits are one a kind, ascending, and limit
// something.
func validLimits(ls []CautionLimit) bool {
	if len(ls) > maxLimits {
		return false
	}
	for i, l := range ls {
		if l.Kind.seconds() == 0 || l.Limit.IsZero() || l.Limit.Mails > maxPlan || l.Limit.Bytes > maxPlan || i > 0 && l.Kind <= ls[i-1].Kind {
			return false
		}
	}
	return true
}
