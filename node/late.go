package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"postern/cluster"
	"postern/node/bounce"
	"postern/node/delivery"
	"postern/node/queue"
	"postern/node/submission"
	"postern/tenant"
)

const (
	lateWait   = 8 * time.Second // to tell an owner, and for it to put the notice
	lateAtOnce = 16              // other nodes' words taken at a time
	maxLateTo  = 50              // recipients of one report that are told
)

// late brings what came back of a message to the owner of its tenant, which has
// its envelope: the sender hears of recipients that failed after their host had
// taken the message. A report that comes in again makes no second notice, within
// what one process remembers.
type late struct {
	name     string
	hostname string
	state    func() *tenant.State
	queue    *queue.Store
	dial     func(context.Context, string) (net.Conn, error)
	listener net.Listener // of other nodes; nil: there are none
	log      *slog.Logger
	sent     *prometheus.CounterVec

	told *memo
}

func (n *Node) prepareLate(reg prometheus.Registerer) error {
	n.late = newLate(n.cfg.Name, n.cfg.Hostname, n.cluster.State, n.queue, n.log)
	if n.peered() {
		n.late.dial, n.late.listener = n.dialer(cluster.ProtoLate), n.cluster.Listen(cluster.ProtoLate)
	}
	if err := reg.Register(n.late.sent); err != nil {
		return fmt.Errorf("register metrics of late bounces: %w", err)
	}
	return nil
}

func newLate(name, hostname string, state func() *tenant.State, q *queue.Store, log *slog.Logger) *late {
	return &late{name: name, hostname: hostname, state: state, queue: q, log: log, told: newMemo(maxTold),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postern_late_notices_total",
			Help: "Notices to senders about recipients that failed after a host had taken the message."}, []string{"tenant"})}
}

// lateReport is what one node tells another of a report.
type lateReport struct {
	Tenant  tenant.ID        `json:"tenant"`
	Epoch   uint64           `json:"epoch"`
	Seq     uint64           `json:"seq"`
	Account tenant.AccountID `json:"account"` // by the signed reference; 0 unknown
	At      time.Time        `json:"at"`
	Rcpts   []lateRcpt       `json:"rcpts"`
	// Complained says that the recipient with the index To does not want the mail,
	// -1 when the message tells; a program that does not know the word does nothing.
	Complained bool `json:"complained,omitempty"`
	To         int  `json:"to,omitempty"`
}

type lateRcpt struct {
	Rcpt   int    `json:"rcpt"` // index; -1 unknown
	Addr   string `json:"addr"`
	Status string `json:"status"`
	Text   string `json:"text"`
	Class  string `json:"class,omitempty"` // of one that is gone for good
}

// lateAnswer is the owner's word.
type lateAnswer struct {
	Account tenant.AccountID `json:"account"` // that sent the message; 0 unknown
	Error   string           `json:"error"`
}

// Tell tells the owner of a report that came to the return path of a message, and
// gives the account that sent it, 0 when nobody knows. An error: come again.
func (l *late) Tell(ctx context.Context, x submission.IntakeReport) (tenant.AccountID, error) {
	r := lateReport{Tenant: x.Message.Tenant, Epoch: x.Message.Epoch, Seq: x.Message.Seq, Account: x.Account, At: x.At.UTC()}
	for _, rc := range x.Rcpts {
		if rc.Action != bounce.Failed || len(r.Rcpts) == maxLateTo {
			continue
		}
		one := lateRcpt{Rcpt: x.Rcpt, Addr: rc.Addr, Status: rc.Status, Text: rc.Text}
		if rc.Hard() {
			one.Class = rc.Verdict.Class
		}
		r.Rcpts = append(r.Rcpts, one)
	}
	if len(r.Rcpts) == 0 {
		return x.Account, nil
	}
	return l.tell(ctx, r)
}

// Complained tells the owner that a message's recipient does not want mail of
// this kind. An error: come again.
func (l *late) Complained(ctx context.Context, x submission.IntakeReport) error {
	_, err := l.tell(ctx, lateReport{Tenant: x.Message.Tenant, Epoch: x.Message.Epoch, Seq: x.Message.Seq, Account: x.Account, At: x.At.UTC(),
		Rcpts: []lateRcpt{}, Complained: true, To: x.Rcpt})
	return err
}

// tell brings a report to the owner, which may be this node.
func (l *late) tell(ctx context.Context, r lateReport) (tenant.AccountID, error) {
	st := l.state()
	t := st.Tenant(r.Tenant)
	if t == nil {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lateWait)
	defer cancel()
	owner := nodeName(st, t.Owner)
	if owner == l.name {
		return l.put(ctx, r)
	}
	if l.dial == nil || owner == "" {
		return 0, fmt.Errorf("tell late bounce: tenant %q has no owner now", t.Name)
	}
	a, err := l.ask(ctx, owner, r)
	if err != nil {
		return 0, fmt.Errorf("tell node %q of late bounce: %w", owner, err)
	}
	return a, nil
}

