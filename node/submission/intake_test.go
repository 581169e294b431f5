package submission

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/node/bounce"
	"postern/node/queue"
	"postern/tenant"
)

const tSecret = "a secret of thirty-two octets ..."

// intakeRig is a real intake over real state.
type intakeRig struct {
	*rig
	in     *Intake
	signer *bounce.Signer
	addr   string
	stop   func()

	mu    sync.Mutex
	took  []IntakeReport
	fails error
}

func (r *intakeRig) Take(_ context.Context, x IntakeReport) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails != nil {
		return r.fails
	}
	x.Raw = bytes.Clone(x.Raw)
	r.took = append(r.took, x)
	return nil
}

func (r *intakeRig) reports() []IntakeReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]IntakeReport(nil), r.took...)
}

func newIntakeRig(t testing.TB, change func(*IntakeConfig)) *intakeRig {
	t.Helper()
	r := &intakeRig{rig: &rig{t: t, node: tNode, pass: map[string]string{}}}
	r.lead = r.rig
	r.world()
	var err error
	if r.signer, err = bounce.NewSigner([]byte(tSecret)); err != nil {
		t.Fatal(err)
	}
	cert, pool := testCertificate(t)
	r.ca = pool
	cfg := IntakeConfig{
		Hostname: "in-1.relay.test", Domains: []string{"Bounces.Relay.test"}, State: r.current, Signer: r.signer, Reports: r,
		TLS: func() *tls.Config {
			return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		},
		Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	}
	if change != nil {
		change(&cfg)
	}
	if r.in, err = NewIntake(cfg); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.in.Run(ctx, l) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func (r *intakeRig) dial() *client {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	r.t.Cleanup(func() { c.Close() })
	k := newClient(r.t, c)
	k.expect("220 in-1.relay.test", "greeting")
	return k
}

// bring delivers a report.
func (r *intakeRig) bring(to, text string) IntakeReport {
	r.t.Helper()
	c, before := r.dial(), len(r.reports())
	c.cmd("EHLO mx.far.test", "250")
	c.cmd("MAIL FROM:<>", "250 2.1.0")
	c.cmd("RCPT TO:<"+to+">", "250 2.1.5")
	c.cmd("DATA", "354")
	c.send(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n.\r\n")
	c.expect("250 2.0.0", "report")
	c.cmd("QUIT", "221")
	all := r.reports()
	if len(all) != before+1 {
		r.t.Fatalf("%d reports, %d before", len(all), before)
	}
	return all[before]
}

func dsn(original string) string {
	return `From: MAILER-DAEMON@mx.far.test
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.far.test

Final-Recipient: rfc822; anna@far.test
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 user unknown

--b
Content-Type: text/rfc822-headers

` + original + `
--b--`
}

func TestIntakeTakesOnlyItsOwn(t *testing.T) {
	r := newIntakeRig(t, nil)
	shop := r.current().TenantByName("shop").ID
	ours, _ := r.signer.Local(bounce.ReturnPath{Tenant: shop, Epoch: 1, Seq: 7, Rcpt: 2})
	others, err := bounce.NewSigner([]byte("another cluster's secret of 32 octets"))
	if err != nil {
		t.Fatal(err)
	}
	forged, _ := others.Local(bounce.ReturnPath{Tenant: shop, Epoch: 1, Seq: 7})
	c := r.dial()
	c.cmd("EHLO x.test", "250")
	c.cmd("RCPT TO:<abuse@in-1.relay.test>", "503 5.5.1")
	for _, x := range []struct{ to, want string }{
		{"<abuse@in-1.relay.test>", "250"},
		{"<ABUSE@bounces.relay.TEST>", "250"},
		{"<postmaster>", "250"},
		{"<fbl@bounces.relay.test>", "250"},
		{"<bounces@in-1.relay.test>", "250"},
		{"<" + ours + "@bounces.relay.test>", "250"},
		{"<" + strings.ToUpper(ours) + "@bounces.shop.test>", "250"},
		{"<" + ours + "@a.b.shop.test>", "250"},
		{"<" + ours + "@bounces.other.test>", "550 5.1.1"}, // another tenant's subdomain
		{"<" + ours + "@shop.test>", "550 5.7.1"},          // the tenant's own mailboxes are not here
		{"<" + ours + "@far.test>", "550 5.7.1"},
		{"<" + forged + "@bounces.relay.test>", "550 5.1.1"},
		{"<" + forged + "@bounces.shop.test>", "550 5.1.1"},
		{"<somebody@in-1.relay.test>", "550 5.1.1"},
		{"<somebody@bounces.shop.test>", "550 5.1.1"},
		{"<victim@far.test>", "550 5.7.1"},
		{"<abuse@far.test>", "550 5.7.1"},
		{"<abuse@relay.test>", "550 5.7.1"},
		{"<victim%far.test@in-1.relay.test>", "550 5.1.1"},
		{`<"abuse@far.test"@in-1.relay.test>`, "550 5.1.1"},
		{"<@in-1.relay.test:victim@far.test>", "501 5.1.3"},
		{"<abuse@[127.0.0.1]>", "550 5.7.1"},
		{"<>", "501 5.1.3"},
		{"victim@far.test", "501 5.1.3"},
		{"<abuse@in-1.relay.test> NOTIFY=NEVER", "555 5.5.4"},
	} {
		c := r.dial()
		c.cmd("HELO x.test", "250")
		c.cmd("MAIL FROM:<anybody@elsewhere.test>", "250")
		c.cmd("RCPT TO:"+x.to, x.want)
		if x.want != "250" {
			c.cmd("DATA", "503 5.5.1")
		} else {
			c.cmd("RCPT TO:<abuse@in-1.relay.test>", "452 4.5.3")
		}
		c.conn.Close()
	}
	if n := len(r.reports()); n != 0 {
		t.Errorf("%d reports", n)
	}
}

// A bounce subdomain takes mail for its postmaster and abuse@, and no other of a
// tenant's domains does.
func TestIntakeOfBounceSubdomain(t *testing.T) {
	r := newIntakeRig(t, nil)
	version := uint32(tenant.NewestVersion)
	for n := range r.current().Nodes() {
		r.apply(tenant.SetNode{Node: n.ID, Version: &version})
	}
	r.apply(tenant.SetBounce{Domain: "shop.test", Name: "b.shop.test"})
	c := r.dial()
	c.cmd("EHLO x.test", "250")
	for to, want := range map[string]string{
		"postmaster@b.shop.test": "250", "Abuse@B.shop.test": "250", "bounces@b.shop.test": "550 5.1.1", "abuse@c.shop.test": "550 5.1.1",
		"abuse@b.b.shop.test": "550 5.1.1", "postmaster@shop.test": "550 5.7.1", "fbl@b.shop.test": "550 5.1.1",
	} {
		c.cmd("MAIL FROM:<>", "250")
		c.cmd("RCPT TO:<"+to+">", want)
		c.cmd("RSET", "250")
	}
}

func TestIntakeAttributes(t *testing.T) {
	r := newIntakeRig(t, nil)
	st := r.current()
	shop, other := st.TenantByName("shop").ID, st.TenantByName("other").ID
	ref := r.signer.Header(bounce.Reference{Tenant: shop, Account: 5, Transaction: [16]byte{1, 2, 3}})
	forgedRef := strings.Replace(ref, "v1.", "v1.A", 1)
	path, _ := r.signer.Local(bounce.ReturnPath{Tenant: shop, Epoch: 3, Seq: 9, Rcpt: 4})
	foreign, _ := r.signer.Local(bounce.ReturnPath{Tenant: other, Epoch: 3, Seq: 9, Rcpt: 4})
	header := func(ref string) string {
		return "X-Relay-Ref: " + ref + "\nFrom: news@shop.test\nMessage-ID: <1@shop.test>\n"
	}
	message := queue.ID{Tenant: shop, Epoch: 3, Seq: 9}
	for _, x := range []struct {
		name, to, text string
		want           Attribution
	}{
		{"reference", "bounces@in-1.relay.test", dsn(header(ref)),
			Attribution{By: ByReference, Tenant: shop, Account: 5, Transaction: [16]byte{1, 2, 3}, Rcpt: -1}},
		{"return path", path + "@bounces.shop.test", dsn("From: x@far.test\n"),
			Attribution{By: ByReturnPath, Tenant: shop, Message: message, Rcpt: 4, Returned: true}},
		{"both", path + "@bounces.relay.test", dsn(header(ref)),
			Attribution{By: ByReference, Tenant: shop, Account: 5, Transaction: [16]byte{1, 2, 3}, Message: message, Rcpt: 4, Returned: true}},
		{"two tenants'", foreign + "@bounces.relay.test", dsn(header(ref)),
			Attribution{By: ByReference, Tenant: shop, Account: 5, Transaction: [16]byte{1, 2, 3}, Rcpt: -1}},
		{"named return path", "fbl@in-1.relay.test", dsn("Return-Path: <" + path + "@bounces.shop.test>\n"),
			Attribution{By: ByReturnPath, Tenant: shop, Message: message, Rcpt: 4}},
		{"forged reference", "bounces@in-1.relay.test", dsn(header(forgedRef)), Attribution{By: ByDomain, Tenant: shop, Rcpt: -1}},
		{"domain", "abuse@in-1.relay.test", dsn("From: x@news.other.test\n"), Attribution{By: ByDomain, Tenant: other, Rcpt: -1}},
		{"nothing", "abuse@in-1.relay.test", dsn("From: x@far.test\n"), Attribution{By: ByNothing, Rcpt: -1}},
	} {
		got := r.bring(x.to, x.text)
		if got.Attribution != x.want {
			t.Errorf("%s: %+v\nwant %+v", x.name, got.Attribution, x.want)
		}
		if got.Sure() != (x.want.By == ByReference || x.want.By == ByReturnPath) {
			t.Errorf("%s: sure %v", x.name, got.Sure())
		}
		if got.Kind != bounce.KindBounce || len(got.Rcpts) != 1 || !got.Rcpts[0].Hard() {
			t.Errorf("%s: read %s %+v", x.name, got.Kind, got.Rcpts)
		}
	}
}

func TestIntakeTakesWhatAMessageCarries(t *testing.T) {
	r := newIntakeRig(t, nil)
	sub := newRig(t, func(c *Config, _ *rig) { c.Reference = r.signer })
	c := sub.byNet()
	c.envelope("mail@shop.test", "a@example.test")
	c.message("DATA", "From: mail@shop.test\r\nX-Relay-Ref: v1.forged.token\r\n\r\nhello", "250")
	sent := sub.one()
	if n := strings.Count(sent.header(), "X-Relay-Ref: "); n != 1 || strings.Contains(sent.raw, "forged") {
		t.Fatalf("%d references in %q", n, sent.header())
	}
	got := r.bring("abuse@in-1.relay.test", dsn(strings.ReplaceAll(sent.header(), "\r\n", "\n")))
	want := Attribution{By: ByReference, Tenant: sent.id.Tenant, Account: sent.env.Account, Transaction: sent.env.Transaction, Rcpt: -1}
	if got.Attribution != want {
		t.Errorf("%+v, want %+v", got.Attribution, want)
	}
}

func TestIntakeEndsOfMessages(t *testing.T) {
	r := newIntakeRig(t, nil)
	for _, seq := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\n..\r\n", "\r\n..\r\n", "\r\n. \r\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\n.\rX", "\x00"} {
		c, before := r.dial(), len(r.reports())
		c.cmd("EHLO x.test", "250")
		c.cmd("MAIL FROM:<>", "250")
		c.cmd("RCPT TO:<abuse@in-1.relay.test>", "250")
		c.cmd("DATA", "354")
		c.send("Subject: x\r\n\r\nouter" + seq + "MAIL FROM:<>\r\nRCPT TO:<fbl@in-1.relay.test>\r\nDATA\r\nSubject: inner\r\n\r\n.\r\n")
		c.expect("250", "message")
		c.cmd("QUIT", "221")
		c.gone()
		if n := len(r.reports()) - before; n != 1 {
			t.Errorf("%q made %d messages", seq, n)
		}
	}
	// Lines longer than the buffer, with CR and LF on either side of its end.
	for n := maxLine - 4; n <= maxLine+4; n++ {
		got := r.bring("abuse@in-1.relay.test", strings.Repeat("x", n)+"\n..dots\ny")
		if !bytes.Contains(got.Raw, []byte("\n.dots")) || !bytes.HasSuffix(got.Raw, []byte("\r\ny\r\n")) {
			t.Errorf("%d: %q", n, got.Raw[max(0, len(got.Raw)-20):])
		}
	}
}

func TestIntakeIsBounded(t *testing.T) {
	r := newIntakeRig(t, func(c *IntakeConfig) {
		c.Limits = IntakeLimits{MaxSize: 3 << 20, Commands: 40, Errors: 5, Messages: 2, Bodies: 1}
	})
	start := func() *client {
		c := r.dial()
		c.cmd("EHLO x.test", "250")
		c.cmd("MAIL FROM:<>", "250")
		c.cmd("RCPT TO:<abuse@in-1.relay.test>", "250")
		return c
	}
	c := start()
	c.cmd("DATA", "354")
	busy := start()
	busy.cmd("DATA", "451 4.3.2") // one body at a time here
	big := strings.Repeat(strings.Repeat("y", 70)+"\r\n", 2<<20/72)
	c.send("Subject: big\r\n\r\n" + big + ".\r\n")
	c.expect("250", "two megabytes")
	if x := r.reports()[0]; len(x.Raw) != bounce.MaxFeedback || x.Size < 2<<20-100 {
		t.Errorf("kept %d of %d octets", len(x.Raw), x.Size)
	}
	busy.cmd("DATA", "354")
	go func() { _, _ = io.WriteString(busy.conn, big+big+".\r\n") }()
	busy.expect("552 5.3.4", "four megabytes")
	busy.gone()

	c = start()
	c.cmd("MAIL FROM:<>", "503 5.5.1")
	c.cmd("RSET", "250")
	c.cmd("MAIL FROM:<> SIZE=99999999999", "552 5.3.4")
	c.cmd("MAIL FROM:<> SIZE=1 SIZE=2", "501 5.5.4")
	c.cmd("MAIL FROM:<> RET=FULL", "555 5.5.4")
	c.cmd("AUTH PLAIN AAAA", "502 5.5.1")
	c.expect("421 4.7.0", "too many errors")
	c.gone()

	c = r.dial()
	c.send(strings.Repeat("x", 2*maxLine))
	c.expect("500 5.5.2", "long line")
	c.gone()
	for _, bad := range []string{"NOOP\n", "NO\rOP\r\n", "NO\x00OP\r\n"} {
		c = r.dial()
		c.send(bad)
		c.expect("500 5.5.2", fmt.Sprintf("%q", bad))
	}
	c = r.dial()
	for range 40 {
		c.cmd("NOOP", "250")
	}
	c.cmd("NOOP", "421 4.7.0")
	c.gone()

	c = r.dial()
	c.cmd("EHLO x.test", "250")
	for range 2 {
		c.send("MAIL FROM:<>\r\nRCPT TO:<abuse@in-1.relay.test>\r\nDATA\r\n")
		c.expect("250", "mail")
		c.expect("250", "rcpt")
		c.expect("354", "data")
		c.send("Subject: a\r\n\r\n.\r\n")
		c.expect("250", "message")
	}
	c.cmd("MAIL FROM:<>", "421 4.7.0")
	c.gone()

	c = start()
	c.send("DATA\r\nSubject: too early\r\n\r\n.\r\n")
	c.expect("554 5.5.0", "message before 354")
	c.gone()
}

func TestIntakeDoors(t *testing.T) {
	r := newIntakeRig(t, func(c *IntakeConfig) { c.Limits.Conns = 2 })
	a, b := r.dial(), r.dial()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	newClient(t, c).expect("421 4.7.0", "third connection")
	a.cmd("QUIT", "221")
	a.gone()
	eventually(t, "a place is free", func() bool {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		var first [3]byte
		_, err = io.ReadFull(c, first[:])
		return err == nil && string(first[:]) == "220"
	})
	b.cmd("NOOP", "250")
}

func TestIntakeTLS(t *testing.T) {
	r := newIntakeRig(t, nil)
	c := r.dial()
	if got := c.cmd("EHLO x.test", "250"); !strings.Contains(got, "STARTTLS") || strings.Contains(got, "AUTH") || strings.Contains(got, "CHUNKING") {
		t.Errorf("EHLO: %q", got)
	}
	c.startTLS(r.rig)
	c.cmd("MAIL FROM:<>", "503 5.5.1") // what was said in clear is forgotten
	if got := c.cmd("EHLO x.test", "250"); strings.Contains(got, "STARTTLS") {
		t.Errorf("EHLO in TLS: %q", got)
	}
	c.cmd("STARTTLS", "503")
	c.cmd("MAIL FROM:<>", "250")
	c.cmd("RCPT TO:<abuse@in-1.relay.test>", "250")
	c.cmd("DATA", "354")
	c.send("Subject: x\r\n\r\n.\r\n")
	c.expect("250", "message")
	c = r.dial()
	c.cmd("EHLO x.test", "250")
	c.send("STARTTLS\r\nMAIL FROM:<>\r\n")
	c.expect("503 5.5.1", "clear text behind STARTTLS")
	c.gone()
}

func TestIntakeFailsAndEnds(t *testing.T) {
	r := newIntakeRig(t, nil)
	r.mu.Lock()
	r.fails = errors.New("disk is full of secrets")
	r.mu.Unlock()
	c := r.dial()
	c.cmd("EHLO x.test", "250")
	c.cmd("MAIL FROM:<>", "250")
	c.cmd("RCPT TO:<abuse@in-1.relay.test>", "250")
	c.cmd("DATA", "354")
	c.send("Subject: x\r\n\r\n.\r\n")
	if got := c.expect("451 4.3.0", "not taken"); strings.Contains(got, "secrets") {
		t.Errorf("told %q", got)
	}
	idle, body := r.dial(), r.dial()
	body.cmd("EHLO x.test", "250")
	body.cmd("MAIL FROM:<>", "250")
	body.cmd("RCPT TO:<abuse@in-1.relay.test>", "250")
	body.cmd("DATA", "354")
	body.send("Subject: half")
	r.stop()
	for _, x := range []*client{c, idle, body} {
		x.expect("421 4.3.2", "the end")
		x.gone()
	}

	late := newIntakeRig(t, func(c *IntakeConfig) { c.Limits.Idle = 50 * time.Millisecond })
	late.dial().expect("421 4.4.2", "idle")
	over := newIntakeRig(t, func(c *IntakeConfig) { c.Limits.Session = 50 * time.Millisecond })
	over.dial().expect("421 4.4.2", "session")
	slow := newIntakeRig(t, func(c *IntakeConfig) { c.Limits.Body = 50 * time.Millisecond })
	k := slow.dial()
	k.cmd("EHLO x.test", "250")
	k.cmd("MAIL FROM:<>", "250")
	k.cmd("RCPT TO:<abuse@in-1.relay.test>", "250")
	k.cmd("DATA", "354")
	k.expect("421 4.4.2", "body")
	notYet := newIntakeRig(t, func(c *IntakeConfig) { c.Ready = func() error { return errors.New("starting") } })
	c2, err := net.Dial("tcp", notYet.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c2.Close()
	newClient(t, c2).expect("421 4.3.2", "not ready")
}

type deafReports struct{}

func (deafReports) Take(context.Context, IntakeReport) error { return nil }

// FuzzIntake sends anything to a live session: every reply is one, and the
// session ends.
func FuzzIntake(f *testing.F) {
	f.Add([]byte("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<abuse@in.test>\r\nDATA\r\n"), []byte("Subject: x\r\n\r\n.\r\nQUIT\r\n"))
	f.Add([]byte("HELO x\r\nMAIL FROM:<a@b.test> SIZE=3 BODY=8BITMIME\r\n"), []byte("RCPT TO:<\"x y\"@in.test>\r\nRSET\r\nVRFY x\r\n"))
	f.Add([]byte("STARTTLS\r\nBDAT 3\r\n"), []byte("\n.\n\r\n..\r\n"))
	signer, err := bounce.NewSigner([]byte(tSecret))
	if err != nil {
		f.Fatal(err)
	}
	state := tenant.New()
	in, err := NewIntake(IntakeConfig{Hostname: "in.test", State: func() *tenant.State { return state }, Signer: signer, Reports: deafReports{},
		Limits: IntakeLimits{Idle: 5 * time.Second, Session: 10 * time.Second, MaxSize: 1 << 16}})
	if err != nil {
		f.Fatal(err)
	}
	reply := regexp.MustCompile(`^[2-5]\d\d[ -][ -~]*\r\n$`)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		client, server := net.Pipe()
		in.doors.enter(netip.Addr{})
		in.conns[server] = struct{}{}
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer in.gone(server, netip.Addr{})
			s := &visit{in: in, ctx: context.Background(), raw: server, conn: server, ends: time.Now().Add(10 * time.Second)}
			s.reset()
			s.run()
		}()
		got := make(chan []byte, 1)
		go func() {
			all, _ := io.ReadAll(client)
			got <- all
		}()
		_ = client.SetWriteDeadline(time.Now().Add(5 * time.Second))
		for _, part := range [][]byte{a, b} {
			if _, err := client.Write(part); err != nil {
				break
			}
		}
		client.Close()
		<-done
		for _, line := range bytes.SplitAfter(<-got, []byte("\n")) {
			if len(line) > 0 && bytes.HasSuffix(line, crlf) && !reply.Match(line) {
				t.Fatalf("reply %q", line)
			}
		}
	})
}
