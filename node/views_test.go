package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/node/admin"
	"postern/node/queue"
	"postern/tenant"
)

// await polls until ok, at most a minute.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

// live is a whole node on loopback with its operator's client.
func live(t *testing.T) (cfg Config, c *admin.Client) {
	t.Helper()
	dir := t.TempDir()
	cfg = DefaultConfig()
	cfg.Name, cfg.Dir, cfg.Hostname, cfg.Bootstrap = "n1", dir, "smtp.relay.test", true
	cfg.Submission, cfg.SubmissionTLS = []string{unused(t)}, nil
	cfg.Admin, cfg.Metrics, cfg.AdminTLS = unused(t), unused(t), false
	cfg.Resolvers = []string{"127.0.0.1:1"}
	cfg.OperatorTokenFile, cfg.SecretKeyFile = filepath.Join(dir, "operator.token"), filepath.Join(dir, "secret.key")
	n, err := New(cfg, Options{Log: slog.New(slog.DiscardHandler), Version: "test", Fatal: func(err error) { panic(err) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Error("the node goes on")
		}
	})
	token, err := os.ReadFile(cfg.OperatorTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = admin.NewClient(cfg.Admin, string(token)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	await(t, "the node", func() bool { s, err := c.Status(t.Context()); return err == nil && s.Ready })
	return cfg, c
}

// unused finds a TCP port that stays free while a node is down: below those that
// systems give to outgoing connections, and marked for the test's duration by
// its UDP twin, so that no other test takes it.
func unused(t *testing.T) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))
		mark, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			mark.Close()
			continue
		}
		l.Close()
		t.Cleanup(func() { mark.Close() })
		return addr
	}
	t.Fatal("no free port")
	return ""
}

// What the API shows of a real node's mail: accepted, tried, flushed, ended.
func TestViewsOfALiveNode(t *testing.T) {
	cfg, c := live(t)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.AddSource(ctx, admin.NewSource{Node: "n1", Addr: "127.77.9.11", EHLO: "out-1.relay.test"})
	must(err)
	_, err = c.AddTenant(ctx, admin.NewTenant{Name: "acme", Hostname: "acme.relay.test", Home: admin.Place{Node: "n1", Source: "127.77.9.11"}})
	must(err)
	_, err = c.SetDomain(ctx, "acme", "acme.example", admin.SetDomain{Selector: "s1", Key: string(pemOf(t, "PRIVATE KEY", newRSA(t, 1024)))})
	must(err)
	_, err = c.AddAccount(ctx, admin.NewAccount{Tenant: "acme", Username: "info@acme.example", Networks: []string{"127.0.0.0/8"},
		Plan: admin.Plan{MailsPerMonth: 100}})
	must(err)
	_, err = c.SetRoute(ctx, "*", admin.SetRoute{Host: "127.0.0.1", Port: 1})
	must(err)
	await(t, "a 250", func() bool {
		return smtp.SendMail(cfg.Submission[0], nil, "info@acme.example", []string{"bob@dest.test", "eve@other.test"},
			[]byte("From: info@acme.example\r\nTo: bob@dest.test\r\nSubject: x\r\n\r\nhello\r\n")) == nil
	})

	var m admin.Message
	await(t, "the first attempt", func() bool { // the other waits: its host rests

		p, err := c.Queue(ctx, admin.Match{Tenant: "acme"}, admin.List{})
		must(err)
		if len(p.Items) != 1 {
			return false
		}
		m = p.Items[0]
		return len(m.Items) == 2 && (m.Items[0].Last != nil || m.Items[1].Last != nil)
	})
	if m.Tenant != "acme" || m.Account != "info@acme.example" || m.From != "info@acme.example" || m.Class != "transactional" || m.Kind != "submitted" ||
		m.Size < 50 || m.Arrived.IsZero() || !m.Expires.After(m.Arrived) {
		t.Errorf("%+v", m)
	}
	tr, err := c.Trace(ctx, m.ID)
	must(err)
	if tr.Ended || len(tr.Attempts) == 0 || tr.Attempts[0].Source != "127.77.9.11" || tr.Attempts[0].EHLO != "out-1.relay.test" || tr.Attempts[0].Dialogue == "" ||
		len(tr.Attempts[0].Outcomes) != 1 || tr.Attempts[0].Outcomes[0].Result != "deferred" || !strings.Contains(tr.Attempts[0].Outcomes[0].Rcpt, "@") {
		t.Errorf("%+v", tr)
	}
	if p, err := c.Queue(ctx, admin.Match{Domain: "nowhere.test"}, admin.List{}); err != nil || len(p.Items) != 0 {
		t.Errorf("%+v %v", p, err)
	}
	tn, err := c.Tenant(ctx, "acme")
	must(err)
	if tn.Queued == nil || *tn.Queued != 2 {
		t.Errorf("%+v", tn)
	}
	us, err := c.Usage(ctx, "", "info@acme.example", admin.List{})
	must(err)
	if len(us.Items) == 0 || us.Items[0].Mails != 2 || us.Items[0].Bytes == 0 || us.Items[0].MailsLimit != 100 {
		t.Errorf("%+v", us)
	}
	if d, err := c.Flush(ctx, admin.Match{Domain: "dest.test"}); err != nil || d.Count != 1 {
		t.Errorf("%+v %v", d, err)
	}
	await(t, "the message to be free", func() bool {
		err := c.Cancel(ctx, m.ID)
		var p *admin.Problem
		if errors.As(err, &p) && p.Status == http.StatusConflict {
			return false // an attempt runs
		}
		must(err)
		return true
	})
	if tr, err = c.Trace(ctx, m.ID); err != nil || !tr.Ended || len(tr.Outcomes) != 2 || tr.Outcomes[0].Result != "cancelled" {
		t.Errorf("%+v %v", tr, err)
	}
	if d, err := c.Purge(ctx, admin.Match{}); err != nil || d.Count != 0 {
		t.Errorf("%+v %v", d, err)
	}
	for _, id := range []string{"nonsense", "9-9-9", "1-0-0", strings.Repeat("9", 100)} {
		var p *admin.Problem
		if _, err := c.Message(ctx, id); !errors.As(err, &p) || p.Status != 404 {
			t.Errorf("%q: %v", id, err)
		}
		if err := c.Cancel(ctx, id); !errors.As(err, &p) || p.Status != 404 {
			t.Errorf("%q: %v", id, err)
		}
	}
	checkMissingSource(t, c)
	checkMetrics(t, cfg.Metrics)
}

