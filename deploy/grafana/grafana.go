package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// obj is a JSON object; encoding/json writes its keys in order.
type obj = map[string]any

var chosenSource = obj{"type": "prometheus", "uid": "${datasource}"}

const (
	statHeight, otherHeight = 4, 8
	colorFine, colorWarn    = "green", "orange"
	colorBad                = "red"
)

// grafana is the screen as Grafana's dashboard JSON.
func (s screen) grafana() ([]byte, error) {
	variables := []any{
		obj{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
		variable("cluster", `label_values(postern_build_info, cluster)`),
	}
	if s.Tenant {
		variables = append(variables, variable("tenant", `label_values(postern_queued{cluster=~"$cluster"}, tenant)`))
	}
	d := obj{
		"uid": "postern-" + s.Name, "title": s.Title, "tags": []string{"postern"}, "schemaVersion": 39, "version": 1,
		"editable": true, "timezone": "browser", "refresh": "30s", "time": obj{"from": "now-6h", "to": "now"},
		"templating": obj{"list": variables},
		"links": []any{
			obj{"type": "dashboards", "tags": []string{"postern"}, "title": "Postern", "asDropdown": true, "includeVars": true, "keepTime": true},
			obj{"type": "link", "title": "Runbooks", "url": runbooks, "targetBlank": true},
		},
		"panels": s.panels(),
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		return nil, fmt.Errorf("encode dashboard %s: %w", s.Name, err)
	}
	return b.Bytes(), nil
}

func variable(name, from string) obj {
	return obj{"name": name, "type": "query", "datasource": chosenSource, "query": obj{"query": from, "refId": name},
		"includeAll": true, "allValue": ".*", "multi": true, "refresh": 2, "sort": 1,
		"current": obj{"text": []string{"All"}, "value": []string{"$__all"}}}
}

// panels lays the panels out in rows of 24.
func (s screen) panels() (all []any) {
	x, y, row := 0, 0, 0
	for i, p := range s.Panels {
		h := p.height()
		if x+p.Width > 24 {
			x, y, row = 0, y+row, 0
		}
		all = append(all, p.grafana(i+1, obj{"x": x, "y": y, "w": p.Width, "h": h}))
		x, row = x+p.Width, max(row, h)
	}
	return all
}

func (p panel) height() int {
	if p.Kind == stat {
		return statHeight
	}
	return otherHeight
}

func (p panel) grafana(id int, at obj) obj {
	fields := obj{"unit": p.Unit, "thresholds": obj{"mode": "absolute", "steps": p.steps()}, "color": obj{"mode": "palette-classic"}}
	if len(p.Words) > 0 {
		options := obj{}
		for _, v := range slices.Sorted(maps.Keys(p.Words)) {
			options[strconv.Itoa(v)] = obj{"text": p.Words[v]}
		}
		fields["mappings"] = []any{obj{"type": "value", "options": options}}
	}
	out := obj{"id": id, "title": p.Title, "description": p.advice(), "datasource": chosenSource, "gridPos": at, "targets": p.targets()}
	switch p.Kind {
	case stat:
		out["type"] = "stat"
		fields["color"] = obj{"mode": "thresholds"}
		mode := "value_and_name"
		if !strings.Contains(p.Queries[0].Legend, "{{") {
			mode = "value"
		}
		out["options"] = obj{"colorMode": "background", "graphMode": "none", "textMode": mode, "reduceOptions": obj{"calcs": []string{"lastNotNull"}}}
	case lines:
		out["type"] = "timeseries"
		fields["custom"] = obj{"fillOpacity": 8, "showPoints": "never"}
		fields["min"] = 0
		out["options"] = obj{"legend": obj{"displayMode": "list", "placement": "bottom"}, "tooltip": obj{"mode": "multi", "sort": "desc"}}
	case table:
		out["type"] = "table"
		fields["color"] = obj{"mode": "thresholds"}
		fields["links"] = []any{obj{"title": "Page", "url": runbooks + "/${__data.fields.alertname}.md", "targetBlank": true}}
		out["transformations"] = []any{obj{"id": "merge", "options": obj{}}, obj{"id": "organize", "options": obj{"excludeByName": obj{"Time": true, "__name__": true, "job": true, "alertstate": true}}}}
	}
	if p.Kind == table && !strings.Contains(p.Queries[0].Expr, "ALERTS") {
		delete(fields, "links")
	}
	out["fieldConfig"] = obj{"defaults": fields, "overrides": []any{}}
	return out
}

func (p panel) targets() (all []any) {
	for i, q := range p.Queries {
		t := obj{"refId": string(rune('A' + i)), "datasource": chosenSource, "expr": q.Expr, "legendFormat": q.Legend, "editorMode": "code"}
		if p.Kind == lines {
			t["range"] = true
		} else {
			t["instant"], t["range"] = true, false
		}
		if p.Kind == table {
			t["format"] = "table"
		}
		all = append(all, t)
	}
	return all
}

// steps are the thresholds, ascending as Grafana wants them.
func (p panel) steps() []any {
	step := func(color string, from any) obj { return obj{"color": color, "value": from} }
	switch {
	case p.Warn == 0 && p.Bad == 0:
		return []any{step(colorFine, nil)}
	case p.Low:
		return []any{step(colorBad, nil), step(colorWarn, p.Bad), step(colorFine, p.Warn)}
	case p.Warn == p.Bad:
		return []any{step(colorFine, nil), step(colorBad, p.Bad)}
	}
	return []any{step(colorFine, nil), step(colorWarn, p.Warn), step(colorBad, p.Bad)}
}

// advice is what a panel says when one asks it: what to do, and where to read on.
func (p panel) advice() string {
	var b strings.Builder
	b.WriteString(p.Do)
	for _, name := range p.Pages {
		fmt.Fprintf(&b, "\n\n[%s](%s/%s.md)", name, runbooks, name)
	}
	return b.String()
}
