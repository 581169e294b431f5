package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const (
	alertsFile  = "../../deploy/prometheus/alerts.yml"
	rulesFile   = "../../deploy/prometheus/rules.yml"
	runbooksDir = "../../deploy/runbooks"
)

// ruleFile is what of a file of rules the tests read.
type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Alert, Record, Expr string
	Labels, Annotations map[string]string
}

func readRules(t *testing.T, name string) (all []rule) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var f ruleFile
	if err := yaml.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	for _, g := range f.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatalf("%s has no rules", name)
	}
	return all
}

// Every alert says what to do: it has a page, its link leads there, and no page
// is left behind by an alert that is gone.
func TestRunbooks(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(runbooksDir, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for _, p := range pages {
		left[strings.TrimSuffix(filepath.Base(p), ".md")] = true
	}
	for _, a := range readRules(t, alertsFile) {
		if !left[a.Alert] {
			t.Errorf("%s has no page, or is there twice", a.Alert)
		}
		delete(left, a.Alert)
		if u := a.Annotations["runbook_url"]; !strings.HasSuffix(u, "/"+a.Alert+".md") {
			t.Errorf("%s links to %q", a.Alert, u)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s does not say what it is", a.Alert)
		}
		if s := a.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info"}, s) {
			t.Errorf("%s has severity %q", a.Alert, s)
		}
	}
	for name := range left {
		t.Errorf("%s.md belongs to no alert", name)
	}
	for _, p := range pages {
		checkPage(t, p)
	}
}

func checkPage(t *testing.T, file string) {
	t.Helper()
	name, text := strings.TrimSuffix(filepath.Base(file), ".md"), readText(t, file)
	for _, want := range []string{"# " + name + "\n", "**Is mail lost?** ", "\n## Look\n", "\n## Do\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %q", name, want)
		}
	}
	for _, other := range regexp.MustCompile(`\bPostern[A-Z]\w+`).FindAllString(text, -1) {
		if _, err := os.Stat(filepath.Join(runbooksDir, other+".md")); err != nil {
			t.Errorf("%s names %s, which is no alert", name, other)
		}
	}
	commands := commandsIn(text)
	if len(commands) == 0 {
		t.Errorf("%s names no command", name)
	}
	for _, c := range commands {
		checkCommand(t, name, c)
	}
}

func readText(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pageCommand is a command that a page names: a line to copy, or words in a
// sentence.
type pageCommand struct {
	line string
	copy bool
}

// commandsIn are the lines of blocks, and what stands in backquotes, that begin
// with postern.
func commandsIn(text string) (all []pageCommand) {
	block := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "```":
			block = !block
		case block:
			if strings.HasPrefix(line, "postern ") {
				all = append(all, pageCommand{line, true})
			}
		default:
			for _, m := range regexp.MustCompile("`(postern [^`]+)`").FindAllStringSubmatch(line, -1) {
				all = append(all, pageCommand{m[1], false})
			}
		}
	}
	return all
}

// wordsOf splits a command line as a shell does, as far as pages need it.
func wordsOf(line string) (words []string) {
	for _, w := range regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(line, -1) {
		words = append(words, strings.Trim(w, `"`))
	}
	return words
}

// checkCommand parses a command line as the program would, without running it.
func checkCommand(t *testing.T, page string, c pageCommand) {
	t.Helper()
	line := c.line
	root := newApp(strings.NewReader(""), &strings.Builder{}, &strings.Builder{}).root()
	cmd, args, err := root.Find(wordsOf(line)[1:])
	if err != nil {
		t.Errorf("%s: %s: %v", page, line, err)
		return
	}
	if err := cmd.ParseFlags(args); err != nil {
		if !strings.Contains(err.Error(), "help requested") {
			t.Errorf("%s: %s: %v", page, line, err)
		}
		return
	}
	if cmd == root || cmd.HasSubCommands() && (cmd.Flags().NArg() > 0 || c.copy && !cmd.Runnable()) {
		t.Errorf("%s: %s: no such verb", page, line)
		return
	}
	if c.copy {
		if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
			t.Errorf("%s: %s: %v", page, line, err)
		}
	}
	if cmd.Flags().Lookup("help") == nil {
		cmd.InitDefaultHelpFlag()
	}
	var help strings.Builder
	cmd.SetOut(&help)
	if err := cmd.Help(); err != nil || help.Len() == 0 {
		t.Errorf("%s: %s: no help (%v)", page, line, err)
	}
}

// promtool runs Prometheus' own checker; without it the test is skipped, but
// not where the packages are surely there.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	exe, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("no promtool: make packages")
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// The rules are what Prometheus takes, and each alert fires when it should and
// not else.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	const dir = "../../deploy/prometheus"
	promtool(t, dir, "check", "config", "--syntax-only", "prometheus.yml")
	promtool(t, dir, "check", "rules", "rules.yml", "alerts.yml")
	files, err := filepath.Glob(filepath.Join(dir, "tests", "*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no tests of rules", err)
	}
	all := ""
	for i, f := range files {
		all += readText(t, f)
		files[i] = filepath.Base(f)
	}
	for _, a := range readRules(t, alertsFile) {
		_, test, found := strings.Cut(all, "  - name: "+a.Alert+"\n")
		test, _, _ = strings.Cut(test, "\n  - name: ")
		fires := strings.Contains(test, `exp_samples:`+"\n") && strings.Contains(test, `alertname="`+a.Alert+`"`)
		if !found || !fires || !strings.Contains(test, "exp_samples: []") {
			t.Errorf("%s: no test shows that it fires, and that it does not", a.Alert)
		}
	}
	promtool(t, filepath.Join(dir, "tests"), append([]string{"test", "rules"}, files...)...)
}
