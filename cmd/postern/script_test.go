package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"postern/node/admin"
	"postern/node/dnsbl"
	"postern/tenant"
)

const scriptToken = "operator-token-of-the-scripts"

// Each script has a node's API of its own: the real server and the real state
// machine, in memory.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			d := &desk{st: tenant.New(), mail: map[string]*admin.Trace{}}
			p := newProcess()
			s, err := admin.New(admin.Config{Addr: "unused:0", Node: "n1", Version: "1.2.3", OperatorToken: admin.TokenHash(scriptToken),
				State: d.state, Propose: d.propose, Messages: d, Mail: d, Running: p,
				Ready: func() []admin.Reason { return d.reasons }, ReadZones: readZones, WriteZones: writeZones, Incident: incident, Mark: mark, SealText: func(_ string, plain []byte) ([]byte, error) { return plain, nil }, Delist: delist,
				OpenKey:  func(_, _ string, sealed []byte) ([]byte, error) { return sealed, nil },
				SealsKey: func(_, _ string, sealed, pem []byte) bool { return bytes.Equal(sealed, pem) },
				Seal: func(_, selector string, pem []byte) (admin.Sealed, error) {
					if !bytes.Contains(pem, []byte("BEGIN PRIVATE KEY")) {
						return admin.Sealed{}, fmt.Errorf("no PEM block in it")
					}
					return admin.Sealed{Bytes: pem, Record: "v=DKIM1; k=rsa; p=" + strings.Repeat("A", 300), Warnings: []string{"an RSA key of 1024 bits is weak"}}, nil
				}})
			if err != nil {
				return err
			}
			srv := httptest.NewServer(s)
			env.Defer(srv.Close)
			env.Values["desk"], env.Values["process"] = d, p
			env.Setenv("POSTERN_API", srv.URL)
			env.Setenv("MONTH", time.Now().UTC().Format("2006-01"))
			// The program in a script is this test binary as postern.
			self, err := os.Executable()
			if err != nil {
				return err
			}
			bin := filepath.Join(env.WorkDir, "bin")
			if err := errors.Join(os.Mkdir(bin, 0o700), os.Symlink(self, filepath.Join(bin, "postern"))); err != nil {
				return err
			}
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv(asPostern, "1")
			token := filepath.Join(env.WorkDir, "operator.token")
			env.Setenv("POSTERN_TOKEN_FILE", token)
			env.Setenv("POSTERN_OPERATOR", "anna")
			if err := copyFile("../../deploy/cluster.yaml", filepath.Join(env.WorkDir, "cluster.yaml")); err != nil {
				return err
			}
			return os.WriteFile(token, []byte(scriptToken+"\n"), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"mail": putMail, "letin": letIn, "down": down, "unready": unready, "fits": fits, "exits": exits, "lists": startLists, "seen": seen, "knows": knows,
			"journal": openJournal, "forge": forge, "node": realNode, "dns": setDNS, "zonehas": zoneHas, "denied": denied, "seendomain": seenDomain, "linked": linkedTo, "reloads": reloads},
	})
}

func writeZones(l tenant.SetLists) string {
	text, _ := dnsbl.WriteLists(l)
	return text
}

func readZones(text string) (tenant.SetLists, []string) {
	b, faults := dnsbl.ParseZones([]byte(text))
	if len(faults) > 0 {
		return tenant.SetLists{}, []string{faults[0].String()}
	}
	return b.Lists(), nil
}

// linked NODE USERNAME DOMAIN: the account's mail has links to the domain.
func linkedTo(ts *testscript.TestScript, _ bool, args []string) {
	d := deskOf(ts)
	a := d.state().AccountByUsername(args[1])
	op := tenant.Linked{Node: d.state().NodeByName(args[0]).ID, Links: []tenant.Link{{Account: a.ID, Domain: args[2], At: time.Now()}}}
	_, _, err := d.propose(context.Background(), tenant.RequestID{}, op)
	ts.Check(err)
}

// seendomain NODE DOMAIN ZONE VALUE: a node was told so; what it was not told of is
// clean.
func seenDomain(ts *testscript.TestScript, _ bool, args []string) {
	d := deskOf(ts)
	now := time.Now()
	node := d.state().NodeByName(args[0]).ID
	x := tenant.SeenDomain{Domain: args[1], Zone: args[2], At: now, Values: []netip.Addr{netip.MustParseAddr(args[3])}}
	for _, op := range []tenant.Op{tenant.Observe{Node: node, Upto: []tenant.Upto{{Zone: args[2], At: now}}}, tenant.SawDomains{Node: node, Seen: []tenant.SeenDomain{x}}} {
		if _, _, err := d.propose(context.Background(), tenant.RequestID{}, op); err != nil {
			ts.Fatalf("%v", err)
		}
	}
}