// An own source that is not on the machine is told, with its mend.
func checkMissingSource(t *testing.T, c *admin.Client) {
	t.Helper()
	if _, err := c.AddSource(t.Context(), admin.NewSource{Node: "n1", Addr: "192.0.2.44", EHLO: "out-4.relay.test"}); err != nil {
		t.Fatal(err)
	}
	s, err := c.Status(t.Context())
	if err != nil || !s.Ready || len(s.Reasons) != 1 || !strings.Contains(s.Reasons[0].Text, "192.0.2.44") || s.Reasons[0].Mend == "" {
		t.Errorf("%+v %v", s, err)
	}
}

func checkMetrics(t *testing.T, addr string) {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://%s/metrics", addr))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || strings.Contains(string(text), "dest.test") {
		t.Errorf("%v\n%s", err, text)
	}
	for _, want := range []string{`postern_queued{tenant="acme"} 0`, `postern_ready 1`, `postern_sources_missing 1`, `postern_build_info{version="test"} 1`,
		`postern_queue_full 0`, `postern_backup_timestamp_seconds 0`, `postern_notices_given_up_total 0`} {
		if !strings.Contains(string(text), "\n"+want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestQueueWords(t *testing.T) {
	for r, want := range map[queue.Result]string{queue.Delivered: "delivered", queue.Deferred: "deferred", queue.Bounced: "bounced",
		queue.Expired: "expired", queue.Cancelled: "cancelled"} {
		if got := resultName(r); got != want {
			t.Errorf("%d: %s", r, got)
		}
	}
	if kindName(queue.Report) != "report" || kindName(queue.Submitted) != "submitted" {
		t.Error("kinds")
	}
	if !errors.Is(queueError(queue.ErrNotFound), admin.ErrNotFound) || !errors.Is(queueError(queue.ErrLeased), admin.ErrBusy) || queueError(nil) != nil {
		t.Error("errors")
	}
	// A recipient that is no longer kept leaves a gap, not a fault.
	e := &queue.Envelope{Rcpts: []queue.Rcpt{{Addr: "a@b"}}}
	if rcptOf(e, 0) != "a@b" || rcptOf(e, 1) != "" || rcptOf(e, -1) != "" || rcptOf(nil, 0) != "" {
		t.Error("recipients")
	}
	v := viewTrace(tenant.New(), queue.Trace{Summary: queue.Summary{ID: queue.ID{Tenant: 7, Epoch: 1, Seq: 1}}, Ended: true})
	if v.TenantID != 7 || v.Tenant != "" || v.Items == nil || v.Attempts == nil {
		t.Errorf("%+v", v)
	}
	if !onMachine(netip.MustParseAddr("127.77.1.1")) || onMachine(netip.MustParseAddr("192.0.2.1")) {
		t.Error("addresses of the machine")
	}
}
