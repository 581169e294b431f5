package delivery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"postern/node/queue"
)

// opening is the way from nothing to a session that may send.
type opening struct {
	d      *smtpDialer
	src    netip.Addr
	ehlo   string
	host   host
	policy tlsPolicy
	talk   talk
}

// fault is a hostError of our own diagnosis.
func (o *opening) fault(at stage, enhanced, text string, err error, ours bool) *hostError {
	if err != nil {
		o.talk.note(text + ": " + string(appendClean(nil, []byte(err.Error()))))
	}
	return &hostError{
		Stage: at, Reply: diagnosis(enhanced, text), Ours: ours, Err: err,
		Dialogue: o.talk.String(), Peer: peer{Host: o.host.Name},
	}
}

// open tries one address, and once more in clear text when TLS was offered and
// its handshake failed: opportunistic TLS must not be worse than none (RFC 7435).
func (o *opening) open(ctx context.Context, to netip.AddrPort) (*smtpSession, *hostError) {
	s, err := o.greet(ctx, to, o.policy != tlsNever)
	if err != nil && o.policy == tlsMay && errors.Is(err.Err, errHandshake) && ctx.Err() == nil {
		o.talk.note("again without TLS")
		s, err = o.greet(ctx, to, false)
	}
	return s, err
}

// greet connects, reads the banner, says EHLO and upgrades.
func (o *opening) greet(ctx context.Context, to netip.AddrPort, withTLS bool) (*smtpSession, *hostError) {
	o.talk.note("connect " + o.src.String() + " to " + to.String())
	conn, err := o.d.connect(ctx, o.src, to)
	if err != nil {
		he := o.fault(stageConnect, "4.4.1", "connect to "+to.Addr().String()+": "+describe(err), err, ourFault(err))
		he.Peer.Addr = to
		return nil, he
	}
	s := &smtpSession{d: o.d, conn: conn, talk: o.talk, peer: peer{Host: o.host.Name, Addr: to}}
	s.in.reset(conn)
	stop := s.begin(ctx, o.d.cfg.Timeouts.Open)
	defer stop()
	at, reply, err := s.shake(ctx, o, withTLS)
	if err == nil {
		return s, nil
	}
	if _, ok := errors.AsType[*refusal](err); ok {
		s.farewell()
	}
	conn.Close()
	s.dead = true
	o.talk = s.talk
	if reply.Code == 0 {
		o.talk.note(reply.Text)
	}
	return nil, &hostError{
		Stage: at, Reply: reply, Ours: ourFault(err), Err: err,
		Dialogue: o.talk.String(), Peer: s.peer,
	}
}

// refusal is a whole reply that says no.
type refusal struct{ code int }

func (r *refusal) Error() string { return fmt.Sprintf("refused with %d", r.code) }

// shake brings the session to where MAIL may be said.
func (s *smtpSession) shake(ctx context.Context, o *opening, withTLS bool) (stage, queue.Reply, error) {
	t := o.d.cfg.Timeouts
	p, err := s.reply(t.Greet)
	if err != nil {
		return stageBanner, diagnosis("4.4.2", "waiting for the banner: "+describe(err)), err
	}
	if p.code != 220 {
		return stageBanner, answered(p), &refusal{p.code}
	}
	s.peer.Banner = shorten(p.text, 200)
	if r, err := s.hello(o.ehlo); err != nil {
		return stageEHLO, r, err
	}
	if withTLS && s.ext.startTLS {
		if r, err := s.upgrade(ctx, o); err != nil {
			return stageTLS, r, err
		}
	}
	if o.policy == tlsMust && s.peer.TLS == "" {
		return stageTLS, diagnosis("4.7.29", "host offers no TLS, which is required for it"), errNoTLS
	}
	return 0, queue.Reply{}, nil
}

// answered is a refusal's own reply; one that makes no sense where it was given
// becomes our diagnosis, so that no success code ever stands for a failure.
func answered(p reply) queue.Reply {
	if p.code >= 400 {
		return p.keep()
	}
	return diagnosis("4.5.0", fmt.Sprintf("host gave reply %d where it makes no sense", p.code))
}

// hello says EHLO, or HELO to hosts that do not know it (RFC 5321 §3.2).
func (s *smtpSession) hello(name string) (queue.Reply, error) {
	t := s.d.cfg.Timeouts.Command
	p, err := s.command(t, "EHLO "+name)
	if err != nil {
		return diagnosis("4.4.2", "waiting for the reply to EHLO: "+describe(err)), err
	}
	s.ext = extensions{}
	if p.code == 250 {
		for i := 1; i < len(s.in.ends); i++ {
			s.ext.read(s.in.lineAt(i))
		}
		return queue.Reply{}, nil
	}
	if p.code >= 500 {
		if p, err = s.command(t, "HELO "+name); err != nil {
			return diagnosis("4.4.2", "waiting for the reply to HELO: "+describe(err)), err
		}
		if p.code == 250 {
			return queue.Reply{}, nil
		}
	}
	return answered(p), &refusal{p.code}
}

// farewell says QUIT without waiting for an answer.
func (s *smtpSession) farewell() {
	s.conn.SetWriteDeadline(time.Now().Add(s.d.cfg.Timeouts.Quit))
	s.conn.Write([]byte("QUIT\r\n"))
}

// begin ties the session to ctx and to an overall cap until stop is called.
func (s *smtpSession) begin(ctx context.Context, limit time.Duration) (stop func() bool) {
	s.ctx, s.end = ctx, time.Now().Add(limit)
	if d, ok := ctx.Deadline(); ok && d.Before(s.end) {
		s.end = d
	}
	conn := s.conn // the TCP connection or, later, TLS over it: deadlines are the same
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
}
