package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Sizes in pixels.
const (
	column   = 40
	statRow  = 84
	otherRow = 196
	head     = 46
	gap      = 4
	most     = 6 // rows of a table
)

// style is for light and dark pages: pictures are read on both.
const style = `<style>
:root{--page:#ffffff;--box:#f6f8fa;--text:#1f2328;--soft:#59636e;--grid:#d1d9e0;--fine:#1a7f37;--warn:#bc4c00;--bad:#cf222e}
@media (prefers-color-scheme:dark){:root{--page:#0d1117;--box:#161b22;--text:#e6edf3;--soft:#9198a1;--grid:#3d444d;--fine:#3fb950;--warn:#f0883e;--bad:#ff7b72}}
text{font-family:system-ui,sans-serif;fill:var(--text)}
.t{font-size:12px;font-weight:600}.s{font-size:10.5px;fill:var(--soft)}.h{font-size:18px;font-weight:700}.r{font-size:12px}
.page{fill:var(--page)}.box{fill:var(--box);stroke:var(--grid)}.g{stroke:var(--grid);stroke-width:1}
.l{fill:none;stroke-width:1.6;stroke-linejoin:round}
.fine{fill:var(--fine)}.warn{fill:var(--warn)}.bad{fill:var(--bad)}.plain{fill:var(--text)}
</style>
`

var palette = []string{"#3987e5", "#2ea043", "#d29922", "#e5534b", "#986ee2", "#1b9e96", "#d4679c", "#8d96a0", "#6c8f2c", "#b35900"}

// canvas collects what is drawn.
type canvas struct{ bytes.Buffer }

func (c *canvas) text(class string, x, y float64, anchor, s string) {
	fmt.Fprintf(c, `<text class="%s" x="%.0f" y="%.0f" text-anchor="%s">`, class, x, y, anchor)
	_ = xml.EscapeText(c, []byte(s)) // a buffer never fails
	c.WriteString("</text>\n")
}