// seen NODE ADDR ZONE VALUE|clean: a node was told so a round ago, and is now.
func seen(ts *testscript.TestScript, _ bool, args []string) {
	d := deskOf(ts)
	st := d.state()
	do := func(op tenant.Op) {
		if _, _, err := d.propose(context.Background(), tenant.RequestID{}, op); err != nil {
			ts.Fatalf("%v", err)
		}
	}
	now := time.Now()
	for _, at := range []time.Time{now.Add(-3 * time.Minute), now} {
		s := tenant.Seen{Source: st.SourceByAddr(netip.MustParseAddr(args[1])).ID, Zone: args[2], At: at}
		if args[3] != "clean" {
			s.Values = []netip.Addr{netip.MustParseAddr(args[3])}
		}
		do(tenant.Observe{Node: st.NodeByName(args[0]).ID, Seen: []tenant.Seen{s}})
	}
}

// knows NODE...: its program knows all commands.
func knows(ts *testscript.TestScript, _ bool, args []string) {
	d, version := deskOf(ts), uint32(tenant.NewestVersion)
	for _, name := range args {
		op := tenant.SetNode{Node: d.state().NodeByName(name).ID, Version: &version}
		if _, _, err := d.propose(context.Background(), tenant.RequestID{}, op); err != nil {
			ts.Fatalf("%v", err)
		}
	}
}

// incident stands for the texts of a real node.
func incident(_ *tenant.State, c *tenant.Case) (string, []string) {
	return fmt.Sprintf("Thank you for your report about %s.\n\nWe look into it.\n", c.Addr), []string{"hear the owner, " + strings.Repeat("and hear others ", 6)}
}

// delist stands for what a real node knows of lists.
func delist(string, []netip.Addr) (string, time.Duration, bool) {
	return "fill in the form, and wait for an answer that may take until the day after tomorrow", 36 * time.Hour, true
}

// mark stands for the keyed hashes of a real node.
func mark(kind tenant.MarkKind, text string) tenant.Mark {
	return tenant.Mark{Kind: kind, Hash: sha256.Sum256([]byte(fmt.Sprint(kind, text)))}
}

// journal: opens the journal, as a leader does once all nodes know it.
func openJournal(ts *testscript.TestScript, _ bool, _ []string) {
	if _, _, err := deskOf(ts).propose(context.Background(), tenant.RequestID{}, tenant.OpenJournal{}); err != nil {
		ts.Fatalf("%v", err)
	}
}

// forge SEQ: somebody changes an entry of the journal in the node's memory.
func forge(ts *testscript.TestScript, _ bool, args []string) {
	seq, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		ts.Fatalf("%v", err)
	}
	deskOf(ts).state().JournalEntry(seq).Why = "nothing"
}

// exits N postern ARGS...: the status must be N, and a refusal one line.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	status := "0"
	if err != nil {
		status = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if status != args[0] {
		ts.Fatalf("%v ends with %q, want %s\n%s", args[1:], status, args[0], ts.ReadFile("stderr"))
	}
	if text := ts.ReadFile("stderr"); status != "0" && strings.Count(text, "\n") > 1 && !strings.Contains(text, "Usage:") {
		ts.Fatalf("more than one line:\n%s", text)
	}
}

// fits: what was last written has at most 80 columns and nothing a terminal
// would obey.
func fits(ts *testscript.TestScript, _ bool, _ []string) {
	text := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	if wide := tooWide(text); wide != "" {
		ts.Fatalf("too wide: %q", wide)
	}
	if strings.ContainsAny(text, "\x1b\x07\r\t") {
		ts.Fatalf("control characters in %q", text)
	}
}

func tooWide(text string) string {
	for line := range strings.Lines(text) {
		if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > wide {
			return line
		}
	}
	return ""
}

func deskOf(ts *testscript.TestScript) *desk { return ts.Value("desk").(*desk) }

