package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// typed makes Grafana's own types what a file of ours must be: everything has a
// default, nothing may have a name that Grafana does not know.
const typed = `import * as raw from "./types/raw/dashboard/x/types.gen";
import * as common from "./types/index";
import * as stat from "./types/raw/composable/stat/panelcfg/x/types.gen";
import * as timeseries from "./types/raw/composable/timeseries/panelcfg/x/types.gen";
import * as table from "./types/raw/composable/table/panelcfg/x/types.gen";
type Some<T> = T extends (infer U)[] ? Some<U>[] : T extends object ? {[K in keyof T]?: Some<T[K]>} : T;
type Link = {title: string; url: string; targetBlank?: boolean};
type Query = {refId: string; datasource?: common.DataSourceRef; expr: string; legendFormat?: string; editorMode?: "code" | "builder";
  range?: boolean; instant?: boolean; format?: "time_series" | "table" | "heatmap"}; // of Prometheus, which the package leaves out
type Fields<F> = Some<Omit<raw.FieldConfig, "custom" | "links">> & {custom?: Some<F>; links?: Link[]};
type Panel<O, F> = Some<Omit<raw.Panel, "options" | "fieldConfig" | "targets">> & {type: string; options?: Some<O>; targets: Query[];
  fieldConfig: {defaults: Fields<F>; overrides: raw.FieldConfigSource["overrides"]}};
type Dashboard = Some<Omit<raw.Dashboard, "panels">> & {uid: string; title: string; schemaVersion: number};
type Of = {stat: Panel<stat.Options, {}>; timeseries: Panel<timeseries.Options, timeseries.FieldConfig>; table: Panel<table.Options, table.FieldConfig>};
`

var (
	enum    = regexp.MustCompile(`(?s)export declare enum (\w+) \{(.*?)\n\}`)
	remark  = regexp.MustCompile(`(?s)/\*.*?\*/`)
	literal = regexp.MustCompile(`=\s*("[^"]*"|-?\d+)`)
)

// TestSchema lets TypeScript compare the dashboards with the types that Grafana
// publishes: every panel's options, every word that is one of several.
func TestSchema(t *testing.T) {
	from := os.Getenv("POSTERN_GRAFANA_SCHEMA")
	if from == "" {
		t.Skip("needs Grafana's types: make test-dashboards")
	}
	dir := t.TempDir()
	types(t, filepath.Join(from, "node_modules/@grafana/schema/dist/types"), filepath.Join(dir, "types"))
	var b strings.Builder
	b.WriteString(typed)
	files, err := filepath.Glob("*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	n := 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var d map[string]json.RawMessage
		var panels []json.RawMessage
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(d["panels"], &panels); err != nil {
			t.Fatal(err)
		}
		delete(d, "panels")
		rest, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "const %s: Dashboard = %s;\n", strings.TrimSuffix(name, ".json"), rest)
		for _, p := range panels {
			n++
			constant(t, &b, fmt.Sprintf("panel%d", n), p)
		}
	}
	// Were one of these right, the comparison would see nothing.
	for i, wrong := range []string{`"textMode":"values"`, `"textmode":"value"`, `"justifyMode":1`} {
		p := `{"type":"stat","targets":[],"options":{` + wrong + `},"fieldConfig":{"defaults":{},"overrides":[]}}`
		b.WriteString("// @ts-expect-error\n")
		constant(t, &b, fmt.Sprintf("wrong%d", i), json.RawMessage(p))
	}
	name := filepath.Join(dir, "dashboards.ts")
	if err := os.WriteFile(name, []byte(b.String()+"export {};\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(from, "node_modules/.bin/tsc"), "--noEmit", "--strict", "--skipLibCheck", "--target", "es2020",
		"--module", "esnext", "--moduleResolution", "bundler", name).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%d dashboards with %d panels are what Grafana's types say", len(files), n)
}

func constant(t *testing.T, b *strings.Builder, name string, panel json.RawMessage) {
	t.Helper()
	var p struct{ Type string }
	var line bytes.Buffer
	if err := json.Unmarshal(panel, &p); err != nil {
		t.Fatal(err)
	}
	if err := json.Compact(&line, panel); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(b, "const %s: Of[%q] = %s;\n", name, p.Type, line.Bytes())
}

// types copies Grafana's declarations; an enum becomes the words it stands for,
// as JSON has them.
func types(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".d.ts") {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		text = enum.ReplaceAllFunc(text, func(e []byte) []byte {
			m := enum.FindSubmatch(e)
			var words []string
			for _, w := range literal.FindAllSubmatch(remark.ReplaceAll(m[2], nil), -1) {
				words = append(words, string(w[1]))
			}
			return fmt.Appendf(nil, "export type %s = %s;", m[1], strings.Join(words, " | "))
		})
		up := "./" + strings.Repeat("../", strings.Count(rel, "/"))
		text = bytes.ReplaceAll(text, []byte("'@grafana/schema'"), []byte("'"+up+"index'"))
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, rel)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
