package node

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"postern/node/bounce"
	"postern/node/submission"
	"postern/tenant"
)

func counted(t *testing.T, c *prometheus.CounterVec, name string) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.WithLabelValues(name).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func lateBounce(reference string) string {
	return strings.ReplaceAll(`From: MAILER-DAEMON@mx.far.test
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.far.test

Final-Recipient: rfc822; anna@far.test
Action: failed
Status: 5.1.1

Final-Recipient: rfc822; bert@far.test
Action: failed
Status: 5.2.2

Final-Recipient: rfc822; cora@far.test
Action: delayed
Status: 4.4.1

--b
Content-Type: text/rfc822-headers

X-Relay-Ref: `+reference+`
From: news@shoes.test

--b--
`, "\n", "\r\n")
}

// bring brings text to an intake as mail.
func bring(t *testing.T, addr, to, text string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	for _, step := range []struct{ say, want string }{
		{"", "220"}, {"HELO mx.far.test\r\n", "250"}, {"MAIL FROM:<>\r\n", "250"}, {"RCPT TO:<" + to + ">\r\n", "250"},
		{"DATA\r\n", "354"}, {text + ".\r\n", "250"}, {"QUIT\r\n", "221"},
	} {
		if _, err := c.Write([]byte(step.say)); err != nil {
			t.Fatal(err)
		}
		got, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(got, step.want) {
			t.Fatalf("%.40q: %q, %v", step.say, got, err)
		}
	}
}

// A report comes in at any node and counts for the tenant whose reference it
// returns, wherever that was made; what nobody can attribute is kept.
func TestIntakeOfAnotherNode(t *testing.T) {
	port := unused(t)
	c := newSeveral(t, 3, func(i int, cfg *Config) {
		if i == 1 {
			cfg.Intake.Listen, cfg.Intake.Domains = []string{port}, []string{"bounces.relay.test"}
		}
	})
	shoes, _ := c.prepare(0, 1)
	at := c.nodes[1]
	await(t, "the tenant to be known", func() bool { return at.mayGreet() == nil && at.cluster.State().Tenant(shoes) != nil })
	ref := c.nodes[0].seal.references.Header(bounce.Reference{Tenant: shoes, Transaction: [16]byte{7}})
	for range 2 {
		bring(t, port, "bounces@bounces.relay.test", lateBounce(ref))
	}
	if all, hard := counted(t, at.reports.bounces, "shoes"), counted(t, at.reports.hard, "shoes"); all != 2 || hard != 1 {
		t.Errorf("%v late bounces, %v of them hard; want 2 and 1", all, hard)
	}
	bring(t, port, "abuse@smtp.relay.test", lateBounce("v1.forged.token"))
	if hard := counted(t, at.reports.hard, "shoes"); hard != 1 {
		t.Errorf("a forged reference counted: %v", hard)
	}
	files, err := os.ReadDir(filepath.Join(c.cfgs[1].Dir, "intake"))
	if err != nil || len(files) != 1 {
		t.Errorf("kept %v, %v", files, err)
	}
}

