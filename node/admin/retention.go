package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/tenant"
)

// Kept tells what of personal data this node's clean-ups left.
type Kept interface {
	// Oldest says of each class when the oldest came; what a class has none of is
	// absent.
	Oldest() map[string]time.Time
}

// Retention is for how long personal data is kept, and what there is of it.
type Retention struct {
	Classes []RetentionClass `json:"classes" nullable:"false"`
	// Missing names nodes that did not say what they have.
	Missing []string `json:"missing,omitempty" doc:"Nodes that gave no answer"`
}

// RetentionClass is one class of personal data.
type RetentionClass struct {
	Class string `json:"class"`
	What  string `json:"what"`
	Days  uint32 `json:"days" doc:"0: for ever"`
	Usual uint32 `json:"usual" doc:"Until somebody sets something else"`
	Least uint32 `json:"least"`
	Most  uint32 `json:"most"`
	// Forever says that 0 is allowed.
	Forever bool         `json:"forever" doc:"0 days, for ever, is allowed"`
	Nodes   []KeptOnNode `json:"nodes" nullable:"false"`
}

// KeptOnNode is the oldest of a class on one node.
type KeptOnNode struct {
	Node   string    `json:"node"`
	Oldest time.Time `json:"oldest"`
	Late   bool      `json:"late,omitempty" doc:"It should be gone: the node's clean-up does not keep up"`
}

// SetRetention sets one class.
type SetRetention struct {
	Days uint32 `json:"days" maximum:"100000" doc:"0: for ever, where that is allowed"`
}

// keptSlack is how much longer than set the oldest may be there: rows go by
// whole days of arrival, and journals by the day.
const keptSlack = 3 * 24 * time.Hour

func (s *Server) retentionRoutes() {
	register(s, in{verb: http.MethodGet, path: "/v1/retention", id: "get-retention", tag: "retention",
		does: "Show for how long personal data is kept, and the oldest on each node"},
		func(ctx context.Context, who caller, _ *struct{}) (*out[Retention], error) {
			return reply(s.retention(ctx, who, s.cfg.State())), nil
		})
	type set struct {
		Keyed
		Class string `path:"class" maxLength:"40"`
		Body  SetRetention
	}
	register(s, in{verb: http.MethodPut, path: "/v1/retention/{class}", id: "set-retention", tag: "retention",
		does: "Say for how long a class of personal data is kept"},
		func(ctx context.Context, who caller, i *set) (*out[Retention], error) {
			st, err := s.read(ctx)
			if err != nil {
				return nil, err
			}
			r := st.Retention()
			field := r.Class(i.Class)
			if field == nil {
				return nil, problem(http.StatusNotFound, "the classes are "+strings.Join(retentionNames(), ", "), "no class %q of personal data", clip(i.Class))
			}
			*field = i.Body.Days
			_, st, err = s.propose(ctx, i.Keyed, tenant.SetRetention{Retention: r})
			if err != nil {
				return nil, err
			}
			return reply(s.retention(ctx, who, st)), nil
		})
}

func retentionNames() (all []string) {
	for _, c := range tenant.RetentionClasses() {
		all = append(all, c.Name)
	}
	return all
}

// retention asks all nodes, but for who asks in another's name: it gets this
// node's alone.
func (s *Server) retention(ctx context.Context, who caller, st *tenant.State) Retention {
	r, v, now := st.Retention(), Retention{}, time.Now()
	for _, c := range tenant.RetentionClasses() {
		x := RetentionClass{Class: c.Name, What: c.What, Days: *r.Class(c.Name), Usual: c.Usual, Least: c.Least, Most: c.Most, Forever: c.Forever, Nodes: []KeptOnNode{}}
		if s.cfg.Kept != nil {
			if at, ok := s.cfg.Kept.Oldest()[c.Name]; ok {
				x.Nodes = append(x.Nodes, KeptOnNode{Node: s.cfg.Node, Oldest: at.UTC(), Late: x.Days > 0 && now.Sub(at) > tenant.Days(x.Days)+keptSlack})
			}
		}
		v.Classes = append(v.Classes, x)
	}
	var mu sync.Mutex
	v.Missing = s.gather(ctx, who, s.otherNodes(st, who), func(ctx context.Context, c *Client) error {
		theirs, err := c.Retention(ctx)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for i := range v.Classes {
			for _, x := range theirs.Classes {
				if x.Class == v.Classes[i].Class {
					v.Classes[i].Nodes = append(v.Classes[i].Nodes, x.Nodes...)
				}
			}
		}
		return nil
	})
	for _, c := range v.Classes {
		slices.SortFunc(c.Nodes, func(a, b KeptOnNode) int { return strings.Compare(a.Node, b.Node) })
	}
	return v
}

// otherNodes are all nodes but this one that can be asked.
func (s *Server) otherNodes(st *tenant.State, who caller) (all []string) {
	if s.peers == nil || who.passedOn {
		return nil
	}
	for n := range st.Nodes() {
		if n.Name != s.cfg.Node {
			all = append(all, n.Name)
		}
	}
	return all
}
