package ansible

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// testMonitoring sets a Prometheus up on a machine of its own: every node is
// asked, the rules give something, and Grafana finds what it needs.
func testMonitoring(t *testing.T, g *rig) {
	m := &machine{name: "watch", addr: "198.18.0.30", dir: filepath.Join(g.dir, "watch"), rig: g}
	m.fresh(t)
	defer m.gone(t)
	m.boot(t)
	g.watch = m
	g.inventory(t, g.deb)
	bare := m.do(t, listFiles)
	g.play(t, "monitoring", "--check", "--diff")
	if after := m.do(t, listFiles); after != bare {
		t.Error("a check changed the machine")
	}
	g.play(t, "monitoring")
	must(t, none(g.play(t, "monitoring")))
	must(t, none(g.play(t, "monitoring", "--check", "--diff")))
	must(t, none(g.play(t, "site"))) // who may ask is the same for both
	t.Log(m.do(t, "promtool check config /etc/prometheus/prometheus.yml"))

	// Every node answers, and so does every port.
	took := wait(t, time.Minute, "every target is up", func() error {
		var at struct {
			ActiveTargets []struct {
				ScrapeURL, Health, LastError string
				Labels                       map[string]string
			}
		}
		if err := m.prometheus("targets", &at); err != nil {
			return err
		}
		up := map[string]int{}
		for _, x := range at.ActiveTargets {
			if x.Health != "up" {
				return fmt.Errorf("%s: %s %s", x.ScrapeURL, x.Health, x.LastError)
			}
			up[x.Labels["job"]]++
		}
		if up["postern"] != len(g.machines) || up["postern-ports"] != len(g.machines) {
			return fmt.Errorf("asked are %v", up)
		}
		return nil
	})
	for query, want := range map[string]int{"postern_build_info{cluster='relay'}": len(g.machines), "probe_success == 1": len(g.machines),
		"tenant:postern_queued:sum": len(g.tenants)} {
		wait(t, time.Minute, query+" gives something", func() error {
			var at struct{ Result []any }
			if err := m.prometheus("query?query="+url.QueryEscape(query), &at); err != nil {
				return err
			}
			if len(at.Result) < want {
				return fmt.Errorf("%d series, want %d", len(at.Result), want)
			}
			return nil
		})
	}
	m.rules(t, took)
	m.grafana(t)
	g.watch = nil
	g.inventory(t, g.deb)
	g.play(t, "site") // the firewall forgets it
}

// rules looks whether Prometheus evaluates all rules, and says what fires.
func (m *machine) rules(t *testing.T, up time.Duration) {
	t.Helper()
	var at struct {
		Groups []struct {
			Rules []struct{ Name, Type, Health, State, LastError string }
		}
	}
	n := 0
	wait(t, 90*time.Second, "every rule was evaluated", func() error {
		if err := m.prometheus("rules", &at); err != nil {
			return err
		}
		n = 0
		for _, group := range at.Groups {
			for _, r := range group.Rules {
				if r.Health != "ok" {
					return fmt.Errorf("%s: %s %s", r.Name, r.Health, r.LastError)
				}
				n++
			}
		}
		return nil
	})
	var alarmed []string
	for _, group := range at.Groups {
		for _, r := range group.Rules {
			if r.Type == "alerting" && r.State != "inactive" {
				alarmed = append(alarmed, r.Name+" "+r.State)
			}
		}
	}
	t.Logf("targets up after %.1f s; %d rules, of which raised: %q", up.Seconds(), n, alarmed)
	if n < 50 {
		t.Errorf("%d rules are loaded", n)
	}
}

// grafana looks whether what Grafana reads at its start is whole.
func (m *machine) grafana(t *testing.T) {
	t.Helper()
	have, err := filepath.Glob("../deploy/grafana/*.json")
	must(t, err)
	if len(have) == 0 {
		t.Fatal("the repository has no dashboards")
	}
	for _, name := range have {
		want, err := os.ReadFile(name)
		must(t, err)
		got, err := os.ReadFile(filepath.Join(m.root(), "etc/grafana/postern", filepath.Base(name)))
		must(t, err)
		if string(got) != string(want) {
			t.Errorf("%s is another on the machine", name)
		}
	}
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct{ Type, URL string }
	}
	var boards struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Type    string
			Options struct{ Path string }
		}
	}
	for name, into := range map[string]any{"datasources": &sources, "dashboards": &boards} {
		text, err := os.ReadFile(filepath.Join(m.root(), "etc/grafana/provisioning", name, "postern.yml"))
		must(t, err)
		must(t, yaml.Unmarshal(text, into))
	}
	if sources.APIVersion != 1 || len(sources.Datasources) != 1 || sources.Datasources[0].Type != "prometheus" {
		t.Errorf("Grafana is told of the sources %+v", sources)
	}
	if boards.APIVersion != 1 || len(boards.Providers) != 1 || boards.Providers[0].Options.Path != "/etc/grafana/postern" {
		t.Errorf("Grafana is told of the dashboards %+v", boards)
	}
}

// prometheus asks the machine's Prometheus.
func (m *machine) prometheus(path string, into any) error {
	c := http.Client{Timeout: 5 * time.Second}
	r, err := c.Get("http://" + net.JoinHostPort(m.addr, "9090") + "/api/v1/" + path)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: into}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("ask %s: %s", path, answer.Error)
	}
	return nil
}
