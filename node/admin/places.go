package admin

import (
	"fmt"
	"net/http"

	"postern/tenant"
)

// notArmed says why a tenant's backup would not work right now; nil: it would.
func notArmed(st *tenant.State, t *tenant.Tenant) []string {
	if t.Backup == (tenant.Place{}) {
		return []string{"it has no backup"}
	}
	to := other(t)
	n := st.Node(to.Node)
	if n == nil {
		return []string{"the node of its backup is not known"}
	}
	var why []string
	if !n.Down.IsZero() {
		why = append(why, "node "+n.Name+" is down")
	}
	if n.Draining {
		why = append(why, "node "+n.Name+" is being drained")
	}
	if len(st.SourcesAt(to)) == 0 {
		why = append(why, "nothing leaves by "+to.String())
	}
	if t.Owner != n.ID && owned(st, n.ID) >= tenant.NodeTenants {
		why = append(why, fmt.Sprintf("node %s owns %d tenants already", n.Name, tenant.NodeTenants))
	}
	return why
}

// choosePlaces reads the places of a new tenant. Without a home the two nodes
// with the most room are chosen, which keeps homes and backups balanced.
func (s *Server) choosePlaces(st *tenant.State, home Place, backup *Place) (h, b tenant.Place, err error) {
	if home != (Place{}) {
		return places(st, home, backup)
	}
	if backup != nil {
		return h, b, badField("body.home", "give both, or neither", "a backup alone is no choice")
	}
	homes, backups := map[tenant.NodeID]int{}, map[tenant.NodeID]int{}
	for t := range st.Tenants() {
		homes[t.Home.Node]++
		backups[t.Backup.Node]++
	}
	least := func(but tenant.NodeID, load func(tenant.NodeID) int, most int) tenant.NodeID {
		var best tenant.NodeID
		for n := range st.Nodes() {
			if n.ID == but || n.Witness || n.Draining || !n.Down.IsZero() || len(st.SourcesAt(tenant.Place{Node: n.ID})) == 0 || load(n.ID) >= most {
				continue
			}
			if best == 0 || load(n.ID) < load(best) {
				best = n.ID
			}
		}
		return best
	}
	h.Node = least(0, func(n tenant.NodeID) int { return max(homes[n], owned(st, n)) }, tenant.NodeTenants)
	if h.Node == 0 {
		return h, b, problem(http.StatusConflict, "postern plan --capacity says what is missing", "no node with a pool has room for another tenant")
	}
	// A backup's load counts what would come to it: homes and backups together.
	b.Node = least(h.Node, func(n tenant.NodeID) int { return homes[n] + backups[n] }, 2*tenant.NodeTenants)
	return h, b, nil
}
