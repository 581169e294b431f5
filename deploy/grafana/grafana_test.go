package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What lies here is what the program writes; run it after a change.
func TestDashboardsAreFresh(t *testing.T) {
	files, err := filepath.Glob("*.json")
	if err != nil || len(files) != len(screens()) {
		t.Fatalf("%d dashboards for %d screens (%v)", len(files), len(screens()), err)
	}
	for _, s := range screens() {
		want, err := s.grafana()
		if err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(s.Name + ".json")
		if err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s.json is old: go run ./deploy/grafana (%v)", s.Name, err)
		}
		if !json.Valid(have) {
			t.Errorf("%s.json is no JSON", s.Name)
		}
		if _, err := os.Stat(s.Name + ".svg"); err != nil {
			t.Errorf("%s has no picture: make pictures (%v)", s.Name, err)
		}
	}
}

// Every panel says what to do, and where it is said at length; panels do not
// overlap, and thresholds ascend as Grafana wants them.
func TestScreens(t *testing.T) {
	for _, s := range screens() {
		if !strings.HasSuffix(s.Title, "?") || s.Panels[0].Kind != stat {
			t.Errorf("%s begins with no question, or no answer", s.Name)
		}
		row, kind := 0, s.Panels[0].Kind
		for _, p := range s.Panels {
			if p.Do == "" || p.Title == "" || len(p.Queries) == 0 || p.Width <= 0 {
				t.Errorf("%s: %s lacks what to do, or a query", s.Name, p.Title)
			}
			for _, name := range p.Pages {
				if _, err := os.Stat("../runbooks/" + name + ".md"); err != nil {
					t.Errorf("%s: %s links to no page: %v", s.Name, p.Title, err)
				}
			}
			if row+p.Width > 24 {
				row = 0
			}
			if row > 0 && (kind == stat) != (p.Kind == stat) {
				t.Errorf("%s: %s stands beside a panel of another height", s.Name, p.Title)
			}
			row, kind = row+p.Width, p.Kind
			last := math.Inf(-1)
			for _, x := range p.steps()[1:] {
				if v := x.(obj)["value"].(float64); v < last {
					t.Errorf("%s: %s: thresholds fall", s.Name, p.Title)
				} else {
					last = v
				}
			}
		}
	}
}

// prometheus answers every query with two series.
func prometheus(t *testing.T, body string) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := r.FormValue("query"); q == "" || strings.Contains(q, "$") {
			t.Errorf("asked for %q", q)
		}
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestPictures(t *testing.T) {
	now := time.Unix(1000, 0)
	url := prometheus(t, `{"status":"success","data":{"result":[{"metric":{"tenant":"<shoes>","source":"192.0.2.1"},"values":[[940,"1"],[970,"NaN"],[1000,"4"]]},
		{"metric":{"tenant":"books","source":"192.0.2.2"},"value":[1000,"0"]}]}}`)
	for _, s := range screens() {
		b, err := s.picture(t.Context(), newSource(url, "shoes", time.Minute, now))
		if err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(bytes.NewReader(b)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", s.Name, err)
			}
		}
		if !bytes.Contains(b, []byte("prefers-color-scheme:dark")) || bytes.Contains(b, []byte("NaN")) {
			t.Errorf("%s is not for dark pages, or has a number that is none", s.Name)
		}
	}
	empty := prometheus(t, `{"status":"success","data":{"result":[]}}`)
	b, err := reputation().picture(t.Context(), newSource(empty, ".*", time.Minute, now))
	if err != nil || !bytes.Contains(b, []byte("nothing, which is fine")) {
		t.Errorf("empty: %v", err)
	}
	broken := prometheus(t, `{"status":"error","error":"parse error"}`)
	if _, err := overview().picture(t.Context(), newSource(broken, ".*", time.Minute, now)); err == nil || !strings.Contains(err.Error(), "parse error") {
		t.Errorf("a refused query: %v", err)
	}
}

func TestAmounts(t *testing.T) {
	for _, c := range []struct {
		v          float64
		unit, want string
	}{
		{0, "s", "0"}, {0.0123, "s", "12.3 ms"}, {90, "s", "1.5 min"}, {1.3e6, "s", "15 d"}, {0.105, "percentunit", "10.5 %"}, {1, "percentunit", "100 %"},
		{29949583360, "bytes", "29.9 GB"}, {12, "bytes", "12 B"}, {0.5, "reqps", "0.5/s"}, {12345, "short", "12.3 k"}, {3, "", "3"}, {math.NaN(), "short", "-"},
	} {
		if got := amount(c.v, c.unit); got != c.want {
			t.Errorf("%v %s is %q, want %q", c.v, c.unit, got, c.want)
		}
	}
	low := panel{Warn: 0.99, Bad: 0.5, Low: true}
	high := panel{Warn: 1, Bad: 3}
	for _, c := range []struct {
		p    panel
		v    float64
		want string
	}{{low, 1, "fine"}, {low, 0.7, "warn"}, {low, 0.2, "bad"}, {high, 0, "fine"}, {high, 1, "warn"}, {high, 3, "bad"}, {panel{}, 9, "plain"}} {
		if got := c.p.class(c.v); got != c.want {
			t.Errorf("%v of %+v is %s, want %s", c.v, c.p, got, c.want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"status":"success","data":{"result":[{"metric":{"a":"b"},"value":[1,"2"]}]}}`))
	f.Add([]byte(`{"status":"success","data":{"result":[{"values":[[1e300,"+Inf"],["x",2]]}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newSource("http://127.0.0.1", ".*", time.Minute, time.Unix(1000, 0))
		got, err := s.read(b, "{{a}}")
		if err != nil {
			return
		}
		for _, x := range got {
			if len(x.values) != points+1 {
				t.Fatalf("%d values", len(x.values))
			}
		}
		var c canvas
		c.panel(panel{Title: "t", Kind: lines, Unit: "s"}, got, 0, 0, 300, 200)
		if len(got) > 0 {
			c.panel(panel{Title: "t", Kind: table, Unit: "bytes"}, got, 0, 0, 300, 200)
			c.panel(panel{Title: "t", Kind: stat}, got, 0, 0, 300, 200)
		}
	})
}
