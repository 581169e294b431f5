package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"postern/cluster"
	"postern/node/admin"
	"postern/node/report"
	"postern/node/trouble"
	"postern/tenant"
)

const (
	noticeEvery  = time.Second
	noticeBatch  = 16 // sent before their outcome is told
	noticeAtOnce = 4
)

// notifier runs on every node and sends on the one that leads: what waits in the
// state's outbox, by mail and by webhook. Each outcome is told to the state, so a
// new leader goes on where the old one was; what that had sent and not yet told
// goes out twice, under the same Message-ID and Idempotency-Key.
type notifier struct {
	name     string
	hostname string
	cluster  *cluster.Cluster
	seal     *sealer
	log      *slog.Logger
	failed   *trouble.Log[string] // by way
	hook     *http.Client
	gaveUp   prometheus.Counter
}

func newNotifier(name, hostname string, c *cluster.Cluster, seal *sealer, log *slog.Logger) *notifier {
	return &notifier{name: name, hostname: hostname, cluster: c, seal: seal, log: log, hook: report.NewHookClient(),
		failed: trouble.New[string](log, slog.LevelWarn, "notice not taken, trying again", "way"),
		gaveUp: prometheus.NewCounter(prometheus.CounterOpts{Name: "postern_notices_given_up_total",
			Help: "Notices that this node, while it led, tried for the last time in vain."})}
}

// Run sends until ctx ends. Mail and webhook each go their own way: one that
// hangs does not hold up the other.
func (n *notifier) Run(ctx context.Context) error {
	defer n.hook.CloseIdleConnections()
	var ways sync.WaitGroup
	for _, mail := range []bool{true, false} {
		ways.Go(func() { n.run(ctx, mail) })
	}
	ways.Wait()
	return nil
}

func (n *notifier) run(ctx context.Context, mail bool) {
	pause := time.NewTimer(untilBeat(noticeEvery))
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		pause.Reset(untilBeat(noticeEvery))
		if !n.cluster.Leads() {
			continue
		}
		if err := n.step(ctx, mail); err != nil && ctx.Err() == nil {
			n.log.Warn("outcome of notices not told, trying again", "err", err)
		}
	}
}

// step sends what is due and tells what became of it.
func (n *notifier) step(ctx context.Context, mail bool) error {
	st := n.cluster.State()
	set := st.Notices()
	if set == nil {
		return nil
	}
	var due []*tenant.Notice
	for x := range st.Outbox() {
		if (x.To != "") == mail && !time.Now().Before(x.Due()) && len(due) < noticeBatch {
			due = append(due, x)
		}
	}
	if len(due) == 0 {
		return nil
	}
	results := make([]tenant.NoticeResult, len(due))
	var g errgroup.Group
	g.SetLimit(noticeAtOnce)
	for i, x := range due {
		g.Go(func() error {
			results[i] = n.send(ctx, st, set, x)
			return nil
		})
	}
	_ = g.Wait() // each has its result
	if ctx.Err() != nil {
		return ctx.Err() // cut off is no outcome: the next leader tries
	}
	_, after, err := n.cluster.Propose(ctx, tenant.RequestID{}, tenant.Notified{Results: results})
	if err != nil {
		return fmt.Errorf("tell outcome of notices: %w", err)
	}
	n.gaveUp.Add(float64(gone(after, results)))
	return nil
}

// gone counts the notices that were not taken and wait no more.
func gone(after *tenant.State, results []tenant.NoticeResult) (n int) {
	waits := map[uint64]bool{}
	for x := range after.Outbox() {
		waits[x.ID] = true
	}
	for _, r := range results {
		if r.Error != "" && !waits[r.ID] {
			n++
		}
	}
	return n
}

// send tries one notice.
func (n *notifier) send(ctx context.Context, st *tenant.State, set *tenant.Notices, x *tenant.Notice) tenant.NoticeResult {
	way, err := "webhook", error(nil)
	if x.To == "" {
		err = n.post(ctx, st, set, x)
	} else {
		way, err = "mail", n.mail(ctx, st, set, x)
	}
	if err == nil {
		n.failed.Well(way)
		return tenant.NoticeResult{ID: x.ID}
	}
	n.failed.Bad(way, "err", err)
	text := err.Error()
	return tenant.NoticeResult{ID: x.ID, Error: text[:min(len(text), 400)]}
}

func (n *notifier) mail(ctx context.Context, st *tenant.State, set *tenant.Notices, x *tenant.Notice) error {
	host := &report.Smarthost{Addr: set.Smarthost, Hostname: n.hostname, From: set.From, User: set.User, Plain: set.Plain}
	if set.User != "" {
		password, err := n.seal.openBytes(admin.SealPassword, set.SealedPassword)
		if err != nil {
			return err
		}
		host.Password = string(password)
	}
	return host.Send(ctx, x.To, report.Notice(st, x))
}

func (n *notifier) post(ctx context.Context, st *tenant.State, set *tenant.Notices, x *tenant.Notice) error {
	secret, err := n.seal.openBytes(admin.SealSecret, set.SealedSecret)
	if err != nil {
		return err
	}
	id, body, err := report.Webhook(st, x)
	if err != nil {
		return err
	}
	hook := &report.Hook{URL: set.Webhook, Secret: secret, Client: n.hook}
	return hook.Post(ctx, id, body, time.Now())
}
