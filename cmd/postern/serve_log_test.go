package main

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// writes counts what reaches the far end of the log.
type writes struct {
	mu    sync.Mutex // guards what follows
	text  strings.Builder
	count int
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	return w.text.Write(p)
}

func (w *writes) lines() (lines, count int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.text.String(), "\n"), w.count
}

func TestLogLinesTravelTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writes
		log, flush := newLog(&w, slog.LevelInfo, "json")
		for i := range 100 {
			log.Info("delivered", "n", i)
		}
		if lines, _ := w.lines(); lines != 0 {
			t.Errorf("%d lines were written at once", lines)
		}
		time.Sleep(2 * logWait)
		if lines, count := w.lines(); lines != 100 || count != 1 {
			t.Errorf("after a moment: %d lines in %d writes", lines, count)
		}
		log.Info("one more")
		log.Error("disk gone")
		if lines, _ := w.lines(); lines != 102 {
			t.Errorf("an error waited: %d lines", lines)
		}
		log.Info("last")
		flush()
		if lines, _ := w.lines(); lines != 103 {
			t.Errorf("flush left lines behind: %d", lines)
		}
	})
}

func TestLogDoesNotGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w writes
		log, flush := newLog(&w, slog.LevelInfo, "text")
		defer flush()
		long := strings.Repeat("x", 1000)
		for i := range 1000 { // faster than the timer
			log.Info(long, "n", fmt.Sprint(i))
		}
		if lines, count := w.lines(); lines < 900 || count > 20 {
			t.Errorf("%d lines in %d writes", lines, count)
		}
	})
}
