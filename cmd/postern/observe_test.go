package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"postern/node/dnsbl"
	"postern/node/lab"
	"postern/tenant"
)

// lists VAR ZONE:TYPE:FILE...: a real DNSBL server with the script's files, its
// address in $VAR.
func startLists(ts *testscript.TestScript, _ bool, args []string) {
	files := map[string]string{}
	for _, zone := range args[1:] {
		name := zone[strings.LastIndexByte(zone, ':')+1:]
		files[name] = ts.ReadFile(name)
	}
	r, err := lab.StartRbldnsd(files, args[1:]...)
	if err != nil {
		ts.Fatalf("%v (make packages installs it)", err)
	}
	ts.Defer(r.Close)
	ts.Setenv(args[0], r.Addr.String())
}

const watchedZones = `zones:
  - name: bl.test
    asks: [ipv4]
    heavy: true
    every: 1m
    codes: [{code: 127.0.0.2, weight: 100, means: spam}]
`

// --watch serves metrics, and ends by SIGTERM with the status of the last
// verdicts. In the long run it also tells when the list changes, which is some
// time of a real minute.
func TestObserveWatch(t *testing.T) {
	text := "$TTL 1\n:127.0.0.2:Listed $\n127.0.0.2\n"
	r, err := lab.StartRbldnsd(map[string]string{"ip4": text}, "bl.test:ip4set:ip4")
	if err != nil {
		t.Fatalf("%v (make packages installs it)", err)
	}
	defer r.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{"ips": "192.0.2.10\n", "zones.yaml": watchedZones} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metrics := free.Addr().String()
	free.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "observe", "--ips", "ips", "--zones", "zones.yaml", "--resolver", r.Addr.String(), "--watch", "--metrics", metrics)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), asPostern+"=1"), os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	timer := time.AfterFunc(4*time.Minute, func() { cmd.Process.Kill() })
	defer timer.Stop()
	lines := bufio.NewScanner(out)
	await := func(part string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), part) {
				return
			}
		}
		t.Fatalf("it ended before it said %q", part)
	}
	await("192.0.2.10: clean")
	await("Watching")
	resp, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !strings.Contains(string(body), `postern_dnsbl_heavy_zones_usable{resolver="`+r.Addr.String()+`"} 1`) {
		t.Errorf("%v\n%s", err, body)
	}
	want := exitDone
	if os.Getenv("POSTERN_SOAK") != "" {
		want = exitRefused
		if err := r.Set("ip4", text+"192.0.2.10\n"); err != nil {
			t.Fatal(err)
		}
		await("192.0.2.10 bl.test, by " + r.Addr.String() + ": listed")
		await("WARNING, sum 100 of 100")
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != want {
		t.Errorf("ended with %v", err)
	}
}

// What --watch writes of a changed answer and of a changed verdict; an equal one
// is no news.
func TestObserveChanges(t *testing.T) {
	var out bytes.Buffer
	a := newApp(nil, &out, nil)
	ob := tenant.Observation{Node: "n1", Subject: "192.0.2.10", Zone: "bl.test", At: time.Date(2026, 11, 22, 10, 30, 1, 0, time.UTC),
		Answer: tenant.Answer{Kind: tenant.AnswerListed, Hits: []tenant.Hit{{Code: netip.MustParseAddr("127.0.0.2"), Means: "spam", Weight: 100, Policy: tenant.PolicyMove}}}}
	a.changed(ob)
	ob.Answer = tenant.Answer{Why: tenant.WhyTimeout}
	a.changed(ob)
	of := func(level tenant.ListingLevel, soon int) *dnsbl.Report {
		return &dnsbl.Report{Subjects: []dnsbl.Judged{{Subject: "192.0.2.10", Space: tenant.SpaceIPv4, Verdict: tenant.ListingVerdict{Level: level, Soon: soon}}}}
	}
	a.verdicts(of(tenant.LevelWarning, 100), of(tenant.LevelWarning, 100))
	a.verdicts(of(tenant.LevelWarning, 100), of(tenant.LevelMove, 100))
	want := "10:30:01 192.0.2.10 bl.test, by n1: listed 127.0.0.2 spam\n" +
		"10:30:01 192.0.2.10 bl.test, by n1: unknown: no answer in time\n" +
		"\n192.0.2.10: LISTED: tenants would move, sum 100 of 100\n"
	if out.String() != want {
		t.Errorf("%q\nwant %q", out.String(), want)
	}
	out.Reset()
	a.json = true
	a.changed(ob)
	a.verdicts(of(tenant.LevelClear, 0), of(tenant.LevelMove, 100))
	if text := out.String(); strings.Count(text, "\n") != 2 || !strings.HasPrefix(text, `{"observation":{"node":"n1"`) || !strings.Contains(text, "\n{\"verdict\":{\"subject\"") {
		t.Errorf("%s", text)
	}
}
