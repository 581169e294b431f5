package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"postern/node/admin"
)

// refusedTimes is what the lab's host that knows nobody has seen: connections
// and refusals.
func (r *demoRun) refusedTimes(j demoJSON) (seen [2]int64) {
	r.t.Helper()
	resp, err := http.Get("http://" + j.Lab.API + "/exchangers")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var all struct {
		Exchangers []struct {
			Name    string `json:"name"`
			Conns   int64  `json:"connections"`
			Refused int64  `json:"refused"`
		} `json:"exchangers"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		r.t.Fatal(err)
	}
	for _, x := range all.Exchangers {
		if strings.HasSuffix(x.Name, "nobody.test") {
			return [2]int64{x.Conns, x.Refused}
		}
	}
	r.t.Fatalf("no host of nobody.test among %+v", all)
	return seen
}

// Real processes: an address that its host does not know bounces once. The next
// message to it ends as suppressed and reaches no host, also after the owner was
// killed and its holder took the log over. What an operator takes off the list is
// tried again, and the account's owner gets the errors.
func TestSuppressedAcrossATakeover(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes")
	}
	r := startDemo(t, t.TempDir(), "--tenants", "3", "--traffic", "0")
	j := r.waitJSON("three nodes", func(j demoJSON) bool { return len(j.Nodes) == 3 && len(j.Tenants) > 0 })
	r.waitLine(patience, "Ctrl-C ends the demo.")
	r.settled(j)
	first := j.Tenants[0]
	owner := slices.IndexFunc(j.Nodes, func(n demoJSONNode) bool { return n.Name == first.Owner })
	other := (owner + 1) % 3
	eventually(t, patience, "all programs to know suppressions", func() bool {
		_, err := r.api(j, other).Suppress(t.Context(), first.Name, admin.ChangeSuppressions{Addresses: []admin.SuppressAddress{{Address: "asked@nobody.test", Text: "asked by phone"}}})
		return err == nil
	})
	listed := func(addr string) bool {
		p, err := r.api(j, other).Suppressions(t.Context(), first.Name, admin.List{Limit: 1000})
		return err == nil && slices.ContainsFunc(p.Items, func(x admin.Suppression) bool { return x.Address == addr })
	}
	before := r.refusedTimes(j)
	r.eventuallySend(j.Nodes[other].Submission[0], first, "Gone@nobody.test")
	eventually(t, patience, "the address to be on the list", func() bool { return listed("gone@nobody.test") })
	seen := r.refusedTimes(j)
	if seen[0] != before[0]+1 || seen[1] != before[1]+1 {
		t.Fatalf("%v, then %v, want one connection and one refusal more", before, seen)
	}
	suppressed := func(want int) {
		t.Helper()
		eventually(t, patience, fmt.Sprintf("%d suppressed", want), func() bool {
			p, err := r.api(j, other).Failures(t.Context(), first.Username, "", "")
			n := 0
			for _, x := range p.Items {
				if x.Result == "suppressed" {
					n++
				}
			}
			return err == nil && n == want
		})
		if now := r.refusedTimes(j); now != seen {
			t.Errorf("%v, then %v: the host was asked about what is suppressed", seen, now)
		}
	}
	r.eventuallySend(j.Nodes[other].Submission[0], first, "gone@nobody.test")
	suppressed(1)
	if err := syscall.Kill(*j.Nodes[owner].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.eventuallySend(j.Nodes[other].Submission[0], first, "gone@nobody.test")
	r.eventuallySend(j.Nodes[other].Submission[0], first, "asked@nobody.test")
	suppressed(3)
	var out bytes.Buffer
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(j.OperatorToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	verb := func(args ...string) string {
		t.Helper()
		out.Reset()
		in := strings.NewReader("new@nobody.test,\"old list, cleaned\"\n")
		args = append(args, "--api", j.Nodes[other].Admin, "--token-file", token)
		if code := run(args, in, &out, &out); code != exitDone {
			t.Fatalf("%v: exit %d: %s", args, code, out.String())
		}
		return out.String()
	}
	rows, err := csv.NewReader(strings.NewReader(verb("account", "errors", first.Username))).ReadAll()
	if err != nil || len(rows) != 4 || !slices.ContainsFunc(rows, func(x []string) bool {
		return x[0] == "Gone@nobody.test" && x[1] == "InvalidRecipient" && x[2] == "550" && x[6] == "1"
	}) {
		t.Errorf("errors %q, %v", rows, err)
	}
	verb("suppression", "remove", "gone@nobody.test", "--tenant", first.Name)
	if text := verb("suppression", "list", "--tenant", first.Name); strings.Contains(text, "gone@") || !strings.Contains(text, "asked@") {
		t.Errorf("list: %s", text)
	}
	verb("suppression", "import", "-", "--tenant", first.Name)
	if text := verb("suppression", "export", "--tenant", first.Name); !strings.Contains(text, "new@nobody.test,operator") || !strings.Contains(text, "old list, cleaned") {
		t.Errorf("export: %s", text)
	}
	r.eventuallySend(j.Nodes[other].Submission[0], first, "gone@nobody.test")
	eventually(t, patience, "it is tried again", func() bool { return r.refusedTimes(j)[1] == seen[1]+1 })
	r.end()
	if r.err != nil {
		t.Errorf("the demo ended with %v", r.err)
	}
}