func TestReportsCount(t *testing.T) {
	st := tenant.New()
	for i, op := range []tenant.Op{
		tenant.AddNode{Name: "n1"},
		tenant.AddSource{Node: 1, Addr: netip.MustParseAddr("127.77.1.1"), EHLO: "out-1.relay.test", Shared: true},
		tenant.AddTenant{Name: "shoes", Hostname: "shoes.relay.test", Home: tenant.Place{Node: 1}},
	} {
		next, _, err := tenant.Apply(st, uint64(i+1), tenant.Command{Request: tenant.RequestID{byte(i + 1)}, At: time.Now(), Op: op})
		if err != nil {
			t.Fatal(err)
		}
		st = next
	}
	shoes := st.TenantByName("shoes").ID
	var log bytes.Buffer
	dir := filepath.Join(t.TempDir(), "intake")
	r, err := newReports(newKeptReports(dir), func() *tenant.State { return st }, newHeard("n1", nil, nil, nil), slog.New(slog.NewTextHandler(&log, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	failed := bounce.FeedbackRcpt{Addr: "a@far.test", Action: bounce.Failed, Verdict: bounce.Verdict{Class: bounce.InvalidRecipient, Course: bounce.CourseBounce}}
	take := func(f bounce.Feedback, by submission.By, to tenant.ID, transaction byte) {
		t.Helper()
		x := submission.IntakeReport{Feedback: f, At: time.Now(), Raw: []byte("Subject: x\r\n"), Attribution: submission.Attribution{By: by, Tenant: to, Transaction: [16]byte{transaction}, Rcpt: -1}}
		if err := r.Take(context.Background(), x); err != nil {
			t.Fatal(err)
		}
	}
	bounced := bounce.Feedback{Kind: bounce.KindBounce, Rcpts: []bounce.FeedbackRcpt{failed, failed}}
	complaint := bounce.Feedback{Kind: bounce.KindComplaint, Type: "abuse", Rcpts: []bounce.FeedbackRcpt{{Addr: "a@far.test"}}}
	take(bounced, submission.ByReference, shoes, 1)
	take(bounced, submission.ByReturnPath, shoes, 1)
	take(bounced, submission.ByReference, shoes, 2)
	take(complaint, submission.ByReference, shoes, 1)
	take(complaint, submission.ByReference, shoes, 1)
	take(bounce.Feedback{Kind: bounce.KindComplaint, Type: "not-spam"}, submission.ByReference, shoes, 3)
	take(complaint, submission.ByDomain, shoes, 4)
	take(bounced, submission.ByDomain, shoes, 5)
	take(complaint, submission.ByReference, shoes+77, 6) // of a tenant that is gone
	take(bounce.Feedback{Kind: bounce.KindReply}, submission.ByNothing, 0, 0)
	take(bounce.Feedback{Kind: bounce.KindList, Zone: "zen.spamhaus.org", Subject: "SBL1"}, submission.ByNothing, 0, 0)
	if b, h, c := counted(t, r.bounces, "shoes"), counted(t, r.hard, "shoes"), counted(t, r.complaints, "shoes"); b != 2 || h != 2 || c != 1 {
		t.Errorf("%v bounces, %v hard, %v complaints; want 2, 2, 1", b, h, c)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 4 {
		t.Errorf("%d kept, %v; want 4", len(files), err)
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "zone=zen.spamhaus.org") {
		t.Errorf("a list's notice is not told:\n%s", log.String())
	}
	// What is remembered is bounded, and the oldest goes first.
	for i := range 2 * maxTold {
		r.first(submission.IntakeReport{}, fmt.Sprint(i))
	}
	if len(r.told.told) != maxTold || len(r.told.ring) != maxTold || !r.first(submission.IntakeReport{}, "0") || r.first(submission.IntakeReport{}, fmt.Sprint(2*maxTold-1)) {
		t.Errorf("%d remembered", len(r.told.told))
	}
}

func TestKeptReportsAreBounded(t *testing.T) {
	k := newKeptReports(filepath.Join(t.TempDir(), "intake"))
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	if err := k.tidy(now); err != nil {
		t.Fatalf("before the first: %v", err)
	}
	list := func() []string {
		t.Helper()
		entries, err := os.ReadDir(k.dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	for i := range maxKeptFiles + 20 {
		if err := k.keep([]byte("x"), now.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if names := list(); len(names) != maxKeptFiles || !strings.HasPrefix(names[0], now.Add(20*time.Second).Format(keptLayout)) {
		t.Errorf("%d files, the oldest %s", len(names), names[0])
	}
	if err := os.WriteFile(filepath.Join(k.dir, "notes.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	big := make([]byte, maxKeptBytes/8)
	for i := range 10 {
		if err := k.keep(big, now.Add(time.Hour+time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if names := list(); len(names) != 8+1 {
		t.Errorf("%d files of a tenth each: %v", len(names), names)
	}
	if err := k.tidy(now.Add(2 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if names := list(); len(names) != 1 || names[0] != "notes.txt" {
		t.Errorf("after their time: %v", names)
	}
}
