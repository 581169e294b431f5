package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postern/node/admin"
)

// crypted is a password's hash as this machine's libcrypt makes it.
func crypted(t *testing.T, password, setting string) string {
	t.Helper()
	out, err := exec.Command("perl", "-e", `print crypt($ARGV[0], $ARGV[1])`, password, setting).Output()
	if err != nil || !strings.HasPrefix(string(out), setting[:3]) {
		t.Fatalf("hash a password: %q, %v", out, err)
	}
	return string(out)
}

// oldServer is a small Postfix with one customer, who has an address of its own.
func oldServer(t *testing.T, users string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"etc/postfix/main.cf": "myhostname = mail.old.test\nsender_dependent_default_transport_maps = inline:{ @boots.test=out-boots: }\n" +
			"smtpd_sender_login_maps = inline:{ @boots.test=mail@boots.test,{ @caps.test = mail@boots.test, news@boots.test } }\n",
		"etc/postfix/master.cf": "smtp inet n - y - - smtpd\nsmtp unix - - y - - smtp\nout-boots unix - - y - - smtp\n  -o smtp_bind_address=127.77.1.99 -o smtp_helo_name=out-99.$myhostname\n",
		"etc/postfix/dead":      "gone@nobody.test REJECT user unknown\nAlso.Gone@Nobody.test REJECT\n",
		"etc/dovecot/users":     users,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// leftBy are the addresses from which the lab got mail for a recipient.
func (r *demoRun) leftBy(j demoJSON, to string) (all []string) {
	r.t.Helper()
	resp, err := http.Get("http://" + j.Lab.API + "/messages")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Messages []struct {
			To     []string `json:"rcpts"`
			Source string   `json:"source"`
			EHLO   string   `json:"ehlo"`
		} `json:"messages"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		r.t.Fatal(err)
	}
	for _, m := range got.Messages {
		if strings.Contains(strings.Join(m.To, " "), to) {
			all = append(all, m.Source+" "+m.EHLO)
		}
	}
	return all
}

// Real processes: a customer comes with its passwords and its address, and sends
// as before; importing again changes nothing; and when it has gone back, the
// cluster is as it was.
func TestImportedCustomer(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes")
	}
	const old = "old pass word"
	root := oldServer(t, "mail@boots.test:{SHA512-CRYPT}"+crypted(t, old, "$6$rounds=5000$saltsaltsalt$")+":::::\n"+
		"news@boots.test:{BLF-CRYPT}"+crypted(t, old, "$2b$05$abcdefghijklmnopqrstuu")+":::::\n")
	r := startDemo(t, t.TempDir(), "--nodes", "1", "--tenants", "3", "--traffic", "0")
	j := r.waitJSON("a node", func(j demoJSON) bool { return len(j.Nodes) == 1 && len(j.Tenants) == 3 && owned(j) })
	r.waitLine(patience, "Ctrl-C ends the demo.")
	at := j.Nodes[0].Submission[0]
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(j.OperatorToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	verb := func(want int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		args = append(args, "--api", j.Nodes[0].Admin, "--token-file", token)
		if code := run(args, strings.NewReader(""), &out, &out); code != want {
			t.Fatalf("%v: exit %d, want %d: %s", args, code, want, out.String())
		}
		return out.String()
	}
	bring := func(tenant, hostname string) string {
		t.Helper()
		return verb(exitDone, "import", "postfix", "--root", root, "--users", "/etc/dovecot/users", "--suppression", "/etc/postfix/dead",
			"--tenant", tenant, "--hostname", hostname, "--node", j.Nodes[0].Name, "--apply")
	}
	before := verb(exitDone, "export", "--secrets")

	text := bring("boots", "boots.relay.test")
	for _, want := range []string{"+ account mail@boots.test", "2 addresses put on the suppression list", "Take 127.77.1.99 off the old server"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "$6$") || strings.Contains(text, "with a new password") {
		t.Errorf("%s", text)
	}
	for _, user := range []string{"mail@boots.test", "news@boots.test"} {
		r.eventuallySend(at, demoJSONTenant{Username: user, Password: old}, "bob@inbox.test")
		if err := r.send(at, user, old+"!", "bob@inbox.test"); err == nil || !strings.Contains(err.Error(), "535") {
			t.Errorf("%s with another password: %v", user, err)
		}
	}
	if err := r.send(at, "mail@boots.test", old, "gone@nobody.test"); err != nil {
		t.Error(err)
	}
	eventually(t, patience, "what was sent to leave", func() bool {
		p, err := r.api(j, 0).Tenant(t.Context(), "boots")
		return err == nil && p.Queued != nil && *p.Queued == 0
	})
	if left := r.leftBy(j, "bob@inbox.test"); len(left) != 2 || left[0] != "127.77.1.99 out-99.mail.old.test" {
		t.Errorf("mail left by %q", left)
	}
	if p, err := r.api(j, 0).Failures(t.Context(), "mail@boots.test", "", ""); err != nil || !slices.ContainsFunc(p.Items, func(x admin.Failure) bool { return x.Address == "gone@nobody.test" && x.Result == "suppressed" }) {
		t.Errorf("%+v, %v: want one that was suppressed", p.Items, err)
	}
	if text := bring("boots", "boots.relay.test"); !strings.Contains(text, "Nothing to do") || strings.Contains(text, "suppression list.") {
		t.Errorf("again:\n%s", text)
	}

	// Not while mail waits, and then all of it.
	verb(exitDone, "tenant", "pause", "boots", "--reason", "a test")
	if err := r.send(at, "mail@boots.test", old, "bob@inbox.test"); err != nil {
		t.Fatal(err)
	}
	if text := verb(exitRefused, "import", "undo", "--tenant", "boots"); !strings.Contains(text, "1 message in the queue") {
		t.Errorf("%s", text)
	}
	verb(exitDone, "tenant", "resume", "boots")
	eventually(t, patience, "the way back", func() bool {
		_, err := r.api(j, 0).UndoImport(t.Context(), "boots", true)
		return err == nil
	})
	verb(exitDone, "import", "undo", "--tenant", "boots")
	if err := r.send(at, "mail@boots.test", old, "bob@inbox.test"); err == nil {
		t.Error("the account is still there")
	}
	if after := verb(exitDone, "export", "--secrets"); after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}

	// Into a tenant that was there: its own addresses stay on its list.
	mine := j.Tenants[1].Name
	verb(exitDone, "suppression", "add", "own@nobody.test", "--tenant", mine)
	bring(mine, hostnameOf(t, r.api(j, 0), mine))
	if list := verb(exitDone, "suppression", "list", "--tenant", mine); !strings.Contains(list, "gone@nobody.test") {
		t.Errorf("%s", list)
	}
	if text := verb(exitDone, "import", "undo", "--tenant", mine); !strings.Contains(text, "2 addresses taken off") {
		t.Errorf("%s", text)
	}
	if list := verb(exitDone, "suppression", "list", "--tenant", mine); strings.Contains(list, "gone@") || !strings.Contains(list, "own@nobody.test") {
		t.Errorf("%s", list)
	}
	if after := verb(exitDone, "export", "--secrets"); after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
	r.end()
	if r.err != nil {
		t.Errorf("the demo ended with %v", r.err)
	}
}

func hostnameOf(t *testing.T, c *admin.Client, name string) string {
	t.Helper()
	x, err := c.Tenant(t.Context(), name)
	if err != nil {
		t.Fatal(fmt.Errorf("show tenant: %w", err))
	}
	return x.Hostname
}
