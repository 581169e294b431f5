package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	askWait   = 20 * time.Second
	maxAnswer = 16 << 20 // octets of one answer
	points    = 60       // of one line
)

// source is a Prometheus that is asked for a stretch of time.
type source struct {
	url    string
	client http.Client
	from   time.Time
	to     time.Time
	chosen *strings.Replacer
}

func newSource(at, tenant string, last time.Duration, now time.Time) *source {
	// As Grafana does: a rate spans four scrapes at least, here of one second.
	rate := max(10*time.Second, last/points)
	return &source{url: strings.TrimSuffix(at, "/"), client: http.Client{Timeout: askWait}, from: now.Add(-last), to: now,
		chosen: strings.NewReplacer("$cluster", ".*", "$tenant", tenant, "$__rate_interval", strconv.Itoa(int(rate.Seconds()))+"s")}
}

// series is one line: its name, and a value a step, NaN where there is none.
type series struct {
	name   string
	values []float64
}

// newest is the last value.
func (s series) newest() float64 { return s.values[len(s.values)-1] }

// ask runs a panel's queries: over the whole time for lines, else now.
func (s *source) ask(ctx context.Context, p panel) (all []series, err error) {
	for _, q := range p.Queries {
		v := url.Values{"query": {s.chosen.Replace(q.Expr)}}
		path := "/api/v1/query"
		if p.Kind == lines {
			path = "/api/v1/query_range"
			v.Set("start", stamp(s.from))
			v.Set("end", stamp(s.to))
			v.Set("step", strconv.FormatFloat(s.step().Seconds(), 'f', 3, 64))
		} else {
			v.Set("time", stamp(s.to))
		}
		got, err := s.get(ctx, path, v, q.Legend)
		if err != nil {
			return nil, fmt.Errorf("ask %q: %w", q.Expr, err)
		}
		all = append(all, got...)
	}
	return all, nil
}

func (s *source) step() time.Duration { return s.to.Sub(s.from) / points }

func stamp(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

// sample is Prometheus' [time, "value"].
type sample [2]any

type answer struct {
	Status, Error string
	Data          struct {
		Result []struct {
			Metric map[string]string
			Value  *sample
			Values []sample
		}
	}
}

func (s *source) get(ctx context.Context, path string, v url.Values, legend string) ([]series, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, strings.NewReader(v.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	return s.read(b, legend)
}

// read takes an answer apart; one of anything else is an error.
func (s *source) read(b []byte, legend string) (all []series, err error) {
	var a answer
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if a.Status != "success" {
		return nil, errors.New("read answer: " + a.Error)
	}
	for _, r := range a.Data.Result {
		one := series{name: named(legend, r.Metric), values: make([]float64, points+1)}
		for i := range one.values {
			one.values[i] = math.NaN()
		}
		if r.Value != nil {
			r.Values = append(r.Values, *r.Value)
		}
		for _, x := range r.Values {
			at, ok := x[0].(float64)
			text, isText := x[1].(string)
			value, err := strconv.ParseFloat(text, 64)
			if !ok || !isText || err != nil {
				return nil, errors.New("read answer: no time and value")
			}
			i := int(math.Round((at - float64(s.from.UnixMilli())/1000) / s.step().Seconds()))
			if i >= 0 && i <= points {
				one.values[i] = value
			}
		}
		all = append(all, one)
	}
	return all, nil
}

var label = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// named fills in a legend.
func named(legend string, labels map[string]string) string {
	return strings.TrimSpace(label.ReplaceAllStringFunc(legend, func(m string) string { return labels[label.FindStringSubmatch(m)[1]] }))
}
