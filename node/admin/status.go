package admin

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"postern/tenant"
)

// maxReasons keeps the status a screen, not a list: the rest is counted.
const maxReasons = 20

func (s *Server) statusRoutes() {
	register(s, in{verb: http.MethodGet, path: "/v1/status", id: "get-status", tag: "node", access: tenantToo,
		does: "Say whether this node is fine, and if not, what to do"},
		func(_ context.Context, who caller, _ *struct{}) (*out[Status], error) {
			return reply(s.status(who)), nil
		})
}

// status counts only what the caller may see; a tenant is not told of the
// node's inner reasons.
func (s *Server) status(who caller) Status {
	st := s.cfg.State()
	v := Status{Node: s.cfg.Node, Version: s.cfg.Version, Index: st.Index(), Reasons: []Reason{}, Role: schemeOperator}
	reasons := s.reasons()
	v.Ready = !stops(reasons)
	if who.operator {
		digest := st.Digest()
		v.Digest = hex.EncodeToString(digest[:])
		v.Reasons = append(v.Reasons, reasons...)
	} else {
		v.Role = schemeTenant
		if !v.Ready {
			v.Reasons = append(v.Reasons, Reason{Text: "this node does not accept mail now", Mend: "your program tries again by itself", Stops: true})
		}
	}
	counts := s.cfg.Messages.Counts()
	for t := range st.Tenants() {
		if !who.may(t.ID) {
			continue
		}
		v.Tenants++
		if !who.operator {
			v.Tenant = t.Name
		}
		v.Queued += counts[t.ID].Queued
		v.InDoubt += counts[t.ID].InDoubt
		if reason := stopOf(t); reason != "" {
			v.Stopped++
			v.Reasons = append(v.Reasons, Reason{Text: fmt.Sprintf("tenant %s is %s", t.Name, reason), Mend: mendStop(st, t)})
		}
		for a := range st.AccountsOf(t.ID) {
			if a.Held != "" {
				v.Stopped++
				verb := "release "
				if x := st.Suspended(a); x != nil && x.Account == a.ID {
					verb = "resume "
				}
				v.Reasons = append(v.Reasons, Reason{Text: fmt.Sprintf("account %s is held: %s", a.Username, a.Held),
					Mend: "postern account " + verb + a.Username})
			}
		}
	}

	if len(v.Reasons) > maxReasons {
		more := len(v.Reasons) - maxReasons
		v.Reasons = append(v.Reasons[:maxReasons], Reason{Text: fmt.Sprintf("and %d more of the kind", more), Mend: "postern tenant list"})
	}
	return v
}

func stopOf(t *tenant.Tenant) string {
	switch {
	case t.Held != "":
		return "held: " + t.Held
	case t.Paused != "":
		return "paused: " + t.Paused
	}
	return ""
}

func mendStop(st *tenant.State, t *tenant.Tenant) string {
	switch {
	case st.ClosedTenant(t.ID) != nil:
		return ""
	case st.SuspendedTenant(t.ID) != nil:
		return "postern tenant resume " + t.Name
	case t.Held != "":
		return "postern tenant release " + t.Name
	case t.Paused == tenant.ReasonUnread:
		return mendUnread
	case t.Paused != "":
		return "postern tenant resume " + t.Name
	}
	switch why, c := st.Waits(t.ID); {
	case c != nil:
		return "postern listing show " + c.Addr.String()
	case why != "":
		return "postern doctor --tenant " + t.Name
	}
	return ""
}

// mendUnread is what ends the waiting for a copy that cannot be read.
const mendUnread = "start the node that is down (postern node list), or if its disk is gone, postern node remove NODE --lost"

func (s *Server) reasons() []Reason {
	var all []Reason
	if s.cfg.Ready != nil {
		all = s.cfg.Ready()
	}
	return append(all, s.clusterReasons()...)
}

// Ready says whether this node may accept mail, as /readyz does.
func (s *Server) Ready() bool { return !stops(s.reasons()) }

func stops(reasons []Reason) bool {
	for _, r := range reasons {
		if r.Stops {
			return true
		}
	}
	return false
}

// Stops lists what keeps this node from saying 250; nothing when it may.
func (s *Server) Stops() []string {
	var all []string
	for _, r := range s.reasons() {
		if r.Stops {
			all = append(all, r.Text)
		}
	}
	return all
}

// healthz is for what restarts a process that is stuck: 200 while this node's
// own disk and loops work, whatever the other nodes do.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if s.cfg.Healthy != nil {
		if err := s.cfg.Healthy(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
	}
	fmt.Fprintln(w, "ok")
}

// readyz is for probes and balancers: 200 when this node may say 250.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	stops := s.Stops()
	if len(stops) == 0 {
		fmt.Fprintln(w, "ready")
		return
	}
	w.Header().Set("Retry-After", "5")
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, strings.Join(stops, "\n"))
}
