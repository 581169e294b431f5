package main

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/node/admin"
)

// patience is how long the tests wait for a cluster on a machine that does
// other things, too.
const patience = 2 * time.Minute

// eventuallySend sends until a node says 250: elections are answered with 4xx.
func (r *demoRun) eventuallySend(addr string, t demoJSONTenant, to string) {
	r.t.Helper()
	var last error
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if last = r.send(addr, t.Username, t.Password, to); last == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("%s is not accepted at %s: %v", to, addr, last)
}

func (r *demoRun) api(j demoJSON, node int) *admin.Client {
	r.t.Helper()
	c, err := admin.NewClient(j.Nodes[node].Admin, j.OperatorToken)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// settled waits until the cluster stands as it should: a leader, leases
// everywhere, and each tenant's second copy complete.
func (r *demoRun) settled(j demoJSON) {
	r.t.Helper()
	c := r.api(j, 0)
	why := ""
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if why = unsettled(r.t, c); why == "" {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("the cluster does not settle: %s", why)
}

func unsettled(t *testing.T, c *admin.Client) string {
	nodes, err := c.Nodes(t.Context(), admin.List{})
	if err != nil {
		return err.Error()
	}
	for _, n := range nodes.Items {
		if n.State != "up" || n.Lease == "none" || n.Role == "joining" {
			return fmt.Sprintf("%+v", n)
		}
	}
	tenants, err := c.Tenants(t.Context(), admin.List{})
	if err != nil {
		return err.Error()
	}
	for _, x := range tenants.Items {
		if x.Mirror == nil || x.Mirror.Node == "" || !x.Mirror.Known || !x.Mirror.Synced || x.Mirror.BrokenMS > 0 {
			return fmt.Sprintf("%s: %+v", x.Name, x.Mirror)
		}
	}
	return ""
}

// Three nodes formed by the real verbs: each takes a message of any tenant; a
// follower is killed, then the leader; mail flows on, and demo.json follows.
func TestDemoOfThree(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes")
	}
	r := startDemo(t, t.TempDir(), "--traffic", "4", "--restart", "500ms")
	j := r.waitJSON("three nodes", func(j demoJSON) bool { return len(j.Nodes) == 3 && len(j.Tenants) == 6 })
	first := j.Tenants[0]
	if first.Home != "n1" || first.Backup == nil || *first.Backup != "n2" || first.Owner != "n1" || first.Source != "127.77.1.11" {
		t.Errorf("first tenant %+v", first)
	}
	r.waitLine(patience, "Ctrl-C ends the demo.")
	for _, line := range strings.Split(r.said(), "\n") {
		if len(line) > 80 && !strings.Contains(line, r.dir) {
			t.Errorf("a line of %d columns: %s", len(line), line)
		}
	}
	r.invites(j)
	for i, n := range j.Nodes {
		to := fmt.Sprintf("via-%s@inbox.test", n.Name)
		r.eventuallySend(n.Submission[0], j.Tenants[(i+1)%3], to)
		r.waitLine(patience, to+": delivered from ")
	}
	// Any node answers any verb, and the token is everywhere the same.
	for i := range j.Nodes {
		if _, err := r.api(j, i).SetRoute(t.Context(), fmt.Sprintf("r%d.test", i), admin.SetRoute{Host: "192.0.2.1"}); err != nil {
			t.Errorf("node %d: %v", i, err)
		}
	}
	r.settled(j)
	r.spams(j)

	leader := r.leader(j)
	follower := (leader + 1) % 3
	r.killed(j, follower, leader)
	r.settled(r.waitRunning())
	j, _ = r.json()
	leader = r.leader(j)
	r.killed(j, leader, (leader+1)%3)
	r.settled(r.waitRunning())
	r.end()
	if r.err != nil {
		t.Errorf("the demo ended with %v", r.err)
	}
	if text := r.said(); !strings.Contains(text, "lost 0") || strings.Contains(text, "lost 1") {
		t.Error("something was lost")
	}
	for _, n := range j.Nodes {
		if n.PID != nil && syscall.Kill(*n.PID, 0) == nil {
			t.Errorf("node %s is still there", n.Name)
		}
	}
}

// spams has the account send spam that the screen names: its traps have the IP it
// shares listed, by two words of three. It is held, its customer's other account
// and the neighbour move and send on, and who is not prepared waits.
func (r *demoRun) spams(j demoJSON) {
	r.t.Helper()
	_, line, ok := strings.Cut(r.said(), "\n  curl -X PUT http://"+j.Lab.API+"/spam/")
	spammer, _, _ := strings.Cut(line, "\n")
	if !ok || spammer != "daily@choir.test" {
		r.t.Fatalf("the screen invites %q to send spam", spammer)
	}
	put := func(username string, want int) {
		r.t.Helper()
		req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPut, "http://"+j.Lab.API+"/spam/"+username, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			r.t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			r.t.Errorf("spam of %s: %s", username, resp.Status)
		}
	}
	put("mail@choir.test", http.StatusConflict)
	put(spammer, http.StatusOK)
	put(spammer, http.StatusConflict)
	source, c := j.Nodes[0].Sources[1], r.api(j, 1)
	eventually(r.t, patience, source+" is listed", func() bool {
		x, err := c.ListingOf(r.t.Context(), source)
		return err == nil && x.Level == "move" && x.Score == 100 && x.Zones[0].Listed == 2 && x.Zones[0].Blind == 1
	})
	for _, line := range []string{
		source + " of n1: ", "n3: not known, not", "LISTED", "choir/daily@choir.test HELD ", spammer + " is refused now: 550 5.7.1 ",
		"garden waits: its backup is not armed: SPF of garden.test lacks", "choir -> n3 pool: first delivery", "corner -> n2 pool: first delivery",
		"@inbox.test: delivered from 127.77.3.", "dbl.lab.test lists pills.test",
	} {
		r.waitLine(patience, line)
	}
	eventually(r.t, patience, "complaints to count", func() bool {
		p, err := c.Cases(r.t.Context(), admin.List{})
		return err == nil && len(p.Items) == 1 && strings.Contains(p.Items[0].Suspects[0].Sum, "complaints ")
	})
	a, err := c.Account(r.t.Context(), "mail@choir.test")
	if err != nil || a.State != "sending" {
		r.t.Errorf("the spammer's neighbour in the house: %+v, %v", a, err)
	}
	g, err := c.Tenant(r.t.Context(), "garden")
	if err != nil || g.State != "waiting" || !strings.HasPrefix(g.Waits, source+" is listed; its backup is not armed: ") || g.Mend != "postern listing show "+source {
		r.t.Errorf("garden: %+v, %v", g, err)
	}
}

