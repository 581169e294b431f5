package cluster

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"time"

	"postern/tenant"
)

const verbSign = "sign"

// renewalRetry is the pause after a renewal that failed.
const renewalRetry = time.Minute

// signRequest asks for a new certificate for the asker's name and key.
type signRequest struct {
	Request []byte `json:"request"` // PKCS #10
}

type signAnswer struct {
	Chain [][]byte `json:"chain"`
}

// due reports whether a certificate is to be renewed: less than a third of its
// life is left, or it was made before the state knew the node, so that nodes
// that lag could take it for an old one.
func (p *port) due(id *identity) bool {
	whole := id.leaf.NotAfter.Sub(id.leaf.NotBefore.Add(backdate))
	if id.leaf.NotAfter.Sub(p.now()) < whole/3 {
		return true
	}
	n := p.state().NodeByName(p.name)
	return id.since == 0 && n != nil && n.Key == id.key
}

// keepCertificate renews in time, until ctx ends.
func (p *port) keepCertificate(ctx context.Context) {
	pause := p.pace.sweep // the first look comes early: a start may be the last chance
	for sleep(ctx, pause) {
		id := p.id.Load()
		if pause = p.pace.renewal; id.since == 0 {
			pause = p.pace.sweep // until the state knows the founding node
		}
		if !p.due(id) {
			continue
		}
		if err := p.renew(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("certificate not renewed", "node", p.name, "until", p.id.Load().leaf.NotAfter, "err", err)
			pause = min(p.pace.renewal, renewalRetry)
		}
	}
}

// renew gets a new certificate for the same key and uses it from the next
// connection on. It asks the other nodes; when none can be reached, as in a
// cluster of one or after a sleep longer than a certificate's life, it signs
// itself with the authority that its own state holds.
func (p *port) renew(ctx context.Context) error {
	p.renewing.Lock()
	defer p.renewing.Unlock()
	old := p.id.Load()
	request, err := newRequest(old.tls.PrivateKey.(*ecdsa.PrivateKey), p.name)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	a, err := p.askSign(ctx, request)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	if len(a.Chain) != 2 || string(a.Chain[1]) != string(old.tls.Certificate[1]) {
		return errors.New("renew certificate: the answer is of another authority")
	}
	next, err := old.with(a.Chain[0])
	if err != nil {
		return fmt.Errorf("renew certificate: check the answer: %w", err)
	}
	if err := p.pki.save(next); err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	p.id.Store(next)
	p.log.Info("certificate renewed", "node", p.name, "until", next.leaf.NotAfter)
	return nil
}

// askSign asks all others in turn, then this node itself.
func (p *port) askSign(ctx context.Context, request []byte) (signAnswer, error) {
	var a signAnswer
	var problems []error
	for _, node := range p.book.names(p.state(), p.name) {
		if err := p.call(ctx, node, verbSign, signRequest{request}, &a); err == nil {
			return a, nil
		} else {
			problems = append(problems, err)
		}
		if ctx.Err() != nil {
			return a, context.Cause(ctx)
		}
	}
	for _, err := range problems {
		var refused *tenant.Refused
		if errors.As(err, &refused) {
			return a, errors.Join(problems...)
		}
	}
	err := p.call(ctx, p.name, verbSign, signRequest{request}, &a)
	if err == nil {
		return a, nil
	}
	return a, errors.Join(append(problems, err)...)
}

// answerSign signs for the asker's own name and registered key, and for
// nothing else. Its noes are refusals.
func (p *port) answerSign(ctx context.Context, from string, req []byte) ([]byte, error) {
	return answering(func(_ context.Context, from string, q signRequest) (signAnswer, error) {
		public, key, err := readRequest(q.Request)
		if err != nil {
			return signAnswer{}, &tenant.Refused{Reason: err.Error()}
		}
		s := p.state()
		n := s.NodeByName(from)
		if n == nil || n.Key != key {
			return signAnswer{}, &tenant.Refused{Reason: fmt.Sprintf("node %s is not registered with this key", from)}
		}
		ca, err := p.authority(s)
		if err != nil {
			return signAnswer{}, err
		}
		leaf, err := ca.sign(public, roleNode, from, life{now: p.now(), span: p.pace.span, since: s.Index()})
		if err != nil {
			return signAnswer{}, err
		}
		p.log.Info("certificate signed", "node", from)
		return signAnswer{Chain: [][]byte{leaf, ca.cert.Raw}}, nil
	})(ctx, from, req)
}

// with is the identity with another certificate for its key and name.
func (id *identity) with(leaf []byte) (*identity, error) {
	next, err := assemble(id.tls.PrivateKey.(*ecdsa.PrivateKey), [][]byte{leaf, id.tls.Certificate[1]})
	if err != nil {
		return nil, err
	}
	if next.name != id.name {
		return nil, fmt.Errorf("it is for node %s", next.name)
	}
	return next, nil
}
