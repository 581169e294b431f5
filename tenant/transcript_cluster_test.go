package tenant

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// clusterOp reads the operations of several nodes.
func (x *transcript) clusterOp(name string) Op {
	t, n := ID(x.num("tenant")), NodeID(x.num("node"))
	switch name {
	case "set-authority":
		return SetAuthority{Authority{Cluster: [16]byte(x.hash16("cluster")), Cert: []byte(x.str("cert")), SealedKey: []byte(x.str("key")), SealedGossip: []byte(x.str("gossip"))}}
	case "add-token":
		return AddToken{JoinToken{Hash: x.hash("token"), Expires: x.at.Add(x.duration("good")), Witness: x.has("witness"), Node: x.str("for")}}
	case "remove-token":
		return RemoveToken{x.hash("token")}
	case "join":
		return Join{Name: x.str("name"), Peer: x.text("peer"), Key: x.hash("key"), Witness: x.has("witness"), Version: uint32(x.num("version")), Token: x.hash("token")}
	case "set-node":
		return x.setNode(n)
	case "remove-node":
		return RemoveNode{Node: n, Lost: x.has("lost")}
	case "nodes-down":
		return NodesDown{x.ids("nodes")}
	case "nodes-up":
		return NodesUp{x.ids("nodes")}
	case "set-mirrors":
		return SetMirrors{x.changes()}
	case "close-mirrors":
		return CloseMirrors{x.changes()}
	case "handover":
		return Handover{Tenant: t, Expect: x.num("expect"), To: NodeID(x.num("to"))}
	case "release":
		op := Release{Tenant: t, Expect: x.num("expect"), Last: x.num("last")}
		for _, w := range x.args["waiting"] {
			op.Waiting = append(op.Waiting, x.uint(w))
		}
		return op
	case "reported":
		return Reported{Node: n, Tenants: []Report{{Tenant: t, Epoch: x.num("epoch"), Spent: x.spent()}}}
	}
	return nil
}

func (x *transcript) hash16(key string) []byte {
	h := x.hash(key)
	return h[:16]
}

func (x *transcript) duration(key string) time.Duration {
	d, err := time.ParseDuration(x.str(key))
	x.must(err)
	return d
}

func (x *transcript) ids(key string) (ids []NodeID) {
	for _, v := range x.args[key] {
		ids = append(ids, NodeID(x.uint(v)))
	}
	return ids
}

func (x *transcript) setNode(n NodeID) Op {
	op := SetNode{Node: n}
	if x.has("peer") {
		p := x.str("peer")
		op.Peer = &p
	}
	if x.has("key") {
		k := x.hash("key")
		op.Key = &k
	}
	if x.has("version") {
		v := uint32(x.num("version"))
		op.Version = &v
	}
	if x.has("draining") {
		d := x.str("draining") == "true"
		op.Draining = &d
	}
	if x.has("away") { // from the state's clock on
		at := x.s.Now().Add(x.duration("away"))
		op.Away = &at
	}
	return op
}

func (x *transcript) changes() (out []MirrorChange) {
	for _, l := range x.lines() {
		f := x.fields(l)
		out = append(out, MirrorChange{
			Tenant: ID(x.uint(f["tenant"])), Epoch: x.uint(f["epoch"]), Generation: x.uint(f["generation"]),
			Node: NodeID(x.uint(f["node"])), First: x.uint(f["first"]),
		})
	}
	return out
}

// ends reads lines "end=EPOCH node=N last=L".
func (x *transcript) ends() (out []End) {
	for _, l := range x.lines() {
		if f := x.fields(l); f["end"] != "" {
			out = append(out, End{Epoch: x.uint(f["end"]), Node: NodeID(x.uint(f["node"])), Last: x.uint(f["last"])})
		}
	}
	return out
}

// limits reads KIND:MAILS/BYTES.
func (x *transcript) limits() (out []CautionLimit) {
	for _, v := range x.args["limits"] {
		k, l, _ := strings.Cut(v, ":")
		n, err := strconv.ParseUint(orZero(k), 10, 8)
		x.must(err)
		out = append(out, CautionLimit{Kind: WindowKind(n), Limit: x.amount(l)})
	}
	return out
}

// memberText is what a node has beyond its name.
func memberText(n *Node) string {
	var b strings.Builder
	if n.Peer != "" {
		fmt.Fprintf(&b, " peer=%s key=%x version=%d", n.Peer, n.Key[:2], n.Version)
	}
	if n.Witness {
		b.WriteString(" witness")
	}
	if n.Draining {
		b.WriteString(" draining")
	}
	if !n.Away.IsZero() {
		b.WriteString(" away=" + n.Away.Format(time.RFC3339))
	}
	if !n.Down.IsZero() {
		b.WriteString(" down=" + n.Down.Format(time.RFC3339))
	}
	if !n.Up.IsZero() {
		b.WriteString(" up=" + n.Up.Format(time.RFC3339))
	}
	return b.String()
}

