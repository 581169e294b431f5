package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFormingAsOwner types the verb as root, in a process of its own because
// rights do not come back: what it makes belongs to the directory's owner.
func TestFormingAsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const owner = 65534
	if file := os.Getenv("POSTERN_TEST_AS_OWNER"); file != "" {
		os.Exit(run([]string{"init", "--config", file}, os.Stdin, os.Stdout, os.Stderr))
	}
	top, err := os.MkdirTemp("/tmp", "postern-owner-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	dir := filepath.Join(top, "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{top, dir} {
		if err := os.Chown(name, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(top, "postern.yaml")
	text := "name: n1\nhostname: smtp.relay.example\ndir: " + dir + "\npeer: {listen: \"127.0.0.1:1\", advertise: \"127.0.0.1:1\"}\nsubmission: [\"127.0.0.1:2\"]\nsubmission_tls: []\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0], "-test.run=^TestFormingAsOwner$")
	c.Env = append(os.Environ(), "POSTERN_TEST_AS_OWNER="+file)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	out, err := exec.Command("find", dir, "!", "-user", "65534").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "" {
		t.Errorf("not the owner's: %s %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "formed")); err != nil {
		t.Errorf("nothing was formed: %v", err)
	}
}
