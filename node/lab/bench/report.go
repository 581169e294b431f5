package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// row is one line of the table.
type row struct {
	Figure  string  `json:"figure"`
	Unit    string  `json:"unit"`
	Postfix float64 `json:"postfix,omitempty"` // median
	Postern float64 `json:"postern"`           // median
	Ratio   float64 `json:"ratio,omitempty"`   // median of the rounds' ratios
	Floor   float64 `json:"floor,omitempty"`   // of the ratio
	Goal    float64 `json:"goal,omitempty"`
	Max     float64 `json:"max,omitempty"`  // of Postern's figure
	None    bool    `json:"none,omitempty"` // nothing but zero will do
	Less    bool    `json:"less_is_better"`
	Met     bool    `json:"met"`
}

// rows turns the samples of each target (Postfix first, when there are two)
// into lines.
func (f figure) rows(samples [][]map[string]float64) []row {
	postern := samples[len(samples)-1]
	var rows []row
	for _, v := range f.values {
		r := row{Figure: v.title, Unit: v.unit, Floor: v.floor, Goal: v.goal, Max: v.max, Less: v.less, Met: true}
		r.Postern = median(column(postern, v.key))
		if v.limit != "" {
			r.Max = median(column(postern, v.limit))
		}
		if r.Max > 0 {
			r.Met = r.Postern <= r.Max
		}
		if v.none {
			r.None, r.Met = true, r.Postern == 0
		}
		if len(samples) == 2 && len(samples[0]) > 0 {
			r.Postfix = median(column(samples[0], v.key))
			var ratios []float64
			for i := range postern {
				ratios = append(ratios, postern[i][v.key]/samples[0][i][v.key])
			}
			r.Ratio = median(ratios)
			switch {
			case v.floor == 0:
			case v.less:
				r.Met = r.Met && r.Ratio <= v.floor
			default:
				r.Met = r.Met && r.Ratio >= v.floor
			}
		}
		rows = append(rows, r)
	}
	return rows
}

func column(samples []map[string]float64, key string) []float64 {
	var c []float64
	for _, s := range samples {
		c = append(c, s[key])
	}
	return c
}

func median(x []float64) float64 {
	x = slices.Clone(x)
	slices.Sort(x)
	if n := len(x); n%2 == 0 {
		return (x[n/2-1] + x[n/2]) / 2
	}
	return x[len(x)/2]
}

// table is the report of one run.
type table struct {
	Date    string `json:"date"`
	Machine string `json:"machine"`
	Rounds  int    `json:"rounds"`
	Rows    []row  `json:"rows"`
}

func newTable(rows []row, rounds int) table {
	return table{Date: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Rounds: rounds, Rows: rows}
}

func machine() string {
	model := "unknown processor"
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if _, name, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(line, "model name") {
			model = strings.TrimSpace(name)
			break
		}
	}
	kernel, _ := exec.Command("uname", "-r").Output()
	return fmt.Sprintf("%d cores of %s, Linux %s, %s", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), runtime.Version())
}

// Markdown is the table as the README quotes it.
func (t table) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s; %s; median of %d interleaved rounds\n\n", t.Date, t.Machine, t.Rounds)
	b.WriteString("| figure | Postfix | Postern | ratio | floor | goal | |\n|---|---|---|---|---|---|---|\n")
	for _, r := range t.Rows {
		met := "met"
		if !r.Met {
			met = "**missed**"
		}
		floor, goal := number(r.Floor, "x"), number(r.Goal, "x")
		if r.Max > 0 {
			floor = "<= " + number(r.Max, r.Unit)
		}
		own := number(r.Postern, r.Unit)
		if r.None {
			floor = "none"
		}
		if own == "" {
			own = "0"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", r.Figure,
			number(r.Postfix, r.Unit), own, number(r.Ratio, "x"), floor, goal, met)
	}
	return b.String()
}

func number(x float64, unit string) string {
	digits := 2
	switch {
	case x == 0:
		return ""
	case x >= 100:
		digits = 0
	case x >= 10:
		digits = 1
	}
	return strings.TrimSpace(fmt.Sprintf("%.*f %s", digits, x, unit))
}

// Write stores the table as JSON and Markdown.
func (t table) Write(dir string) error {
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "table.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "table.md"), []byte(t.Markdown()), 0o644)
}

// Missed names the figures below their floor.
func (t table) Missed() []string {
	var names []string
	for _, r := range t.Rows {
		if !r.Met {
			names = append(names, r.Figure)
		}
	}
	return names
}