// logText is what a tenant has beyond its owner.
func logText(t *Tenant) string {
	var b strings.Builder
	if t.Generation > 0 {
		fmt.Fprintf(&b, " generation=%d", t.Generation)
	}
	for _, v := range t.Copies {
		fmt.Fprintf(&b, " copy=%d@%d/%d+%d", v.Generation, v.Node, v.Epoch, v.First)
	}
	for _, e := range t.Ends {
		fmt.Fprintf(&b, " end=%d@%d+%d", e.Epoch, e.Node, e.Last)
	}
	if t.To != 0 {
		fmt.Fprintf(&b, " to=%d", t.To)
	}
	if len(t.Waiting) > 0 {
		fmt.Fprintf(&b, " waiting=%v", t.Waiting)
	}
	if len(t.Awaited) > 0 {
		fmt.Fprintf(&b, " awaited=%v", t.Awaited)
	}
	if t.Paused != "" {
		fmt.Fprintf(&b, " paused=%q", t.Paused)
	}
	return b.String()
}

func limitsText(a *Account) string {
	var b strings.Builder
	for _, l := range a.Limits {
		fmt.Fprintf(&b, " %s=%s", strings.ReplaceAll(l.Kind.String(), " ", "-"), amountText(l.Limit))
	}
	if a.Gap > 0 {
		fmt.Fprintf(&b, " gap=%s", a.Gap)
	}
	return b.String()
}

// askCluster prints what a read of several nodes answers.
func (x *transcript) askCluster() string {
	s, n := x.s, NodeID(x.num("node"))
	switch what := x.td.CmdArgs[0].Key; what {
	case "throttled":
		return fmt.Sprintln(s.Throttled(AccountID(x.num("account"))), s.WindowsOf(AccountID(x.num("account")), x.at))
	case "renewed":
		return strings.Trim(fmt.Sprintln(Renewed(s, NodeID(x.num("node")))), "[]\n") + "\n"
	case "armed":
		return textLines(Armed(s, s.Tenant(ID(x.num("tenant")))))
	case "reserve":
		return textLines(Reserve(s))
	case "loss":
		return forecastText(PlanLoss(s, n))
	case "drain":
		return forecastText(PlanDrain(s, n))
	case "listing":
		return forecastText(PlanListing(s, SourceID(x.num("source"))))
	case "capacity":
		return fmt.Sprintf("%+v\n", CapacityOf(s))
	case "homing":
		return handoverText(Homing(s, x.at, x.duration("after")))
	case "drains":
		return handoverText(Drains(s))
	case "replacements":
		var b strings.Builder
		for _, p := range Replacements(s) {
			fmt.Fprintf(&b, "tenant=%d home=%s backup=%s\n", p.Tenant, p.Home, p.Backup)
		}
		return b.String()
	case "mirror":
		var down []NodeID
		down = append(down, x.ids("without")...)
		m := MirrorFor(s, s.Tenant(ID(x.num("tenant"))), func(n NodeID) bool {
			for _, x := range down {
				if x == n {
					return false
				}
			}
			return true
		})
		return fmt.Sprintf("node %d\n", m)
	case "version":
		return fmt.Sprintf("version %d incarnation %d\n", s.Version(), s.Incarnation())
	case "join-token":
		if t := s.JoinToken(x.hash("token")); t != nil {
			return fmt.Sprintf("until %s witness=%t node=%q\n", t.Expires.Format(time.RFC3339), t.Witness, t.Node)
		}
		return "none\n"
	case "tokens":
		count := 0
		for range s.Tokens() {
			count++
		}
		return fmt.Sprintln(count)
	case "authority":
		if a := s.Authority(); a != nil {
			return fmt.Sprintf("%x %s\n", a.Cluster[:2], a.Cert)
		}
		return "none\n"
	case "windows":
		var b strings.Builder
		for _, w := range s.WindowsOf(AccountID(x.num("account")), x.at) {
			fmt.Fprintf(&b, "%s limit=%s\n", w, amountText(s.Limit(AccountID(x.num("account")), w.Kind)))
		}
		return b.String()
	}
	x.td.Fatalf(x.t, "unknown question")
	return ""
}

func textLines(ls []string) string {
	if len(ls) == 0 {
		return "nothing\n"
	}
	return strings.Join(ls, "\n") + "\n"
}

func forecastText(p Forecast) string {
	var b strings.Builder
	for _, m := range p.Moves {
		fmt.Fprintf(&b, "tenant=%d from=%d to=%d place=%s: %s\n", m.Tenant, m.From, m.To, m.Place, m.Why)
	}
	for _, t := range p.Stuck {
		fmt.Fprintf(&b, "tenant=%d stays at %d: %s\n", t.Tenant, t.Node, t.Why)
	}
	if b.Len() == 0 {
		return "nothing moves\n"
	}
	return b.String()
}

func handoverText(hs []Handover) string {
	var b strings.Builder
	for _, h := range hs {
		fmt.Fprintf(&b, "tenant=%d expect=%d to=%d\n", h.Tenant, h.Expect, h.To)
	}
	if b.Len() == 0 {
		return "none\n"
	}
	return b.String()
}
