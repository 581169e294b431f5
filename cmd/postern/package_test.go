package main

import (
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// TestUnitIsHardened: systemd's own judgement of the unit that is packaged, and
// what else it finds wrong with it.
func TestUnitIsHardened(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("needs systemd-analyze")
	}
	const unit = "../../deploy/package/postern.service"
	out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", unit).CombinedOutput()
	m := regexp.MustCompile(`exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if level, err := strconv.ParseFloat(string(m[1]), 64); err != nil || level > 2.0 {
		t.Errorf("exposed %s, want 2.0 at most\n%s", m[1], out)
	}
}