// denied IP ZONE PROVIDER...: of 100 attempts each provider refused ten, and
// named the zone.
func denied(ts *testscript.TestScript, _ bool, args []string) {
	st := deskOf(ts).state()
	src := st.SourceByAddr(netip.MustParseAddr(args[0]))
	x := tenant.Denial{Source: src.ID, At: time.Now().Add(-time.Second), Attempts: 100}
	x.Named = []tenant.Naming{{Zone: args[1], At: x.At}}
	for _, p := range args[2:] {
		x.Providers = append(x.Providers, tenant.ProviderDenial{Provider: p, Refused: 10, Messages: 10})
		x.Refused, x.Messages = x.Refused+10, x.Messages+10
	}
	if _, _, err := deskOf(ts).propose(context.Background(), tenant.RequestID{}, tenant.Denied{Node: src.Node, Denials: []tenant.Denial{x}}); err != nil {
		ts.Fatalf("%v", err)
	}
}

// mail ID TENANT ACCOUNT RCPT...: a message waits. An attempt with hostile text
// is in its trace.
func putMail(ts *testscript.TestScript, _ bool, args []string) {
	d := deskOf(ts)
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.st.TenantByName(args[1])
	if t == nil {
		ts.Fatalf("no tenant %s", args[1])
	}
	_, domain, _ := strings.Cut(args[3], "@")
	refusal := admin.Reply{Code: 451, Enhanced: "4.7.1", Text: "greylisted \x1b[31mred\x1b[0m, " + strings.Repeat("come back later ", 10)}
	at := time.Now().Add(-10 * time.Minute).UTC()
	d.mail[args[0]] = &admin.Trace{
		Message: admin.Message{ID: args[0], Tenant: t.Name, TenantID: uint64(t.ID), Account: args[2], Class: "transactional", Kind: "submitted", From: args[2],
			Size: 5000, Arrived: at, Expires: at.Add(48 * time.Hour), MessageID: "<m1@acme.example>",
			Items: []admin.Item{{Domain: domain, Rcpts: args[3:], Attempts: 1, Due: time.Now().Add(10 * time.Minute), Last: &refusal}}},
		Outcomes: []admin.Outcome{},
		Attempts: []admin.Attempt{{N: 1, At: at, Millis: 41.2, Domain: domain, Source: "192.0.2.10", EHLO: "out-10.relay.test", Host: "mx1." + domain, Addr: "198.51.100.25:25",
			TLS: "TLS1.3 TLS_AES_128_GCM_SHA256", Dialogue: "S: 220 mx1 ready\r\nC: EHLO out-10.relay.test\r\nS: 451 4.7.1 greylisted \x1b[31m" + strings.Repeat("x", 200) + "\r\n",
			Outcomes: []admin.Outcome{{Rcpt: args[3], Result: "deferred", Reply: refusal, At: at}}},
			{N: 2, At: at, Domain: domain, Dialogue: "look-up: no answer"}},
	}
}

// letin NODE...: there is a join token for each; "any" is for all, "witness" for
// witnesses.
func letIn(ts *testscript.TestScript, _ bool, args []string) {
	for i, name := range args {
		t := tenant.JoinToken{Hash: [32]byte{0xab, byte(i)}, Expires: time.Now().Add(time.Duration(i+2) * time.Hour), Witness: name == "witness"}
		if !t.Witness && name != "any" {
			t.Node = name
		}
		if _, _, err := deskOf(ts).propose(context.Background(), tenant.RequestID{}, tenant.AddToken{Token: t}); err != nil {
			ts.Fatalf("%v", err)
		}
	}
}

// down NODE: it has no lease.
func down(ts *testscript.TestScript, _ bool, args []string) {
	d := deskOf(ts)
	op := tenant.NodesDown{Nodes: []tenant.NodeID{d.state().NodeByName(args[0]).ID}}
	if _, _, err := d.propose(context.Background(), tenant.RequestID{}, op); err != nil {
		ts.Fatalf("%v", err)
	}
}

func unready(ts *testscript.TestScript, _ bool, args []string) {
	deskOf(ts).reasons = []admin.Reason{{Text: args[0], Mend: args[1], Stops: true}}
}

// desk is what stands behind the API: state, queue, and what is not fine.
type desk struct {
	mu      sync.Mutex // guards st, index and mail
	st      *tenant.State
	index   uint64
	mail    map[string]*admin.Trace
	reasons []admin.Reason
}

func (d *desk) state() *tenant.State {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.st
}

