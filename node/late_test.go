package node

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"postern/node/bounce"
	"postern/node/lab"
	"postern/node/queue"
	"postern/node/submission"
	"postern/tenant"
)

// mails lists what arrived, as far as it is asked for.
func (c *several) mails(keep func(lab.Mail) bool) (all []lab.Mail) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.taken {
		if keep(m) {
			all = append(all, m)
		}
	}
	return all
}

// statusOf is a delivery status of one recipient, as a host of another make writes it.
func statusOf(rcpt string) string {
	return strings.ReplaceAll(`From: MAILER-DAEMON@mx.far.test
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.far.test

Final-Recipient: rfc822; `+rcpt+`
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 user unknown

--b--
`, "\n", "\r\n")
}

// A tenant's mail leaves with a return path at its bounce subdomain once nodes
// find that its DNS is ready. What fails late comes in at one node, its sender
// hears of it by the owner of that moment, once, and the account is known by
// the return path alone.
func TestLateBounceComesBack(t *testing.T) {
	port := unused(t)
	c := &several{t: t, grace: time.Second, quiesce: quiesceWait, replies: func(*lab.Mail) {}}
	c.around = func(w *lab.World) {
		w.Names["bounce.shoes.test"] = lab.Name{Records: []string{"MX 10 smtp.relay.test.", `TXT "v=spf1 ip4:127.77.100.0/22 -all"`}}
		w.Names["smtp.relay.test"] = lab.Name{Records: []string{"A 127.0.0.1"}}
	}
	c.form(3, func(i int, cfg *Config) {
		if i == 2 {
			cfg.Intake.Listen, cfg.Intake.Domains = []string{port}, []string{"bounces.relay.test"}
		}
	})
	shoes, who := c.prepare(0, 1)
	c.settled(shoes, 0, 1)
	c.propose(0, tenant.SetBounce{Domain: "shoes.test", Name: "bounce.shoes.test"})
	path := func() string {
		st := c.nodes[0].cluster.State()
		return st.ReturnDomain("shoes.test", st.SourceByAddr(c.source(0)).ID)
	}
	await(t, "the path to be ready", func() bool {
		for _, i := range []int{2, 0} {
			c.nodes[i].doctor.round(t.Context())
			c.nodes[i].doctor.tell(t.Context())
		}
		return path() == "bounce.shoes.test"
	})
	if n := c.send(1, 2, who); n != 2 {
		t.Fatalf("%d of 2 taken", n)
	}
	c.delivered(2)
	both := c.mails(func(lab.Mail) bool { return true })
	first, second := both[0], both[1]
	local, ok := strings.CutSuffix(first.From, "@bounce.shoes.test")
	firstPath, err := c.nodes[1].seal.references.ReadLocal(local)
	if !ok || err != nil || firstPath.Tenant != shoes || firstPath.Rcpt != 0 {
		t.Fatalf("left with %q: %+v, %v", first.From, firstPath, err)
	}

	at := c.nodes[2]
	await(t, "the intake", func() bool { return at.mayGreet() == nil && at.cluster.State().BounceName("shoes.test") != "" })
	for range 2 { // a report that comes twice
		bring(t, port, first.From, statusOf(first.Rcpts[0]))
	}
	toSender := func() []lab.Mail {
		return c.mails(func(m lab.Mail) bool { return len(m.Rcpts) == 1 && m.Rcpts[0] == "news@shoes.test" })
	}
	await(t, "the notice", func() bool { return len(toSender()) > 0 })
	n := toSender()[0]
	for _, want := range []string{"Auto-Submitted: auto-replied", "Final-Recipient: rfc822; " + first.Rcpts[0], "Action: failed", "Status: 5.1.1", "In-Reply-To: " + first.MessageID} {
		if !strings.Contains(n.Text, want) {
			t.Errorf("the notice lacks %q:\n%s", want, n.Text)
		}
	}
	if n.From != "" || n.Source != c.source(0).String() {
		t.Errorf("the notice is from %q by %s", n.From, n.Source)
	}
	if sent := counted(t, c.nodes[0].late.sent, "shoes"); sent != 1 {
		t.Errorf("%v notices", sent)
	}
	account := at.cluster.State().AccountByUsername("news@shoes.test").ID
	x := lateFeedback(bounce.Failed)
	x.Message, x.Rcpt = queue.ID{Tenant: shoes, Epoch: firstPath.Epoch, Seq: firstPath.Seq}, 0
	if got, err := at.late.Tell(t.Context(), x); got != account || err != nil {
		t.Errorf("account %d, %v; want %d", got, err, account)
	}
	if hard := counted(t, at.reports.hard, "shoes"); hard != 1 {
		t.Errorf("%v hard bounces", hard)
	}

	// Who bounced late, and who complained, is on the tenant's list: recipients of
	// the message, and nobody else whom a report names.
	claims := strings.NewReplacer("REF", second.Reference, "Version: 1\n", "Version: 1\nOriginal-Mail-From: <"+second.From+">\nOriginal-Rcpt-To: victim@far.test\n", "\n", "\r\n")
	bring(t, port, "fbl@bounces.relay.test", claims.Replace(complaint))
	suppressed := func(node int) map[string]queue.Reason {
		list, _, err := c.nodes[node].queue.Suppressions(shoes, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]queue.Reason{}
		for _, x := range list {
			all[x.Addr] = x.Reason
		}
		return all
	}
	whole := map[string]queue.Reason{first.Rcpts[0]: queue.HardBounce, second.Rcpts[0]: queue.Complaint}
	await(t, "the list", func() bool { return maps.Equal(suppressed(0), whole) })

	// The owner is another one now: the copy that it took over tells it the sender.
	c.stop(0)
	await(t, "the new owner", func() bool {
		x := c.nodes[1].cluster.State().Tenant(shoes)
		return x.Owner == c.nodes[1].id() && c.nodes[1].owned.epoch(shoes) == x.Epoch
	})
	bring(t, port, first.From, statusOf(first.Rcpts[0]))
	await(t, "the notice of the new owner", func() bool { return len(toSender()) == 2 })
	if got := suppressed(1); !maps.Equal(got, whole) {
		t.Errorf("the new owner suppresses %v, want %v", got, whole)
	}
	if got := toSender()[1]; !strings.Contains(got.Text, "Final-Recipient: rfc822; "+first.Rcpts[0]) || got.Source != c.source(1).String() {
		t.Errorf("by %s:\n%s", got.Source, got.Text)
	}
}