// invites checks what the screen says of killing a node: a line to copy for each
// one, with the pid that demo.json has, the leader marked, and what follows.
func (r *demoRun) invites(j demoJSON) {
	r.t.Helper()
	_, text, ok := strings.Cut(r.said(), "Now break it, with one of\n")
	if !ok {
		r.t.Fatal("the screen does not say how to break it")
	}
	lines := strings.Split(text, "\n")
	if len(lines) < len(j.Nodes)+2 {
		r.t.Fatalf("the screen says no more than %q", lines)
	}
	leaders := 0
	for i, n := range j.Nodes {
		want := fmt.Sprintf("  kill -9 %-8d # node %s", *n.PID, n.Name)
		rest, ok := strings.CutPrefix(lines[i], want)
		if !ok || rest != "" && rest != ", the leader" {
			r.t.Errorf("line %d is %q, want %q", i, lines[i], want)
		}
		if rest != "" {
			leaders++
		}
	}
	if leaders > 1 { // none: nobody led in the moment it was asked
		r.t.Errorf("%d leaders", leaders)
	}
	if got, want := lines[len(j.Nodes)], "and send the same message again, the same line: another node takes it."; got != want {
		r.t.Errorf("then %q, want %q", got, want)
	}
	if got, want := lines[len(j.Nodes)+1], "The node that died is started again after 500ms."; got != want {
		r.t.Errorf("then %q, want %q", got, want)
	}
}

func (r *demoRun) leader(j demoJSON) int {
	r.t.Helper()
	found := -1
	eventually(r.t, patience, "leader", func() bool {
		for i := range j.Nodes {
			c, err := r.api(j, i).Cluster(r.t.Context())
			if err == nil && c.Leader != "" {
				found = slices.IndexFunc(j.Nodes, func(n demoJSONNode) bool { return n.Name == c.Leader })
				return found >= 0
			}
		}
		return false
	})
	return found
}

// killed kills a node with -9 and sends its tenants' mail through another: it
// comes, from another node's source, and the screen says so.
func (r *demoRun) killed(j demoJSON, node, through int) {
	r.t.Helper()
	name := j.Nodes[node].Name
	owned := slices.IndexFunc(j.Tenants, func(t demoJSONTenant) bool { return t.Owner == name })
	if err := syscall.Kill(*j.Nodes[node].PID, syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	r.waitLine(patience, fmt.Sprintf("node %s (pid %d) has ended", name, *j.Nodes[node].PID))
	t := j.Tenants[max(owned, 0)]
	to := fmt.Sprintf("after-%s-%d@inbox.test", name, node)
	r.eventuallySend(j.Nodes[through].Submission[0], t, to)
	r.waitLine(patience, to+": delivered from ")
}

// waitRunning waits until demo.json shows every node with a process.
func (r *demoRun) waitRunning() demoJSON {
	r.t.Helper()
	return r.waitJSON("all running", func(j demoJSON) bool {
		for _, n := range j.Nodes {
			if n.PID == nil || syscall.Kill(*n.PID, 0) != nil {
				return false
			}
		}
		return true
	})
}

// One node grows to three: the mail and the tenants of before stay.
func TestDemoGrows(t *testing.T) {
	if testing.Short() || os.Getenv("POSTERN_SOAK") == "" {
		t.Skip("real processes; only with POSTERN_SOAK")
	}
	dir := t.TempDir()
	r := startDemo(t, dir, "--nodes", "1", "--tenants", "2", "--traffic", "0")
	was := r.waitJSON("tenants", func(j demoJSON) bool { return len(j.Tenants) == 2 })
	r.end()
	r = startDemo(t, dir, "--nodes", "3", "--tenants", "2", "--traffic", "0")
	j := r.waitJSON("three nodes", func(j demoJSON) bool { return len(j.Nodes) == 3 })
	if j.Tenants[0].Password != was.Tenants[0].Password {
		t.Error("the password changed")
	}
	r.eventuallySend(j.Nodes[2].Submission[0], j.Tenants[0], "grown@inbox.test")
	r.waitLine(patience, "grown@inbox.test: delivered from 127.77.1.11")
}