// ask tells another node.
func (l *late) ask(ctx context.Context, owner string, r lateReport) (tenant.AccountID, error) {
	c, err := l.dial(ctx, owner)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	end, _ := ctx.Deadline()
	_ = c.SetDeadline(end)
	if err := writeLate(c, r); err != nil {
		return 0, err
	}
	var a lateAnswer
	if err := readLate(c, &a); err != nil {
		return 0, err
	}
	if a.Error != "" {
		return 0, errors.New(a.Error)
	}
	return a.Account, nil
}

// Run takes other nodes' words until ctx ends.
func (l *late) Run(ctx context.Context) error {
	if l.listener == nil {
		<-ctx.Done()
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = l.listener.Close() })
	defer stop()
	var g errgroup.Group
	g.SetLimit(lateAtOnce)
	for {
		c, err := l.listener.Accept()
		if err != nil {
			_ = g.Wait()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("listen for late bounces: %w", err)
		}
		g.Go(func() error {
			l.serve(ctx, c)
			return nil
		})
	}
}

func (l *late) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, lateWait)
	defer cancel()
	end, _ := ctx.Deadline()
	_ = c.SetDeadline(end)
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var r lateReport
	if err := readLate(c, &r); err != nil {
		l.log.Warn("word of a late bounce not read", "err", err)
		return
	}
	var a lateAnswer
	var err error
	if a.Account, err = l.put(ctx, r); err != nil {
		a.Error = err.Error()
	}
	if err := writeLate(c, a); err != nil {
		l.log.Warn("word of a late bounce not answered", "err", err)
	}
}

// put writes the notice into the tenant's log, where this node owns it.
func (l *late) put(ctx context.Context, r lateReport) (tenant.AccountID, error) {
	st := l.state()
	t := st.Tenant(r.Tenant)
	if t == nil {
		return 0, nil
	}
	if nodeName(st, t.Owner) != l.name {
		return 0, fmt.Errorf("tenant %q is changing its owner", t.Name)
	}
	about, err := l.about(r)
	if err != nil {
		return 0, err
	}
	account := about.Account
	if about.Envelope != nil {
		account = about.Envelope.Account
	}
	if err := l.suppress(ctx, r, about); err != nil {
		return 0, err
	}
	about.Failed = l.news(about)
	if len(about.Failed) == 0 {
		return account, nil
	}
	n, err := delivery.LateNotice(st, l.hostname, about)
	if err == nil && n != nil {
		if err = l.store(ctx, r.Tenant, n); err == nil {
			l.sent.WithLabelValues(t.Name).Inc()
		}
	}
	if err != nil {
		l.told.forget(lateKeys(about)...)
		return 0, fmt.Errorf("put notice of late bounce: %w", err)
	}
	return account, nil
}

// about gathers what is known of the message.
func (l *late) about(r lateReport) (delivery.Late, error) {
	x := delivery.Late{ID: queue.ID{Tenant: r.Tenant, Epoch: r.Epoch, Seq: r.Seq}, Account: r.Account, At: time.Now(), Ended: map[int]queue.Result{}}
	for _, rc := range r.Rcpts[:min(len(r.Rcpts), maxLateTo)] {
		x.Failed = append(x.Failed, delivery.LateRcpt{Rcpt: max(rc.Rcpt, -1), Addr: rc.Addr, Status: rc.Status, Text: rc.Text, Class: rc.Class})
	}
	trace, err := l.queue.Trace(x.ID)
	if errors.Is(err, queue.ErrNotFound) {
		return x, nil // another node had it, or it is too long ago
	} else if err != nil {
		return x, err
	}
	if x.Envelope = trace.Envelope; x.Envelope == nil {
		return x, nil
	}
	for _, o := range trace.Outcomes {
		for i, rc := range x.Envelope.Rcpts {
			if rc.Addr == o.Rcpt {
				x.Ended[i] = o.Result
			}
		}
	}
	return x, nil
}

// news leaves out whom the sender was told of.
func (l *late) news(x delivery.Late) (all []delivery.LateRcpt) {
	for _, f := range x.Match() {
		if l.told.first(lateKey(x.ID, f)) {
			all = append(all, f)
		}
	}
	return all
}

func lateKey(id queue.ID, f delivery.LateRcpt) [sha256.Size]byte {
	if f.Rcpt < 0 {
		f.Addr = "" // one for all that are not of the message
	}
	return sha256.Sum256(fmt.Appendf(nil, "%s %d %s", id, f.Rcpt, strings.ToLower(f.Addr)))
}

func lateKeys(x delivery.Late) (all [][sha256.Size]byte) {
	for _, f := range x.Failed {
		all = append(all, lateKey(x.ID, f))
	}
	return all
}

func (l *late) store(ctx context.Context, t tenant.ID, n *queue.Notice) error {
	w, err := l.queue.NewMessage(t)
	if err != nil {
		return err
	}
	defer w.Discard()
	if _, err := w.Write(n.Body); err != nil {
		return err
	}
	_, err = w.Put(ctx, nil, &n.Envelope, nil)
	return err
}