// picture is the screen as SVG, with what its queries give now.
func (s screen) picture(ctx context.Context, src *source) ([]byte, error) {
	var body canvas
	x, y, row := 0, head, 0
	for _, p := range s.Panels {
		h := otherRow
		if p.Kind == stat {
			h = statRow
		}
		if x+p.Width*column > 24*column {
			x, y, row = 0, y+row, 0
		}
		got, err := src.ask(ctx, p)
		if err != nil {
			return nil, err
		}
		body.panel(p, got, float64(x+gap), float64(y+gap), float64(p.Width*column-2*gap), float64(h-2*gap))
		x, row = x+p.Width*column, max(row, h)
	}
	height := y + row
	var out canvas
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", 24*column, height, 24*column, height)
	out.WriteString("<title>")
	_ = xml.EscapeText(&out, []byte(s.Title))
	out.WriteString("</title>\n" + style)
	fmt.Fprintf(&out, `<rect class="page" width="%d" height="%d"/>`+"\n", 24*column, height)
	out.text("h", 2*gap, 30, "start", s.Title)
	out.Write(body.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes(), nil
}

func (c *canvas) panel(p panel, got []series, x, y, w, h float64) {
	fmt.Fprintf(c, `<rect class="box" x="%.0f" y="%.0f" width="%.0f" height="%.0f" rx="4"/>`+"\n", x, y, w, h)
	c.text("t", x+8, y+17, "start", fit(p.Title, w-16, 6.4))
	if len(got) == 0 {
		c.text("s", x+w/2, y+h/2+10, "middle", "nothing, which is fine")
		return
	}
	switch p.Kind {
	case stat:
		c.stat(p, got, x, y, w, h)
	case lines:
		c.lines(p, got, x, y, w, h)
	case table:
		c.table(p, got, x, y, w)
	}
}

// class is the colour of a value.
func (p panel) class(v float64) string {
	bad, warn := v >= p.Bad, v >= p.Warn
	if p.Low {
		bad, warn = v < p.Bad, v < p.Warn
	}
	switch {
	case p.Warn == 0 && p.Bad == 0:
		return "plain"
	case bad:
		return "bad"
	case warn:
		return "warn"
	}
	return "fine"
}

func (p panel) word(v float64) string {
	if w, ok := p.Words[int(v)]; ok && v == math.Trunc(v) {
		return w
	}
	return amount(v, p.Unit)
}

func (c *canvas) stat(p panel, got []series, x, y, w, h float64) {
	v := got[0].newest()
	name := ""
	for _, s := range got { // of several the worst
		if worse := s.newest(); p.Low == (worse < v) && worse != v {
			v = worse
		}
	}
	if len(got) > 1 {
		name = fmt.Sprintf("worst of %d", len(got))
	}
	fmt.Fprintf(c, `<text class="%s" x="%.0f" y="%.0f" text-anchor="middle" style="font-size:26px;font-weight:700">`, p.class(v), x+w/2, y+h/2+20)
	_ = xml.EscapeText(c, []byte(p.word(v)))
	c.WriteString("</text>\n")
	c.text("s", x+w-8, y+17, "end", name)
}

func (c *canvas) table(p panel, got []series, x, y, w float64) {
	slices.SortStableFunc(got, func(a, b series) int {
		if len(p.Words) > 0 {
			return cmp.Or(cmp.Compare(b.newest(), a.newest()), strings.Compare(a.name, b.name))
		}
		return strings.Compare(a.name, b.name)
	})
	const rowHeight = 19
	rows := min(len(got), most+1)
	for i, s := range got[:rows] {
		at := y + 40 + float64(i*rowHeight)
		if i == most && len(got) > rows {
			c.text("s", x+8, at, "start", fmt.Sprintf("and %d more", len(got)-most))
			return
		}
		c.text("r", x+8, at, "start", fit(s.name, w-90, 6.4))
		if p.Unit != "" || len(p.Words) > 0 {
			c.text("r "+p.class(s.newest()), x+w-8, at, "end", p.word(s.newest()))
		}
	}
}

func (c *canvas) lines(p panel, got []series, x, y, w, h float64) {
	slices.SortStableFunc(got, func(a, b series) int { return cmp.Compare(highest(b), highest(a)) })
	top := 0.0
	for _, s := range got {
		top = max(top, highest(s))
	}
	top = ceiling(top)
	left, right, up, down := x+52, x+w-10, y+28, y+h-34
	for i := range 3 {
		at := down - (down-up)*float64(i)/2
		fmt.Fprintf(c, `<line class="g" x1="%.0f" x2="%.0f" y1="%.0f" y2="%.0f"/>`+"\n", left, right, at, at)
		c.text("s", left-5, at+4, "end", amount(top*float64(i)/2, p.Unit))
	}
	shown := got[:min(len(got), len(palette))]
	for i := len(shown) - 1; i >= 0; i-- { // the highest on top
		c.line(shown[i], palette[i], left, right, up, down, top)
	}
	at := x + 8
	for i, s := range shown {
		name := fit(s.name, w-40, 5.9)
		wide := 22 + 5.9*float64(len([]rune(name)))
		if at+wide > x+w && i > 0 {
			c.text("s", at, y+h-11, "start", fmt.Sprintf("+%d", len(got)-i))
			break
		}
		fmt.Fprintf(c, `<rect x="%.0f" y="%.0f" width="8" height="8" rx="2" fill="%s"/>`+"\n", at, y+h-19, palette[i])
		c.text("s", at+11, y+h-11, "start", name)
		at += wide
	}
}

func (c *canvas) line(s series, color string, left, right, up, down, top float64) {
	pen := "M"
	fmt.Fprintf(c, `<path class="l" stroke="%s" d="`, color)
	for i, v := range s.values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			pen = "M"
			continue
		}
		fmt.Fprintf(c, "%s%.0f %.1f", pen, left+(right-left)*float64(i)/float64(len(s.values)-1), down-(down-up)*max(0, min(1, v/top)))
		pen = "L"
	}
	c.WriteString(`"/>` + "\n")
}

func highest(s series) (most float64) {
	for _, v := range s.values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			most = max(most, v)
		}
	}
	return most
}

// ceiling is the next of 1, 2 or 5 times a power of ten.
func ceiling(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 2, 5, 10} {
		if v <= step*power {
			return step * power
		}
	}
	return 10 * power
}

// fit cuts a text to a width.
func fit(s string, width, letter float64) string {
	r := []rune(s)
	if n := int(width / letter); len(r) > max(n, 3) {
		return string(r[:max(n, 3)-1]) + "…"
	}
	return s
}

// amount writes a value with its unit.
func amount(v float64, unit string) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case unit == "percentunit":
		return short(100*v) + " %"
	case unit == "bytes":
		for _, name := range []string{"B", "kB", "MB", "GB", "TB"} {
			if math.Abs(v) < 1000 || name == "TB" {
				return short(v) + " " + name
			}
			v /= 1000
		}
	case unit == "s":
		return span(v)
	case unit == "reqps":
		return short(v) + "/s"
	}
	return short(v)
}

func span(v float64) string {
	for _, x := range []struct {
		size float64
		name string
	}{{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}} {
		if math.Abs(v) >= x.size {
			return short(v/x.size) + " " + x.name
		}
	}
	if v == 0 {
		return "0"
	}
	return short(v*1000) + " ms"
}

// short writes a number with three digits at most that matter.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e6:
		return short(v/1e6) + " M"
	case a >= 1e4:
		return short(v/1e3) + " k"
	case a >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	}
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
}