func (d *desk) propose(_ context.Context, req tenant.RequestID, op tenant.Op) ([]tenant.Event, *tenant.State, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index++
	st, events, err := tenant.Apply(d.st, d.index, tenant.Command{Request: req, At: time.Now().UTC(), Op: op})
	if st != nil {
		d.st = st
	}
	return events, d.st, err
}

func (d *desk) pick(f admin.Filter) []string {
	var ids []string
	for id, m := range d.mail {
		if (f.Tenant == 0 || uint64(f.Tenant) == m.TenantID) && (f.Domain == "" || f.Domain == m.Items[0].Domain) && id > f.After {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (d *desk) List(_ context.Context, f admin.Filter) ([]admin.Message, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []admin.Message
	for _, id := range d.pick(f) {
		if len(all) < f.Limit {
			all = append(all, d.mail[id].Message)
		}
	}
	return all, nil
}

func (d *desk) Trace(_ context.Context, id string) (*admin.Trace, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.mail[id]; t != nil {
		return t, nil
	}
	return nil, admin.ErrNotFound
}

func (d *desk) Show(ctx context.Context, id string) (*admin.Message, error) {
	t, err := d.Trace(ctx, id)
	if err != nil {
		return nil, err
	}
	return &t.Message, nil
}

func (d *desk) Counts() map[tenant.ID]admin.Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := map[tenant.ID]admin.Counts{}
	for t := range d.st.Tenants() {
		n := len(d.pick(admin.Filter{Tenant: t.ID}))
		all[t.ID] = admin.Counts{Queued: n, Messages: n}
	}
	return all
}

func (d *desk) Flush(_ context.Context, f admin.Filter) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pick(f)), nil
}

func (d *desk) Cancel(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.mail, id)
	return nil
}

func (d *desk) Purge(_ context.Context, f admin.Filter) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := d.pick(f)
	for _, id := range ids {
		delete(d.mail, id)
	}
	return len(ids), nil
}

// Every command has a short text, and those that do something an example; help
// fits the screen.
func TestHelp(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "help" || c.Name() == "demo" {
			return
		}
		if c.Short == "" || (!c.HasSubCommands() && c.Example == "") {
			t.Errorf("%s: short %q, example %q", c.CommandPath(), c.Short, c.Example)
		}
		var out, errs bytes.Buffer
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		if code := run(args, strings.NewReader(""), &out, &errs); code != exitDone || errs.Len() > 0 {
			t.Errorf("%v: %d %s", args, code, errs.String())
		}
		if wide := tooWide(out.String()); wide != "" {
			t.Errorf("%s --help is too wide: %q", c.CommandPath(), wide)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newApp(nil, nil, nil).root())
}

func TestSizes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1 KB", 1500: "1.5 KB", 9949: "9.9 KB", 9951: "10 KB", 999_499: "999 KB",
		999_600: "1 MB", 500_000_000: "500 MB", 1_500_000_000: "1.5 GB", 1<<64 - 1: "18447 PB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	for text, want := range map[string]uint64{"5": 5, "5000": 5000, "90MB": 90_000_000, "1.5 GB": 1_500_000_000, "1k": 1000, "1,000 B": 1000} {
		var n uint64
		if err := (sizeFlag{&n}).Set(text); err != nil || n != want {
			t.Errorf("%q: %d %v", text, n, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "5XB", "MB", "1e30GB", "NaN", "1 2", "Inf"} {
		var n uint64
		if err := (sizeFlag{&n}).Set(text); err == nil {
			t.Errorf("%q is read as %d", text, n)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := count(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}

// However long its words, a table fits; what is hard stays whole.
func TestTableFits(t *testing.T) {
	tab := newTable("ID", "WHO~", "TO~", "N>")
	tab.row("3-1-42", strings.Repeat("ü", 254), strings.Repeat("b", 254), "1,000,000")
	text := tab.String()
	if wide := tooWide(text); wide != "" || !strings.Contains(text, "3-1-42") || !strings.Contains(text, "1,000,000") || !strings.Contains(text, "…") {
		t.Errorf("%s", text)
	}
	for line := range strings.SplitSeq(strings.Join(fold(strings.Repeat("word ", 50)+strings.Repeat("x", 200), 76), "\n"), "\n") {
		if utf8.RuneCountInString(line) > 76 {
			t.Errorf("%q", line)
		}
	}
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}
