package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"postern/tenant"
)

func (s *Server) clusterRoutes() {
	register(s, in{verb: http.MethodGet, path: "/v1/cluster", id: "get-cluster", tag: "node",
		does: "Say who leads, whether this node may act, and how many tenants would survive a loss"},
		func(ctx context.Context, _ caller, _ *struct{}) (*out[Cluster], error) {
			return reply(s.viewCluster(s.cfg.State())), nil
		})
	s.joinTokenRoutes()
	s.nodeChanges()
	s.maintenanceRoutes()
	s.handoverRoutes()
	s.backupRoutes()
}

// ToNode is a change of one node.
type ToNode struct {
	Node string `path:"node" minLength:"1" maxLength:"63"`
	Keyed
}

func (s *Server) nodeChanges() {
	drain := func(does string) func(context.Context, caller, *ToNode) (*out[Node], error) {
		return func(ctx context.Context, _ caller, i *ToNode) (*out[Node], error) {
			n, err := findNode(s.cfg.State(), i.Node)
			if err != nil {
				return nil, err
			}
			on := does == "drain"
			_, st, err := s.propose(ctx, i.Keyed, tenant.SetNode{Node: n.ID, Draining: &on})
			if err != nil {
				return nil, err
			}
			return s.shownNode(st, i.Node)
		}
	}
	register(s, in{verb: http.MethodPut, path: "/v1/nodes/{node}/drain", id: "drain-node", tag: "node",
		does: "Hand all tenants of a node over to others, and give it no more"}, drain("drain"))
	register(s, in{verb: http.MethodDelete, path: "/v1/nodes/{node}/drain", id: "undrain-node", tag: "node",
		does: "Let a drained node have tenants again"}, drain("undrain"))
	type remove struct {
		ToNode
		Lost bool `query:"lost" doc:"The node is down and its disk is gone: give up the copies of queues it holds, with the mail that only it had"`
	}
	register(s, in{verb: http.MethodDelete, path: "/v1/nodes/{node}", id: "remove-node", tag: "node", status: http.StatusNoContent,
		does: "Take a node out of the cluster for good"},
		func(ctx context.Context, _ caller, i *remove) (*none, error) {
			st, err := s.read(ctx)
			if err != nil {
				return nil, err
			}
			n, err := findNode(st, i.Node)
			if err != nil {
				return nil, err
			}
			if t := needs(st, n.ID); t != nil && !i.Lost {
				return nil, problem(http.StatusConflict, "start it and wait until its log is read; if its disk is gone, remove it as lost",
					"node %q holds a copy of tenant %q that its owner has not read", n.Name, t.Name)
			}
			_, _, err = s.propose(ctx, i.Keyed, tenant.RemoveNode{Node: n.ID, Lost: i.Lost})
			return nil, err
		})
}

// needs is a tenant whose owner has to read a log on the node. The state refuses
// by what its list of copies says; who wrote alone is not in it by name. Such a
// node owns nothing any more, so what is true of the newest state stays true.
func needs(st *tenant.State, n tenant.NodeID) *tenant.Tenant {
	for t := range st.Tenants() {
		if others, _ := t.Holders(t.Owner); t.Owner != n && slices.Contains(others, n) {
			return t
		}
	}
	return nil
}

// handoverRoutes ask an owner to hand a tenant over in good order.
func (s *Server) handoverRoutes() {
	type move struct {
		ToTenant
		Body Move
	}
	register(s, in{verb: http.MethodPut, path: "/v1/tenants/{tenant}/move", id: "move-tenant", tag: "tenant",
		does: "Hand a tenant over to a node that is one of its places, with its queue"},
		func(ctx context.Context, who caller, i *move) (*out[Tenant], error) {
			st := s.cfg.State()
			t, err := findTenant(st, who, i.Tenant)
			if err != nil {
				return nil, err
			}
			n, err := findNode(st, i.Body.To)
			if err != nil {
				return nil, err
			}
			return s.changeTenant(ctx, i.Keyed, t, tenant.Handover{Tenant: t.ID, Expect: t.Epoch, To: n.ID})
		})
	register(s, in{verb: http.MethodDelete, path: "/v1/tenants/{tenant}/move", id: "unmove-tenant", tag: "tenant",
		does: "Take back a move that has not happened yet"},
		func(ctx context.Context, who caller, i *ToTenant) (*out[Tenant], error) {
			t, err := findTenant(s.cfg.State(), who, i.Tenant)
			if err != nil {
				return nil, err
			}
			return s.changeTenant(ctx, i.Keyed, t, tenant.Handover{Tenant: t.ID, Expect: t.Epoch})
		})
}

