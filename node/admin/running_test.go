package admin

import (
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// process is a node's process that only remembers.
type process struct {
	mu    sync.Mutex // guards what follows
	level LogLevel
	fault error
	count int
}

func newProcess(node string) *process {
	return &process{level: LogLevel{Node: node, Level: "info", Usual: "info"}}
}

func (p *process) LogLevel() LogLevel { p.mu.Lock(); defer p.mu.Unlock(); return p.level }

func (p *process) SetLogLevel(level string, length time.Duration) LogLevel {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := time.Now().Add(length)
	p.level.Level, p.level.Until = level, &until
	return p.level
}

func (p *process) EndLogLevel() LogLevel {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.level.Level, p.level.Until = p.level.Usual, nil
	return p.level
}

func (p *process) Reload() (Reloaded, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	return Reloaded{Node: p.level.Node, Changed: []string{"log.level"}, Restart: []string{}}, p.fault
}

// What is asked of another node is done there, and only there.
func TestRunningElsewhere(t *testing.T) {
	p := newTwo(t)
	near, far := p.asked.cfg.Running.(*process), p.far.cfg.Running.(*process)
	const level = "/v1/nodes/two/log-level"
	began := time.Now()
	if rec := tell(p.asked, operatorToken, http.MethodPut, level, `{"level":"debug"}`); rec.Code != 200 || !strings.Contains(rec.Body.String(), `"level":"debug"`) {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if until := far.LogLevel().Until; until == nil || until.Before(began.Add(10*time.Minute)) || near.LogLevel().Level != "info" {
		t.Errorf("there %+v, here %+v", far.LogLevel(), near.LogLevel())
	}
	if rec := tell(p.asked, operatorToken, http.MethodGet, level, ""); !strings.Contains(rec.Body.String(), `"until"`) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := tell(p.asked, operatorToken, http.MethodDelete, level, ""); rec.Code != 200 || far.LogLevel().Until != nil {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	for _, body := range []string{`{"level":"loud"}`, `{"level":"debug","seconds":86401}`, `{}`} {
		if rec := tell(p.asked, operatorToken, http.MethodPut, level, body); rec.Code != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", body, rec.Code)
		}
	}
	const reload = "/v1/nodes/two/reload"
	if rec := tell(p.asked, operatorToken, http.MethodPost, reload, ""); rec.Code != 200 || !strings.Contains(rec.Body.String(), `"node":"two"`) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	far.fault = errors.New("line 7: no such key")
	if rec := tell(p.asked, operatorToken, http.MethodPost, reload, ""); rec.Code != http.StatusConflict || !strings.Contains(rec.Body.String(), "line 7: no such key") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	p.reach.Store(false)
	p.asked.peers.close() // what is open stays so
	if rec := tell(p.asked, operatorToken, http.MethodPost, reload, ""); rec.Code != http.StatusServiceUnavailable || !strings.Contains(rec.Body.String(), "cannot be reached") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if near.count != 0 || far.count != 2 {
		t.Errorf("%d reloads here, %d there", near.count, far.count)
	}
}

// What the document says of the length is what is meant.
func TestLogLevelBound(t *testing.T) {
	f, _ := reflect.TypeFor[SetLogLevel]().FieldByName("Seconds")
	if got := f.Tag.Get("maximum"); got != strconv.Itoa(int(MaxLogLevel/time.Second)) {
		t.Errorf("the document says %s s", got)
	}
}

// Health is this node's own; a node that may not say 250 can be healthy.
func TestHealth(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	var sick error
	cfg.Healthy = func() error { return sick }
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.reasons = []Reason{{Text: "no majority", Stops: true}, {Text: "a trifle"}}
	if rec := tell(s, "", http.MethodGet, "/healthz", ""); rec.Code != 200 {
		t.Errorf("healthy: %d", rec.Code)
	}
	if rec := tell(s, "", http.MethodGet, "/readyz", ""); rec.Code != 503 || rec.Body.String() != "no majority\n" {
		t.Errorf("not ready: %d %q", rec.Code, rec.Body)
	}
	sick = errors.New("a sync does not end")
	if rec := tell(s, "", http.MethodGet, "/healthz", ""); rec.Code != 503 || !strings.Contains(rec.Body.String(), "a sync does not end") {
		t.Errorf("sick: %d %q", rec.Code, rec.Body)
	}
}
