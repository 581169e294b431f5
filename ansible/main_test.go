package ansible

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// inside marks the process that has namespaces of its own.
const inside = "inside"

// TestMain runs the test again in namespaces of its own: whatever it starts has
// no way out, and ends with it. What it needs is said by make test-ansible.
func TestMain(m *testing.M) {
	switch os.Getenv("POSTERN_ANSIBLE") {
	case "", inside:
		os.Exit(m.Run())
	}
	cmd := exec.Command("unshare", append([]string{"--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", os.Args[0]}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), "POSTERN_ANSIBLE="+inside)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "run with namespaces:", err)
		os.Exit(1)
	}
}
