package submission

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRealClients sends one message with each program people have. A missing
// one is an error, unless POSTERN_ALLOW_MISSING is set.
func TestRealClients(t *testing.T) {
	for _, c := range []struct {
		name, program string
		run           func(*testing.T, *rig, string)
	}{
		{"curl", "curl", withCurl},
		{"swaks", "swaks", withSwaks},
		{"msmtp", "msmtp", withMsmtp},
		{"python", "python3", withPython},
		{"postfix", "postfix", withPostfix},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, err := exec.LookPath(c.program)
			if err != nil && os.Getenv("POSTERN_ALLOW_MISSING") != "" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Parallel()
			c.run(t, newRig(t), path)
		})
	}
}

// real is a message as programs make them, with text that tests transparency.
const real = "From: Shop <mail@shop.test>\r\nTo: a@example.test\r\nSubject: by a real program\r\n\r\n.dot\r\nline\r\n..\r\nend\r\n"

const realBody = ".dot\r\nline\r\n..\r\nend\r\n"

func (r *rig) caFile(t *testing.T) string {
	t.Helper()
	cert := r.srv.tls().Certificates[0].Certificate[0]
	return file(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (r *rig) port() string { return r.addr[strings.LastIndexByte(r.addr, ':')+1:] }

func run(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out.String())
	}
	return out.String()
}

func (r *rig) expectReal(t *testing.T, n int, with string) {
	t.Helper()
	k := r.kept()
	if len(k) != n {
		t.Fatalf("%d kept, want %d\n%s", len(k), n, r.logs.String())
	}
	m := k[n-1]
	if m.body() != realBody || !strings.Contains(m.raw, " with "+with+" id ") {
		t.Errorf("kept %q", m.raw)
	}
}

func withCurl(t *testing.T, r *rig, curl string) {
	msg := file(t, "msg", real)
	for i, url := range []string{"smtp://" + r.addr, "smtps://" + r.addrS} {
		run(t, "", curl, "--silent", "--show-error", "--url", url, "--ssl-reqd", "--cacert", r.caFile(t),
			"--user", tUser+":"+r.pass[tUser], "--mail-from", "mail@shop.test", "--mail-rcpt", "a@example.test", "--upload-file", msg)
		r.expectReal(t, i+1, "ESMTPSA")
	}
}

func withSwaks(t *testing.T, r *rig, swaks string) {
	msg := file(t, "msg", real)
	for i, mech := range []string{"PLAIN", "LOGIN"} {
		out := run(t, "", swaks, "--server", "127.0.0.1", "--port", r.port(), "--tls", "--auth", mech,
			"--auth-user", tUser, "--auth-password", r.pass[tUser], "--from", "mail@shop.test", "--to", "a@example.test", "--data", "@"+msg)
		if !strings.Contains(out, "OK: queued as") {
			t.Errorf("swaks said %s", out)
		}
		// swaks adds an empty line to what it reads from a file
		if k := r.kept(); len(k) != i+1 || !strings.HasPrefix(k[i].body(), realBody) {
			t.Fatalf("kept %+v", k)
		}
	}
}

func withMsmtp(t *testing.T, r *rig, msmtp string) {
	conf := file(t, "msmtprc", fmt.Sprintf("account default\nhost 127.0.0.1\nport %s\ntls on\ntls_starttls on\ntls_trust_file %s\nauth on\nuser %s\npassword %s\nfrom mail@shop.test\n",
		r.port(), r.caFile(t), tUser, r.pass[tUser]))
	run(t, strings.ReplaceAll(real, "\r\n", "\n"), msmtp, "-C", conf, "a@example.test")
	r.expectReal(t, 1, "ESMTPSA")
}

func withPython(t *testing.T, r *rig, python string) {
	script := `
import smtplib, ssl, sys
host, port, ports, ca, user, password = sys.argv[1:7]
msg = sys.stdin.read()
ctx = ssl.create_default_context(cafile=ca)
with smtplib.SMTP(host, int(port)) as s:
    s.starttls(context=ctx)
    s.login(user, password)
    assert not s.sendmail("mail@shop.test", ["a@example.test"], msg)
    try:
        s.sendmail("mail@other.test", ["a@example.test"], msg)
    except smtplib.SMTPSenderRefused as e:
        assert e.smtp_code == 553, e
    else:
        raise Exception("another tenant's address was accepted")
with smtplib.SMTP_SSL(host, int(ports), context=ctx) as s:
    s.login(user, password)
    assert not s.sendmail("mail@shop.test", ["a@example.test", "b@example.test"], msg)
`
	_, ports, _ := strings.Cut(r.addrS, ":")
	run(t, strings.ReplaceAll(real, "\r\n", "\n"), python, "-c", script, "127.0.0.1", r.port(), ports, r.caFile(t), tUser, r.pass[tUser])
	r.expectReal(t, 2, "ESMTPSA")
}

// withPostfix runs an instance of its own that has this server as its smarthost.
func withPostfix(t *testing.T, r *rig, postfix string) {
	owner, err := user.Lookup("postfix")
	if err != nil || os.Getuid() != 0 {
		t.Skip("Postfix runs only as root here")
	}
	dir := postfixAt(t, r, owner.Uid)
	etc := filepath.Join(dir, "etc")
	run(t, "", postfix, "-c", etc, "start")
	t.Cleanup(func() { run(t, "", postfix, "-c", etc, "stop") })
	send := filepath.Join(filepath.Dir(postfix), "sendmail")
	run(t, strings.ReplaceAll(real, "\r\n", "\n"), send, "-C", etc, "-f", "mail@shop.test", "-i", "a@example.test")
	deadline := time.Now().Add(2 * time.Minute)
	for tick := time.NewTicker(20 * time.Millisecond); len(r.kept()) == 0; <-tick.C {
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "data", "log"))
			t.Fatalf("nothing came\n%s\n%s", log, r.logs.String())
		}
	}
	r.expectReal(t, 1, "ESMTPSA")
	if raw := r.one().raw; strings.Contains(raw, "client.test (Postfix") || strings.Count(raw, "Received:") != 1 {
		t.Errorf("kept %q", raw)
	}
}

// postfixAt writes the configuration of an instance that does nothing but send
// what it is given to the server.
func postfixAt(t *testing.T, r *rig, owner string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "postern-postfix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(owner)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"etc", "spool", "data"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "data"), uid, -1); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("password", fmt.Sprintf("[127.0.0.1]:%s %s:%s\n", r.port(), tUser, r.pass[tUser]))
	write("main.cf", fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
maillog_file = %[1]s/data/log
maillog_file_prefixes = %[1]s
myhostname = client.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:%[2]s
smtp_tls_security_level = encrypt
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:%[1]s/etc/password
smtp_sasl_security_options =
smtp_sasl_tls_security_options =
import_environment = MAIL_CONFIG
alias_maps =
alias_database =
`, dir, r.port()))
	write("master.cf", `postlog   unix-dgram n - n - 1 postlogd
pickup    unix  n - n 1 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 1 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
scache    unix  - - n - 1 scache
`)
	return dir
}
