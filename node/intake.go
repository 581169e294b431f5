package node

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/bounce"
	"postern/node/delivery"
	"postern/node/submission"
	"postern/tenant"
)

// maxTold bounds how many recipients' reports are remembered, so that the same
// one counts once.
const maxTold = 8192

// prepareIntake makes the intake, if there is to be one.
func (n *Node) prepareIntake(tlsConfig func() *tls.Config, reg prometheus.Registerer) error {
	if len(n.cfg.Intake.Listen) == 0 {
		return nil
	}
	var err error
	n.reports, err = newReports(n.kept, n.cluster.State, n.heard, n.log, reg)
	if err != nil {
		return err
	}
	n.reports.late, n.reports.signed = n.late.Tell, n.listTold.notice
	n.reports.complained = n.late.Complained
	resolvers, err := n.cfg.resolvers()
	if err != nil {
		return err
	}
	n.intake, err = submission.NewIntake(submission.IntakeConfig{
		Hostname: n.cfg.Hostname, Domains: n.cfg.Intake.Domains, Traps: n.cfg.Intake.Traps, State: n.cluster.State, Signer: n.seal.references,
		Reports: n.reports, TXT: delivery.NewLookup(resolvers).TXT, Ready: n.mayGreet, TLS: tlsConfig, Log: n.log, Registerer: reg,
	})
	if err != nil {
		return fmt.Errorf("prepare intake: %w", err)
	}
	return nil
}

// runIntake serves port 25, or waits where there is none.
func (n *Node) runIntake(ctx context.Context) error {
	if n.intake == nil {
		<-ctx.Done()
		return nil
	}
	return n.intake.Run(ctx, n.intakePorts...)
}

// reports takes what the intake read: it counts what is surely a tenant's,
// logs all, and keeps what nobody could attribute.
type reports struct {
	state func() *tenant.State
	heard *heard
	log   *slog.Logger
	kept  *keptReports

	bounces, hard, complaints, lists *prometheus.CounterVec

	// signed takes what a list's operator is proved to have written.
	signed func(*tenant.State, submission.IntakeReport, tenant.AccountID)
	// late tells a message's owner of a report, and gives its account.
	late func(context.Context, submission.IntakeReport) (tenant.AccountID, error)
	// complained tells a message's owner of a complaint.
	complained func(context.Context, submission.IntakeReport) error
	told       *memo
}

func newReports(kept *keptReports, state func() *tenant.State, heard *heard, log *slog.Logger, reg prometheus.Registerer) (*reports, error) {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"tenant"})
	}
	r := &reports{
		state: state, heard: heard, log: log, kept: kept, told: newMemo(maxTold),
		signed:     func(*tenant.State, submission.IntakeReport, tenant.AccountID) {},
		late:       func(_ context.Context, x submission.IntakeReport) (tenant.AccountID, error) { return x.Account, nil },
		complained: func(context.Context, submission.IntakeReport) error { return nil },
		bounces:    counter("postern_late_bounces_total", "Recipients reported as failed after a host had taken the message, each once."),
		hard:       counter("postern_late_hard_bounces_total", "Those of them whose address is gone for good."),
		complaints: counter("postern_complaints_total", "Complaints of recipients, each once."),
		lists: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "postern_list_notices_total",
			Help: "Notices in the name of DNS lists' operators, by the list and whether its operator signed them."}, []string{"list", "proof"}),
	}
	for _, c := range []prometheus.Collector{r.bounces, r.hard, r.complaints, r.lists} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register intake metrics: %w", err)
		}
	}
	return r, nil
}

// Take counts, logs and keeps a report. Only a signature of ours can make
// something count against a tenant: anybody can write a From field.
func (r *reports) Take(ctx context.Context, x submission.IntakeReport) error {
	name, account := "", ""
	st := r.state()
	if x.Kind == bounce.KindBounce && x.Returned {
		// The owner first: it says which account it was, and the sender hears of
		// it even if this node ends now.
		of, err := r.late(ctx, x)
		if err != nil {
			return err
		}
		if x.Account == 0 {
			x.Account = of
		}
	}
	if complains(x) && x.Sure() && !x.Message.IsZero() {
		if err := r.complained(ctx, x); err != nil {
			return err
		}
	}
	if t := st.Tenant(x.Tenant); t != nil {
		name = t.Name
	}
	if a := st.Account(x.Account); a != nil && a.Tenant == x.Tenant {
		account = a.Username
	}
	failed, hard := 0, 0
	sure := x.Sure() && name != ""
	switch {
	case !sure:
		if x.Kind == bounce.KindReply || x.Kind == bounce.KindTrap {
			break // a vacation notice to nobody; spam that is not ours
		}
		if err := r.kept.keep(x.Raw, x.At); err != nil {
			return fmt.Errorf("keep report: %w", err)
		}
	case x.Kind == bounce.KindBounce:
		for _, rc := range x.Rcpts {
			if rc.Action != bounce.Failed || !r.first(x, rc.Addr) {
				continue
			}
			failed++
			if rc.Hard() {
				hard++
			}
		}
		r.bounces.WithLabelValues(name).Add(float64(failed))
		r.hard.WithLabelValues(name).Add(float64(hard))
		if hard > 0 && account != "" {
			r.heard.report(x.Account, tenant.EchoBounce, x)
		}
	case x.Kind == bounce.KindTrap:
		if account != "" {
			r.heard.report(x.Account, tenant.EchoTrap, x)
		}
	case complains(x):
		addr := ""
		if len(x.Rcpts) > 0 {
			addr = x.Rcpts[0].Addr
		}
		if r.first(x, addr) {
			r.complaints.WithLabelValues(name).Inc()
		}
		if account != "" {
			r.heard.report(x.Account, tenant.EchoComplaint, x)
		}
	}
	if x.Kind == bounce.KindList {
		r.lists.WithLabelValues(x.Zone, string(x.Proof)).Inc()
		if x.Proof == submission.ProofSigned {
			of := x.Account
			if !sure || account == "" {
				of = 0
			}
			r.signed(st, x, of)
		}
	}
	level := slog.LevelInfo
	if x.Kind == bounce.KindList || x.Kind == bounce.KindNotice || x.Kind == bounce.KindTrap && sure {
		level = slog.LevelWarn // somebody wants a person to read it
	}
	r.log.Log(context.Background(), level, "report taken", "kind", string(x.Kind), "type", x.Type, "by", string(x.By), "tenant", name,
		"account", account, "msg", messageOf(x), "failed", failed, "hard", hard, "zone", x.Zone, "proof", string(x.Proof), "client", x.Client, "subject", x.Subject)
	return nil
}

// complains reports whether a recipient does not want what it got.
func complains(x submission.IntakeReport) bool {
	return x.Kind == bounce.KindComplaint && x.Type != "not-spam" && x.Type != "auth-failure"
}

func messageOf(x submission.IntakeReport) string {
	if x.Message.IsZero() {
		return ""
	}
	return x.Message.String()
}

// first reports whether nothing was said yet of this kind about the recipient
// of the message: a report that comes twice, or from two programs, counts once.
func (r *reports) first(x submission.IntakeReport, addr string) bool {
	return r.told.first(sha256.Sum256(fmt.Appendf(nil, "%s %d %s %x %d %s", x.Kind, x.Tenant, messageOf(x), x.Transaction, x.Rcpt, strings.ToLower(addr))))
}