// A word that is not one ends there, and one that is comes through.
func FuzzReadLate(f *testing.F) {
	var b bytes.Buffer
	if err := writeLate(&b, lateReport{Tenant: 1, Epoch: 2, Seq: 3, Rcpts: []lateRcpt{{Rcpt: -1, Addr: "a@b.test", Status: "5.1.1", Text: "no"}}}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:b.Len()-1])
	f.Add([]byte{lateVersion, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		var r lateReport
		if readLate(bytes.NewReader(in), &r) != nil {
			return
		}
		var again bytes.Buffer
		if err := writeLate(&again, r); err != nil {
			t.Fatal(err)
		}
		var back lateReport
		if err := readLate(&again, &back); err != nil || back.Tenant != r.Tenant || len(back.Rcpts) != len(r.Rcpts) {
			t.Fatalf("%+v: %+v, %v", r, back, err)
		}
	})
}

// A silent peer is left alone when its time, or this node's, is up.
func TestLateServeEnds(t *testing.T) {
	l := newLate("n1", "relay.test", func() *tenant.State { return tenant.New() }, nil, discard())
	near, far := net.Pipe()
	ctx, end := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { l.serve(ctx, far); close(done) }()
	end()
	<-done
	near.Close()
	// Nobody is told of a tenant that is gone, nor of a report without a failure.
	x := lateFeedback(bounce.Delayed)
	if a, err := l.Tell(t.Context(), x); a != 0 || err != nil {
		t.Errorf("%d, %v", a, err)
	}
	x = lateFeedback(bounce.Failed)
	x.Message.Tenant = 9
	if a, err := l.Tell(t.Context(), x); a != 0 || err != nil {
		t.Errorf("%d, %v", a, err)
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func lateFeedback(a bounce.Action) submission.IntakeReport {
	x := submission.IntakeReport{}
	x.Rcpts = []bounce.FeedbackRcpt{{Addr: "a@b.test", Action: a}}
	x.Rcpt = -1
	return x
}
