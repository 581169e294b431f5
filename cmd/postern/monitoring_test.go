package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/node/admin"
)

// A real Prometheus watches three nodes that have mail of all kinds, a listing
// and reports. Every metric that an alert or a dashboard asks for has a value, no
// text of an alert is broken, and what the pages say to look at can be looked at.
// With POSTERN_PICTURES it goes on for as long as that says, loses a node
// meanwhile, and draws the dashboards: `make pictures`.
func TestMonitoring(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes")
	}
	w := newMonitored(t)
	w.trouble()
	w.prometheus(t.TempDir())
	empty := w.queries()
	eventually(t, patience, "an answer to "+fmt.Sprint(len(empty))+" queries", func() bool {
		for q := range empty {
			if n, err := w.ask(q); err != nil {
				t.Fatalf("%s of %s: %v", q, empty[q], err)
			} else if n > 0 {
				delete(empty, q)
			}
		}
		return len(empty) == 0 || time.Since(w.began) > patience
	})
	for q, whose := range empty {
		t.Errorf("%s of %s is empty", q, whose)
	}
	w.alerts()
	w.looks()
	w.pictures()
}

// monitored is a demo, and a Prometheus that asks it.
type monitored struct {
	*demoRun
	j     demoJSON
	url   string
	began time.Time
}

func newMonitored(t *testing.T) *monitored {
	w := &monitored{demoRun: startDemo(t, t.TempDir(), "--traffic", "10", "--restart", "40s"), began: time.Now()}
	w.j = w.waitJSON("three nodes", func(j demoJSON) bool { return len(j.Nodes) == 3 && len(j.Tenants) == 6 && owned(j) })
	return w
}

// trouble is what metrics of trouble need: mail that waits, mail that is refused
// here and there, listings of addresses and domains, a spammer who is found, a
// complaint, a late bounce, and a tenant that was erased.
func (w *monitored) trouble() {
	shoes, at := w.j.Tenants[0], w.j.Nodes[0].Submission[0]
	w.lab(http.MethodPut, "/mood/mx.blocked.test", `{"mood":"blocked","list":"zen.lab.test"}`)
	for _, domain := range []string{"busy.test", "blocked.test", "nobody.test"} {
		w.eventuallySend(at, shoes, "anna@"+domain)
	}
	w.eventuallySend(at, shoes, "reported@inbox.test")
	if err := bring(at, "anna@inbox.test", ""); err == nil {
		w.t.Error("mail of nobody was taken")
	}
	w.lab(http.MethodPut, "/listing/"+w.j.Nodes[2].Sources[2], `127.0.0.2`)
	w.lab(http.MethodPut, "/spam/daily@choir.test", "")
	w.lab(http.MethodPut, "/listing/"+demoDomain, "")
	w.erase("leaver")
	var got struct{ Messages []struct{ Text string } }
	eventually(w.t, patience, "the message to report", func() bool {
		err := json.Unmarshal(w.lab(http.MethodGet, "/messages?to=reported@inbox.test", ""), &got)
		return err == nil && len(got.Messages) > 0
	})
	header, _, _ := strings.Cut(got.Messages[0].Text, "\r\n\r\n")
	for _, report := range []string{
		"report-type=feedback-report; boundary=b\r\n\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: far/1\r\nVersion: 1\r\n",
		"report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.far.test\r\n\r\nFinal-Recipient: rfc822; reported@inbox.test\r\nAction: failed\r\nStatus: 5.1.1\r\n",
	} {
		text := "From: reports@far.test\r\nSubject: report\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; " + report +
			"\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n" + header + "\r\n\r\n--b--\r\n"
		if err := bring(w.j.Nodes[1].Intake, "abuse@smtp."+demoDomain, text); err != nil {
			w.t.Fatalf("report: %v", err)
		}
	}
}

// erase makes a tenant and erases it.
func (w *monitored) erase(name string) {
	w.t.Helper()
	c := w.api(w.j, 0)
	if _, err := c.AddTenant(w.t.Context(), admin.NewTenant{Name: name, Hostname: name + "." + demoDomain, Home: admin.Place{Node: "n1"}}); err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, patience, name+" to be erased", func() bool {
		_, err := c.EraseTenant(w.t.Context(), name, admin.Erase{})
		return err == nil
	})
}

