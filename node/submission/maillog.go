package submission

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"postern/node/queue"
	"postern/node/trouble"
	"postern/tenant"
)

// mailLog is the one place that knows how the log of submissions looks: one
// line an event, the same keys everywhere.
type mailLog struct {
	l       *slog.Logger
	dialled *trouble.Log[string] // by node: connections to it
	served  *trouble.Log[string] // by node: connections of it
	// balancers, by address: connections without a PROXY header
	balancers *trouble.Log[netip.Addr]
}

func newMailLog(l *slog.Logger) mailLog {
	return mailLog{l, trouble.New[string](l, slog.LevelWarn, "connection to a node failed", "node"),
		trouble.New[string](l, slog.LevelWarn, "connection of a node failed", "node"),
		trouble.New[netip.Addr](l, slog.LevelWarn, "connection of a balancer without a PROXY header it should have", "client")}
}

func (m mailLog) accepted(t *tenant.Tenant, a *tenant.Account, id string, e *queue.Envelope, o *opening, took time.Duration) {
	// The one line that comes with every message: attributes cost less than pairs.
	m.l.LogAttrs(context.Background(), slog.LevelInfo, "message accepted", slog.String("tenant", t.Name),
		slog.String("account", a.Username), slog.String("id", id), slog.String("from", e.From), slog.Int("rcpts", len(e.Rcpts)),
		slog.Int64("size", e.Size), slog.String("message_id", e.MessageID), slog.String("tls", o.tls), slog.String("ingress", o.ingress), slog.Duration("took", took))
}

// passed is the line of the node that had the client; the owner has its own.
func (m mailLog) passed(t *tenant.Tenant, a *tenant.Account, id, owner string, took time.Duration) {
	m.l.LogAttrs(context.Background(), slog.LevelInfo, "message passed to owner", slog.String("tenant", t.Name),
		slog.String("account", a.Username), slog.String("id", id), slog.String("node", owner), slog.Duration("took", took))
}

func (m mailLog) answerLost(t *tenant.Tenant, transaction string, found string, err error) {
	m.l.Warn("answer lost, owner asked", "tenant", t.Name, "transaction", transaction, "found", found, "err", err)
}

// peerFailed is said of an owner that cannot be reached, by each message for it.
func (m mailLog) peerFailed(node string, err error) { m.dialled.Bad(node, "err", err) }

// peerAnswers is what an owner did.
func (m mailLog) peerAnswers(node string) { m.dialled.Well(node) }

// peerMisspoke is said of a node whose words cannot be understood.
func (m mailLog) peerMisspoke(node string, err error) { m.served.Bad(node, "err", err) }

func (m mailLog) refused(t, a string, client netip.Addr, verb string, r *reply) {
	m.l.Info("refused", "tenant", t, "account", a, "client", client, "command", verb,
		"code", r.code, "enhanced", r.enhanced(), "text", r.text)
}

func (m mailLog) loggedIn(t *tenant.Tenant, a *tenant.Account, client netip.Addr, mechanism string) {
	m.l.Info("login", "tenant", t.Name, "account", a.Username, "client", client, "mechanism", mechanism)
}

func (m mailLog) loginFailed(username string, client netip.Addr, r *reply) {
	m.l.Info("login failed", "account", username, "client", client, "code", r.code)
}

func (m mailLog) handshakeFailed(client netip.Addr, err error) {
	m.l.Info("TLS handshake failed", "client", client, "err", err)
}

// notIntroduced is said of a balancer, by each connection.
func (m mailLog) notIntroduced(balancer netip.Addr, err error) {
	m.balancers.Bad(balancer, "err", err)
}

func (m mailLog) acceptFailed(addr string, err error) {
	m.l.Warn("accept failed", "listener", addr, "err", err)
}

func (m mailLog) internal(at stage, err error, id string) {
	m.l.Error("message not stored", "stage", int(at), "err", err, "id", id)
}

func (m mailLog) peerPanicked(node string, what any, stack []byte) {
	m.l.Error("connection panicked", "node", node, "panic", what, "stack", string(stack))
}

func (m mailLog) panicked(client netip.Addr, what any, stack []byte) {
	m.l.Error("connection panicked", "client", client, "panic", what, "stack", string(stack))
}

// Printf and Println take what the command engine has to say: panics that it
// caught, and what connections ended with, which the wire knows better.
func (m mailLog) Printf(format string, v ...any) {
	if strings.HasPrefix(format, "panic") {
		m.l.Error("connection panicked", "text", fmt.Sprintf(format, v...))
		return
	}
	m.l.Debug("engine", "text", fmt.Sprintf(format, v...))
}

func (m mailLog) Println(v ...any) {
	m.l.Debug("engine", "text", strings.TrimSpace(fmt.Sprintln(v...)))
}