// viewCluster answers "is the cluster fine".
func (s *Server) viewCluster(st *tenant.State) Cluster {
	v := Cluster{Node: s.cfg.Node, Index: st.Index(), MayAct: true}
	for t := range st.Tenants() {
		v.Tenants++
		if len(tenant.Armed(st, t)) > 0 {
			v.NotArmed++
		}
		if n := len(t.Copies); n == 0 || t.Copies[n-1].Node == 0 {
			v.OneCopy++
		}
	}
	for n := range st.Nodes() {
		v.Nodes++
		if !n.Down.IsZero() {
			v.Down++
		}
	}
	if s.cfg.Cluster == nil {
		v.Leader, v.Alone = s.cfg.Node, true
		return v
	}
	c := s.cfg.Cluster()
	v.Leader, v.Term, v.Mismatches = c.Leader, c.Term, c.Mismatches
	left := time.Until(c.Lease)
	v.MayAct = left > 0
	v.LeaseMS, v.SkewMS = max(millis(left), 0), millis(c.Skew)
	if !c.Current.IsZero() {
		age := millis(max(time.Since(c.Current), 0))
		v.AgeMS = &age
	}
	return v
}

// clusterReasons are what of the cluster stops this node or needs care.
func (s *Server) clusterReasons() []Reason {
	if s.cfg.Cluster == nil {
		return nil
	}
	st, c := s.cfg.State(), s.cfg.Cluster()
	var all []Reason
	add := func(stops bool, mend, format string, args ...any) {
		all = append(all, Reason{Text: fmt.Sprintf(format, args...), Mend: mend, Stops: stops})
	}
	switch {
	case c.Leader == "":
		add(true, "start nodes until most of them run; if most are lost for good: postern recover --help", "the cluster has no leader: fewer than half of its nodes see each other")
	case !c.Lease.After(time.Now()):
		add(true, "wait some seconds; if it lasts, look at the network to "+c.Leader+" and at this node's disk", "this node has no lease from %s", c.Leader)
	}
	for n := range st.Nodes() {
		switch {
		case !n.Down.IsZero():
			add(false, "start it; if it is lost: postern node replace "+n.Name, "node %s is down since %s", n.Name, n.Down.UTC().Format("15:04:05 UTC"))
		case away(n) != nil:
			add(false, "postern node maintenance "+n.Name+" --end", "node %s is in maintenance until %s: its tenants stay with it", n.Name, n.Away.UTC().Format("15:04:05 UTC"))
		case n.Key == [32]byte{} && n.Peer != "":
			add(false, "on it: postern join --again", "node %s has to join again", n.Name)
		case n.Draining:
			add(false, "postern node undrain "+n.Name, "node %s is being drained", n.Name)
		}
	}
	if c.Mismatches > 0 {
		add(false, "keep the nodes' logs and directories, and report it", "nodes disagree about the state (%d reports)", c.Mismatches)
	}
	if c.Skew.Abs() > maxSkew {
		add(false, "let it follow a time server", "this node's clock is %s off", c.Skew.Round(100*time.Millisecond))
	}
	return append(all, s.copyReasons(st)...)
}

// maxSkew is how far a clock may be off without a word (design: within 2 s).
const maxSkew = 2 * time.Second

// copyReasons tell of second copies that are missing and of backups that would
// not work. One line a kind: the list verbs name them all.
func (s *Server) copyReasons(st *tenant.State) []Reason {
	var broken, one, unarmed named
	for id, m := range s.mirrors() {
		t := st.Tenant(id)
		switch {
		case t == nil:
		case m.Node == "":
			one.add(t.Name)
		case m.Broken > 2*time.Second:
			broken.add(t.Name)
		}
	}
	for t := range st.Tenants() {
		if s.owns(st, t) && len(tenant.Armed(st, t)) > 0 {
			unarmed.add(t.Name)
		}
	}
	var all []Reason
	if broken.n > 0 {
		all = append(all, Reason{Text: "the second copy of " + broken.String() + " cannot be reached", Mend: "postern node list shows which node"})
	}
	if one.n > 0 {
		all = append(all, Reason{Text: "mail of " + one.String() + " lies on this node alone", Mend: "start another node, or add one"})
	}
	if unarmed.n > 0 {
		all = append(all, Reason{Text: "the backup of " + unarmed.String() + " would not work", Mend: "postern tenant show " + unarmed.first})
	}
	return all
}

func (s *Server) mirrors() map[tenant.ID]MirrorStatus {
	if s.cfg.Mirrors == nil {
		return nil
	}
	return s.cfg.Mirrors()
}

// named counts names and keeps the least: a sentence, not a list.
type named struct {
	first string
	n     int
}

func (x *named) add(name string) {
	if x.n == 0 || name < x.first {
		x.first = name
	}
	x.n++
}

func (x *named) String() string {
	if x.n > 1 {
		return fmt.Sprintf("%s and %d more", x.first, x.n-1)
	}
	return x.first
}