// bring delivers a report as a stranger's host does.
func bring(addr, to, text string) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := errors.Join(c.Mail(""), c.Rcpt(to)); err != nil {
		return err
	}
	b, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(b, text); err != nil {
		return err
	}
	return errors.Join(b.Close(), c.Quit())
}

func (w *monitored) lab(method, path, body string) []byte {
	w.t.Helper()
	b, err := fetch(w.t.Context(), method, "http://"+w.j.Lab.API+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func fetch(ctx context.Context, method, at, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, at, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, 64<<20))
}

// program runs one of Debian's until the test ends.
func (w *monitored) program(dir, name string, args ...string) {
	w.t.Helper()
	cmd := exec.Command(name, args...)
	var out strings.Builder
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		w.t.Fatalf("%s: %v (Debian's prometheus and prometheus-blackbox-exporter; make packages gets them)", name, err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if w.t.Failed() {
			w.t.Logf("%s said:\n%s", name, out.String())
		}
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// prometheus starts one with the rules as they are shipped, and the shipped
// configuration but for addresses and haste: it asks the admin ports with the
// operator's token, and the ports through the black box.
func (w *monitored) prometheus(dir string) {
	t, prom, box := w.t, freePort(w.t), freePort(w.t)
	const shipped = "../../deploy/prometheus/"
	copyText := func(name string, change ...string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.NewReplacer(change...).Replace(readText(t, shipped+name))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(w.j.OperatorToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	change := []string{": 15s", ": 1s", "scheme: https", "scheme: http", "/etc/prometheus/postern/token", token, "127.0.0.1:9115", box}
	for i, n := range w.j.Nodes {
		host := fmt.Sprintf("n%d.relay.example:", i+1)
		change = append(change, host+"8470", n.Admin, host+"587", n.Submission[0], host+"25", n.Intake)
	}
	copyText("prometheus.yml", change...)
	copyText("alerts.yml")
	copyText("rules.yml", "interval: 1m", "interval: 1s")
	copyText("blackbox.yml", "      query_response:\n        - expect: \"^220 \"\n        - send: \"EHLO",
		"      tls_config: {ca_file: "+filepath.Join(w.dir, "ca.pem")+", server_name: smtp."+demoDomain+"}\n      query_response:\n        - expect: \"^220 \"\n        - send: \"EHLO")
	w.program(dir, "prometheus-blackbox-exporter", "--config.file=blackbox.yml", "--web.listen-address="+box)
	w.program(dir, "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path="+filepath.Join(dir, "tsdb"), "--web.listen-address="+prom, "--log.level=warn")
	w.url = "http://" + prom
	eventually(t, patience, "Prometheus to see the nodes and their ports", func() bool {
		nodes, err := w.ask(`up{job="postern"} == 1`)
		ports, portErr := w.ask(`probe_success{job="postern-ports"} == 1`)
		return err == nil && portErr == nil && nodes == 3 && ports == 6 // of submission and intake
	})
}

// ask runs a query now and counts what it gives.
func (w *monitored) ask(query string) (n int, err error) {
	b, err := fetch(w.t.Context(), http.MethodPost, w.url+"/api/v1/query", url.Values{"query": {query}}.Encode())
	if err != nil {
		return 0, err
	}
	var a struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.Unmarshal(b, &a); err != nil || a.Status != "success" {
		return 0, fmt.Errorf("%s %w", a.Error, err)
	}
	return len(a.Data.Result), nil
}

// queries are all that must have a value, with whose they are: the series that
// rules and alerts are made of, for an alert without trouble is empty; and the
// dashboards' queries as they are.
func (w *monitored) queries() map[string]string {
	all := map[string]string{}
	for _, file := range []string{rulesFile, alertsFile} {
		for _, r := range readRules(w.t, file) {
			for _, s := range selectors(r.Expr) {
				all[s] = r.Alert + r.Record
			}
			if _, err := w.ask(r.Expr); err != nil {
				w.t.Errorf("%s%s: %v", r.Alert, r.Record, err)
			}
		}
	}
	boards, err := filepath.Glob("../../deploy/grafana/*.json")
	if err != nil || len(boards) == 0 {
		w.t.Fatal("no dashboards", err)
	}
	chosen := strings.NewReplacer("$cluster", ".*", "$tenant", ".*", "$__rate_interval", "10s")
	for _, file := range boards {
		var board struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal([]byte(readText(w.t, file)), &board); err != nil {
			w.t.Fatal(err)
		}
		for _, p := range board.Panels {
			for _, q := range p.Targets {
				all[chosen.Replace(q.Expr)] = filepath.Base(file) + ": " + p.Title
			}
		}
	}
	w.t.Logf("%d queries", len(all))
	return all
}

var (
	notSeries = regexp.MustCompile(`\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)|\[[^\]]*\]|\boffset\s+\w+`)
	series    = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})?\s*(\(?)`)
)

// selectors are the series that an expression reads.
func selectors(expr string) (all []string) {
	for _, m := range series.FindAllStringSubmatch(notSeries.ReplaceAllString(expr, " "), -1) {
		switch m[1] {
		case "and", "or", "unless", "bool", "by":
			continue
		}
		if m[3] == "" {
			all = append(all, m[1]+m[2])
		}
	}
	return all
}

// alerts looks at what fires: the listing does, and every text is whole.
func (w *monitored) alerts() {
	var a struct {
		Data struct {
			Alerts []struct {
				Labels, Annotations map[string]string
				State               string
			}
		}
	}
	listed := func() bool {
		b, err := fetch(w.t.Context(), http.MethodGet, w.url+"/api/v1/alerts", "")
		if err != nil || json.Unmarshal(b, &a) != nil {
			return false
		}
		for _, x := range a.Data.Alerts {
			if x.Labels["alertname"] == "PosternSourceListed" && x.Labels["source"] == w.j.Nodes[2].Sources[2] && x.State == "firing" {
				return true
			}
		}
		return false
	}
	eventually(w.t, patience, "the alert of the listing", listed)
	for _, x := range a.Data.Alerts {
		for _, text := range x.Annotations {
			if strings.Contains(text, "error expanding") || strings.Contains(text, "{{") || strings.Contains(text, "<no value>") {
				w.t.Errorf("%s says %q", x.Labels["alertname"], text)
			}
		}
	}
}

// looks runs what the pages say to look at: nothing of it changes anything.
func (w *monitored) looks() {
	pages, err := filepath.Glob(filepath.Join(runbooksDir, "*.md"))
	if err != nil {
		w.t.Fatal(err)
	}
	here := strings.NewReplacer("192.0.2.10", w.j.Nodes[2].Sources[2], "relay.example", demoDomain, "pills.example", advertised, "NAME", "leaver")
	ran := map[string]bool{}
	for _, p := range pages {
		_, look, _ := strings.Cut(readText(w.t, p), "\n## Look\n")
		look, _, _ = strings.Cut(look, "\n## Do\n")
		for _, c := range commandsIn(look) {
			line := here.Replace(c.line)
			if ran[line] || !c.copy {
				continue
			}
			ran[line] = true
			if out, err := w.verb(line); err != nil && !strings.HasPrefix(line, "postern doctor") { // it finds what the demo lacks
				w.t.Errorf("%s: %s: %v\n%s", filepath.Base(p), line, err, out)
			}
		}
	}
	w.t.Logf("%d commands", len(ran))
}

func (w *monitored) verb(line string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, wordsOf(line)[1:]...)
	cmd.Env = append(os.Environ(), asPostern+"=1", "POSTERN_API=http://"+w.j.Nodes[0].Admin, "POSTERN_TOKEN_FILE="+filepath.Join(w.dir, "n1", "operator.token"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// pictures waits until there is something to see, and draws.
func (w *monitored) pictures() {
	last, err := time.ParseDuration(os.Getenv("POSTERN_PICTURES"))
	if err != nil {
		return
	}
	time.Sleep(time.Until(w.began.Add(last * 2 / 3)))
	if err := syscall.Kill(*w.j.Nodes[1].PID, syscall.SIGKILL); err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(time.Until(w.began.Add(last)))
	draw := exec.CommandContext(w.t.Context(), "go", "run", "./deploy/grafana", "-draw", w.url, "-tenant", "books", "-last", last.String())
	draw.Dir = "../.."
	if out, err := draw.CombinedOutput(); err != nil {
		w.t.Errorf("draw: %v\n%s", err, out)
	}
}
