package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// The packaging asks for the pages of this build: -manual DIR, and the date by
// SOURCE_DATE_EPOCH. The writer of pages is so no part of the program.
var manualDir = flag.String("manual", "", "directory to write the manual pages to")

// TestManual: every verb has a page with its examples.
func TestManual(t *testing.T) {
	dir := *manualDir
	if dir == "" {
		dir = t.TempDir()
	}
	root := newApp(strings.NewReader(""), os.Stdout, os.Stderr).root()
	root.DisableAutoGenTag = true
	if err := doc.GenManTree(root, &doc.GenManHeader{Title: "POSTERN", Section: "1", Source: "Postern", Manual: "Postern"}, dir); err != nil {
		t.Fatal(err)
	}
	var see func(*cobra.Command)
	see = func(c *cobra.Command) {
		page, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"))
		if err != nil {
			t.Error(err)
			return
		}
		if !bytes.Contains(page, []byte(".TH ")) || c.Example != "" && !bytes.Contains(page, []byte(".SH EXAMPLE")) {
			t.Errorf("%s: a page without head or examples", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				see(sub)
			}
		}
	}
	see(root)
}

// TestCompletion: what is written is a program of that shell, and knows a verb.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var out, errs bytes.Buffer
		if code := run([]string{"completion", shell}, strings.NewReader(""), &out, &errs); code != exitDone || !strings.Contains(out.String(), "__complete") {
			t.Errorf("%s: %d %s", shell, code, &errs)
		}
		if path, err := exec.LookPath(shell); err == nil {
			c := exec.Command(path, "-n")
			c.Stdin = &out
			if text, err := c.CombinedOutput(); err != nil {
				t.Errorf("%s reads it: %v\n%s", shell, err, text)
			}
		}
	}
	var out, errs bytes.Buffer
	if code := run([]string{"__complete", "node", "lo"}, strings.NewReader(""), &out, &errs); code != exitDone || !strings.Contains(out.String(), "log-level") {
		t.Errorf("%d %s%s", code, &out, &errs)
	}
	if code := run([]string{"completion", "csh"}, strings.NewReader(""), &out, &errs); code != exitUsage {
		t.Errorf("csh: %d", code)
	}
}
