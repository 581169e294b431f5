package tenant

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestTranscripts runs testdata/*.txt: a command a directive, its events or its
// refusal below. Rewrite with -rewrite, and commit only what you can explain:
// a changed line is a changed meaning of commands that logs already hold.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		x := &transcript{s: New(), at: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
		datadriven.RunTest(t, path, x.run)
	})
}

type transcript struct {
	s     *State
	at    time.Time
	index uint64
	args  map[string][]string
	td    *datadriven.TestData
	t     *testing.T
}

func (x *transcript) run(t *testing.T, td *datadriven.TestData) string {
	x.t, x.td, x.args = t, td, make(map[string][]string)
	for _, a := range td.CmdArgs {
		x.args[a.Key] = a.Vals
	}
	switch td.Cmd {
	case "at":
		at, err := time.Parse(time.RFC3339, td.CmdArgs[0].Key)
		x.must(err)
		x.at = at
		return ""
	case "pass":
		d, err := time.ParseDuration(td.CmdArgs[0].Key)
		x.must(err)
		x.at = x.at.Add(d)
		return ""
	case "show":
		return x.show()
	case "diff", "declare":
		return x.declare()
	case "undo":
		return x.undo()
	case "reincarnate":
		x.s = Reincarnate(x.s, x.str("keep"))
		x.must(sound(x.s))
		return x.show()
	case "ask":
		return x.ask()
	case "cases":
		return x.caseText()
	case "domains":
		return x.domainsText()
	case "links":
		return x.linksText()
	case "month":
		return x.monthText()
	case "erasures":
		return x.erasureText()
	case "traces":
		return x.tracesText()
	case "outbox":
		return x.outboxText()
	case "journal":
		return x.journalText()
	case "listings":
		return x.listingText()
	case "digest":
		h := x.s.Digest()
		return hex.EncodeToString(h[:8]) + "\n"
	}
	if out, known := x.scene(td.Cmd); known {
		return out
	}
	return x.apply(x.op(td.Cmd))
}

func (x *transcript) must(err error) {
	x.t.Helper()
	if err != nil {
		x.td.Fatalf(x.t, "%v", err)
	}
}

// apply carries out op over the wire form, proves what must hold after every
// command, and prints the result.
func (x *transcript) apply(op Op) string {
	x.index++
	cmd := Command{At: x.at, Op: op}
	if x.has("vetted") {
		cmd.Op = Vetted{Marks: x.marks(), Override: x.has("override"), Op: op}
	}
	if x.has("by") {
		cmd.Op = By{Actor: x.str("by"), Op: cmd.Op}
	}
	if id := x.str("req"); id != "" {
		h := sha256.Sum256([]byte(id))
		cmd.Request = RequestID(h[:16])
	}
	b, err := EncodeCommand(cmd)
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	cmd, err = DecodeCommand(b)
	x.must(err)
	before := x.s.Encode()
	next, events, err := Apply(x.s, x.index, cmd)
	if !bytes.Equal(before, x.s.Encode()) {
		x.td.Fatalf(x.t, "the state before changed")
	}
	x.s = next
	x.must(sound(next))
	var refused *Refused
	if errors.As(err, &refused) {
		return fmt.Sprintf("refused: %s\n", refused.Reason)
	}
	x.must(err)
	var out strings.Builder
	for _, e := range events {
		out.WriteString(eventText(e))
	}
	return out.String()
}

func eventText(e Event) string {
	name := strings.TrimPrefix(fmt.Sprintf("%T", e), "tenant.")
	switch e := e.(type) {
	case Owned:
		return fmt.Sprintf("%s tenant=%d node=%d epoch=%d\n", name, e.Tenant, e.Node, e.Epoch)
	case Granted:
		g := e.Grant
		short := ""
		if e.Short {
			short = " short"
		}
		return fmt.Sprintf("%s id=%d account=%d %s epoch=%d given=%s%s\n", name, g.ID, g.Account, g.Window, g.Epoch, amountText(g.Given), short)
	case DomainChanged:
		return name + " " + e.Name + "\n"
	case RouteChanged:
		return name + " " + e.Domain + "\n"
	default:
		return fmt.Sprintf("%s %s\n", name, strings.Trim(fmt.Sprint(e), "{}"))
	}
}

func amountText(a Amount) string { return fmt.Sprintf("%d/%d", a.Mails, a.Bytes) }

func (x *transcript) str(key string) string {
	switch v := x.args[key]; len(v) {
	case 0:
		return ""
	case 1:
		return v[0]
	default:
		return strings.Join(v, ",")
	}
}

func (x *transcript) num(key string) uint64 {
	s := x.str(key)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	x.must(err)
	return n
}

// text is a string argument, or the input below the directive when there is none.
func (x *transcript) text(key string) string {
	if v, ok := x.args[key]; ok {
		return strings.Join(v, ",")
	}
	return x.td.Input
}

func (x *transcript) has(key string) bool { _, ok := x.args[key]; return ok }

func (x *transcript) hash(key string) (h [32]byte) {
	if s := x.str(key); s != "" {
		h = sha256.Sum256([]byte(s))
	}
	return h
}

func (x *transcript) place(key string) Place {
	if !x.has(key) {
		return Place{}
	}
	p, err := ParsePlace(x.str(key))
	x.must(err)
	return p
}

func (x *transcript) plan() Plan {
	recipients, err := strconv.Atoi(orZero(x.str("recipients")))
	x.must(err)
	return Plan{
		BytesPerMonth: x.num("bytes"), MailsPerMonth: x.num("mails"),
		MaxRecipients: recipients, MaxSize: int64(x.num("size")),
	}
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

func (x *transcript) networks() []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range x.args["networks"] {
		if s != "" {
			p, err := netip.ParsePrefix(s)
			x.must(err)
			ps = append(ps, p)
		}
	}
	return ps
}

func (x *transcript) op(name string) Op {
	t, a, n := ID(x.num("tenant")), AccountID(x.num("account")), NodeID(x.num("node"))
	switch name {
	case "add-node":
		return AddNode{Name: x.text("name")}
	case "add-source":
		addr, _ := netip.ParseAddr(x.str("addr")) // an invalid one is a case
		return AddSource{Node: n, Addr: addr, EHLO: x.text("ehlo"), Shared: x.has("shared")}
	case "remove-source":
		return RemoveSource{Source: SourceID(x.num("source"))}
	case "add-tenant":
		return AddTenant{Name: x.str("name"), Hostname: x.text("host"), Home: x.place("home"), Backup: x.place("backup")}
	case "remove-tenant":
		return RemoveTenant{Tenant: t}
	case "set-token":
		return SetToken{Tenant: t, Hash: x.hash("token")}
	case "set-place":
		return SetPlace{Tenant: t, Home: x.place("home"), Backup: x.place("backup")}
	case "add-account":
		class, err := strconv.ParseUint(orZero(x.str("class")), 10, 8)
		x.must(err)
		return AddAccount{
			Tenant: t, Username: x.text("user"), Secret: x.hash("password"), Networks: x.networks(),
			Reference: x.str("reference"), Plan: x.plan(), Class: Class(class),
		}
	case "set-account":
		return x.setAccount(a)
	case "remove-account":
		return RemoveAccount{Account: a}
	case "set-domain":
		return SetDomain{Tenant: t, Name: x.text("name"), Selector: x.str("selector"), SealedKey: []byte(x.str("key"))}
	case "remove-domain":
		return RemoveDomain{Name: x.text("name")}
	case "set-route":
		port, err := strconv.ParseUint(orZero(x.str("port")), 10, 16)
		x.must(err)
		return SetRoute{Route{Domain: x.str("domain"), Host: x.str("host"), Port: uint16(port)}}
	case "own":
		return Own{
			Tenant: t, Node: n, Expect: x.num("expect"), Spent: x.spent(), Ends: x.ends(),
			Read: x.has("read"), Mirror: NodeID(x.num("mirror")),
		}
	case "take-grant":
		return TakeGrant{Node: n, Wants: x.wants()}
	case "pause":
		return Pause{Tenant: t, Reason: x.text("reason")}
	case "hold":
		return Hold{Tenant: t, Account: a, Reason: x.text("reason")}
	}
	if op := x.clusterOp(name); op != nil {
		return op
	}
	if op := x.listingOp(name); op != nil {
		return op
	}
	x.td.Fatalf(x.t, "unknown directive %s", name)
	return nil
}

func (x *transcript) setAccount(a AccountID) Op {
	op := SetAccount{Account: a}
	if x.has("password") {
		h := x.hash("password")
		op.Secret = &h
	}
	if x.has("networks") {
		ps := x.networks()
		op.Networks = &ps
	}
	if x.has("reference") {
		r := x.str("reference")
		op.Reference = &r
	}
	if x.has("mails") || x.has("bytes") {
		p := x.plan()
		op.Plan = &p
	}
	if x.has("limits") {
		ls := x.limits()
		op.Limits = &ls
	}
	if x.has("gap") {
		d, err := time.ParseDuration(x.str("gap"))
		x.must(err)
		op.Gap = &d
	}
	if x.has("class") {
		c := Class(x.num("class"))
		op.Class = &c
	}
	return op
}

// fields reads the lines below a directive: key=value ...
func (x *transcript) fields(line string) map[string]string {
	m := make(map[string]string)
	for _, f := range strings.Fields(line) {
		k, v, _ := strings.Cut(f, "=")
		m[k] = v
	}
	return m
}

func (x *transcript) lines() []string {
	return strings.FieldsFunc(x.td.Input, func(r rune) bool { return r == '\n' })
}

func (x *transcript) window(s string) Window {
	if sec, err := strconv.ParseInt(s, 10, 64); err == nil {
		return Window{Kind: Month, Start: sec}
	}
	if t, err := time.Parse("2006-01", s); err == nil {
		return WindowAt(Month, t)
	}
	if t, err := time.Parse("2006-01-02T15:04", s); err == nil {
		return WindowAt(Minute, t)
	}
	if t, err := time.Parse("2006-01-02T15", s); err == nil {
		return WindowAt(Hour, t)
	}
	t, err := time.Parse("2006-01-02", s)
	x.must(err)
	return WindowAt(Day, t)
}

func (x *transcript) amount(s string) Amount {
	m, b, _ := strings.Cut(s, "/")
	mails, err := strconv.ParseUint(orZero(m), 10, 64)
	x.must(err)
	octets, err := strconv.ParseUint(orZero(b), 10, 64)
	x.must(err)
	return Amount{Mails: mails, Bytes: octets}
}

func (x *transcript) spent() []Spent {
	var out []Spent
	for _, l := range x.lines() {
		f := x.fields(l)
		if f["account"] == "" {
			continue
		}
		out = append(out, Spent{
			Account: AccountID(x.uint(f["account"])), Window: x.window(f["window"]),
			Epoch: x.uint(f["epoch"]), Amount: x.amount(f["spent"]),
		})
	}
	return out
}

func (x *transcript) wants() []Want {
	var out []Want
	for _, l := range x.lines() {
		f := x.fields(l)
		out = append(out, Want{
			Account: AccountID(x.uint(f["account"])), Window: x.window(f["window"]), Epoch: x.uint(f["epoch"]),
			Spent: x.amount(f["spent"]), Need: x.amount(f["need"]),
		})
	}
	return out
}

func (x *transcript) uint(s string) uint64 {
	n, err := strconv.ParseUint(orZero(s), 10, 64)
	x.must(err)
	return n
}

// show prints the state.
func (x *transcript) show() string {
	var b strings.Builder
	s := x.s
	fmt.Fprintf(&b, "entry %d at %s\n", s.Index(), s.Now().Format(time.RFC3339))
	for n := range s.Nodes() {
		fmt.Fprintf(&b, "node %d %s%s\n", n.ID, n.Name, memberText(n))
	}
	for v := range s.Sources() {
		fmt.Fprintf(&b, "source %d node=%d %s %s shared=%t%s\n", v.ID, v.Node, v.Addr, v.EHLO, v.Shared, enrolledText(s, v.ID)+warmText(s, v.ID))
	}
	for t := range s.Tenants() {
		fmt.Fprintf(&b, "tenant %d %s %s home=%s backup=%s owner=%d epoch=%d%s\n", t.ID, t.Name, t.Hostname, t.Home, t.Backup, t.Owner, t.Epoch, logText(t))
		for d := range s.DomainsOf(t.ID) {
			fmt.Fprintf(&b, "  domain %s selector=%q key=%d\n", d.Name, d.Selector, len(d.SealedKey))
		}
		for a := range s.AccountsOf(t.ID) {
			fmt.Fprintf(&b, "  account %d %s %s nets=%v ref=%q plan=%+v%s%s\n", a.ID, a.Username, a.Class, a.Networks, a.Reference, a.Plan, limitsText(a), hashText(s, a.ID))
			for _, bk := range [2]*book{s.closed.get(a.ID), s.open.get(a.ID)} {
				b.WriteString(bookText(bk))
			}
		}
	}
	for r := range s.Routes() {
		fmt.Fprintf(&b, "route %s %s:%d\n", r.Domain, r.Host, r.Port)
	}
	return b.String()
}

func hashText(s *State, a AccountID) string {
	h, err := ParseHash(s.Hash(a))
	if err != nil {
		return ""
	}
	return " password=" + h.Kind.String()
}

func enrolledText(s *State, id SourceID) (text string) {
	for _, e := range s.Enrolments(id) {
		if e.State != EnrolToDo || e.Note != "" {
			text += fmt.Sprintf(" %s=%s%s", e.Programme, e.State, either(e.Note == "", "", "("+e.Note+")"))
		}
	}
	return text
}

func bookText(bk *book) string {
	if bk == nil {
		return ""
	}
	var b strings.Builder
	for _, q := range bk.quotas {
		kind := "open"
		if bk.closed {
			kind = "closed"
		}
		fmt.Fprintf(&b, "    %s %s settled=%s", kind, q.window, amountText(q.used))
		if q.live.ID != 0 {
			fmt.Fprintf(&b, " grant=%d epoch=%d given=%s spent=%s", q.live.ID, q.live.Epoch, amountText(q.live.Given), amountText(q.live.spent))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// ask prints what one read answers.
func (x *transcript) ask() string {
	s := x.s
	a := AccountID(x.num("account"))
	switch what := x.td.CmdArgs[0].Key; what {
	case "network":
		addr, err := netip.ParseAddr(x.str("addr"))
		x.must(err)
		if acc := s.AccountByNetwork(addr); acc != nil {
			return fmt.Sprintf("account %d\n", acc.ID)
		}
		return "nobody\n"
	case "send-as":
		return fmt.Sprintln(s.MaySendAs(ID(x.num("tenant")), x.str("domain")))
	case "route":
		if r := s.RouteFor(x.str("domain")); r != nil {
			return fmt.Sprintf("%s:%d\n", r.Host, r.Port)
		}
		return "none\n"
	case "user":
		if acc := s.AccountByUsername(x.str("user")); acc != nil {
			return fmt.Sprintf("account %d\n", acc.ID)
		}
		return "nobody\n"
	case "token":
		if t := s.TenantByToken(x.hash("token")); t != nil {
			return fmt.Sprintf("tenant %d\n", t.ID)
		}
		return "nobody\n"
	case "list-words":
		var b strings.Builder
		for _, w := range s.ListWords(SourceID(x.num("source"))) {
			fmt.Fprintf(&b, "%s: %d, %s to %s\n", w.Zone, w.Count, w.First.Format(time.TimeOnly), w.Last.Format(time.TimeOnly))
		}
		return b.String()
	case "suspect":
		var b strings.Builder
		for _, x := range s.suspects(SourceID(x.num("source")), s.Now()) {
			fmt.Fprintf(&b, "account %d: %d, %s\n", x.Account, x.Score, x.Terms[0].Text)
		}
		return b.String()
	case "return":
		return fmt.Sprintf("%q %q %v\n", s.ReturnDomain(x.str("domain"), SourceID(x.num("source"))), s.BounceFault(x.str("domain")), s.IntakeHosts())
	case "sources":
		var b strings.Builder
		for _, v := range s.SourcesAt(x.place("place")) {
			fmt.Fprintf(&b, "source %d\n", v.ID)
		}
		return b.String()
	case "stopped":
		return fmt.Sprintf("%q\n", s.Stopped(a))
	case "stood-still":
		since, err := time.Parse(time.RFC3339, x.str("since"))
		x.must(err)
		return fmt.Sprintln(s.StoodStill(a, since))
	case "usage":
		w := x.window(x.str("window"))
		return fmt.Sprintf("settled=%s spent=%s\n", amountText(s.UsageOf(a, w)), amountText(s.SpentOf(a, w)))
	case "usages":
		var b strings.Builder
		for _, u := range s.UsagesOf(a) {
			fmt.Fprintf(&b, "%s %s\n", u.Window, amountText(u.Used))
		}
		return b.String()
	}
	return x.askCluster()
}

// sound proves what must hold of any state: Check, the digest from scratch, and
// a snapshot that comes back equal.
func sound(s *State) error {
	// What is derived must be what a node makes that starts from a snapshot.
	if fresh := buildIndex(s); !reflect.DeepEqual(fresh.faults, s.lookup.faults) || !slices.Equal(fresh.ranges, s.lookup.ranges) {
		return fmt.Errorf("the lookup is stale: %v %v, want %v %v", s.lookup.faults, s.lookup.ranges, fresh.faults, fresh.ranges)
	}
	if err := s.Check(); err != nil {
		return err
	}
	b := s.Encode()
	back, err := Decode(b)
	if err != nil {
		return err
	}
	if !bytes.Equal(back.Encode(), b) {
		return errors.New("the snapshot encodes differently")
	}
	if back.Digest() != s.Digest() {
		return errors.New("the snapshot has another digest")
	}
	return nil
}
