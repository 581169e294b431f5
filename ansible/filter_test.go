package ansible

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// The gate of a rolling restart opens only for a cluster that is well.
func TestDoubts(t *testing.T) {
	node := `{"name":"n2","state":"up","lease":"held","role":"voter"}`
	copied := `{"name":"shoes","epoch":3,"mirror":{"node":"n2","synced":true,"known":true,"left":0,"broken_ms":0}}`
	cases := []struct{ said, doubt string }{
		{`{"node":"n1","ready":true,"reasons":[]}`, ""},
		{`{"node":"n1","ready":false,"reasons":[{"text":"no lease"}]}`, "n1 is not ready: no lease"},
		{`{"items":[` + node + `]}`, ""},
		{`{"items":[` + strings.Replace(node, "up", "silent", 1) + `]}`, "node n2 is silent"},
		{`{"items":[` + strings.Replace(node, "held", "none", 1) + `]}`, "node n2 has no lease"},
		{`{"items":[` + strings.Replace(node, "voter", "joining", 1) + `]}`, "node n2 does not vote yet"},
		{`{"items":[` + copied + `]}`, ""},
		{`{"items":[{"name":"fresh","epoch":1}]}`, ""},
		{`{"items":[` + strings.Replace(copied, `"left":0`, `"left":7`, 1) + `]}`, "the second copy of tenant shoes is not complete"},
		{`{"items":[` + strings.Replace(copied, `"synced":true`, `"synced":false`, 1) + `]}`, "the second copy of tenant shoes is not complete"},
		{`{"items":[` + strings.Replace(copied, `"node":"n2"`, `"node":""`, 1) + `]}`, "the mail of tenant shoes has one copy"},
		{`{"items":[` + strings.Replace(copied, `"known":true`, `"known":false`, 1) + `]}`, "the owner of tenant shoes gives no answer"},
		{`{"items":[{"name":"shoes","epoch":3,"to":"n3"}]}`, "tenant shoes is being handed over"},
		{`{"items":[]}`, ""},
		{``, "postern gives no answer: refused"},
	}
	var answers []map[string]string
	for _, x := range cases {
		answers = append(answers, map[string]string{"stdout": x.said, "stderr": "refused"})
	}
	in, err := json.Marshal(answers)
	must(t, err)
	cmd := exec.Command("python3", "-B", "-c", "import json,sys,postern; json.dump(['; '.join(postern.doubts(x)) for x in json.load(sys.stdin)], sys.stdout)")
	cmd.Dir = "roles/postern/filter_plugins"
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	must(t, err)
	var got []string
	must(t, json.Unmarshal(out, &got))
	if len(got) != len(cases) {
		t.Fatalf("%d answers, want %d", len(got), len(cases))
	}
	for i, x := range cases {
		if got[i] != x.doubt {
			t.Errorf("%s:\n got %q\nwant %q", x.said, got[i], x.doubt)
		}
	}
}
