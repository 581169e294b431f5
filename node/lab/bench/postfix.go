package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// postfix is Debian's Postfix with a configuration of its own, set up for the
// same job as Postern: no content filter, no local delivery, one smarthost.
type postfix struct {
	dir  string // configuration
	addr string
	tls  string
	sink *sink
}

const masterCF = `%s inet n - n - - smtpd
%s inet n - n - - smtpd -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

func startPostfix(ctx context.Context, dir string) (*postfix, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	p := &postfix{dir: filepath.Join(dir, "etc")}
	for _, d := range []string{p.dir, filepath.Join(dir, "queue"), filepath.Join(dir, "data")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	// Only Postfix's own user may write there.
	if out, err := exec.Command("chown", "postfix", filepath.Join(dir, "data")).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("give data directory to postfix: %w: %s", err, out)
	}
	var err error
	if p.sink, err = startSink(ctx); err != nil {
		return p, err
	}
	if p.addr, err = freeAddr(); err != nil {
		return p, err
	}
	if p.tls, err = freeAddr(); err != nil {
		return p, err
	}
	if err := p.configure(dir); err != nil {
		return p, err
	}
	if out, err := exec.CommandContext(ctx, sbin("postfix"), "-c", p.dir, "start").CombinedOutput(); err != nil {
		return p, fmt.Errorf("%w: %s", err, out)
	}
	if err := waitPort(ctx, p.addr); err != nil {
		return p, err
	}
	return p, waitPort(ctx, p.tls)
}

func (p *postfix) configure(dir string) error {
	cert, key, err := selfSigned(dir)
	if err != nil {
		return err
	}
	sinkHost, sinkPort, _ := net.SplitHostPort(p.sink.addr)
	main := map[string]string{
		"compatibility_level":                   "3.6",
		"queue_directory":                       filepath.Join(dir, "queue"),
		"data_directory":                        filepath.Join(dir, "data"),
		"command_directory":                     "/usr/sbin",
		"daemon_directory":                      "/usr/lib/postfix/sbin",
		"mail_owner":                            "postfix",
		"myhostname":                            "relay.bench.test",
		"mydestination":                         "",
		"mynetworks":                            "127.0.0.0/8",
		"inet_protocols":                        "ipv4",
		"inet_interfaces":                       "127.0.0.1",
		"relayhost":                             "[" + sinkHost + "]:" + sinkPort,
		"smtpd_relay_restrictions":              "permit_mynetworks, permit_sasl_authenticated, reject",
		"smtpd_client_connection_count_limit":   "0",
		"smtpd_client_message_rate_limit":       "0",
		"smtpd_tls_cert_file":                   cert,
		"smtpd_tls_key_file":                    key,
		"smtpd_tls_security_level":              "may",
		"smtpd_sasl_type":                       "cyrus",
		"smtpd_sasl_path":                       "smtpd",
		"smtpd_sasl_security_options":           "noanonymous",
		"smtpd_sasl_local_domain":               "bench.test",
		"smtp_tls_security_level":               "none",
		"maillog_file":                          "/var/log/postern-bench-postfix.log",
		"alias_maps":                            "",
		"default_destination_concurrency_limit": "20",
		"smtp_destination_concurrency_limit":    "20",
	}
	var b strings.Builder
	for k, v := range main {
		fmt.Fprintf(&b, "%s = %s\n", k, v)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "main.cf"), []byte(b.String()), 0o644); err != nil {
		return err
	}
	master := fmt.Sprintf(masterCF, p.addr, p.tls)
	if err := os.WriteFile(filepath.Join(p.dir, "master.cf"), []byte(master), 0o644); err != nil {
		return err
	}
	return p.passwords(filepath.Join(p.dir, "sasl")) // where Debian's Postfix looks
}

// passwords makes a Cyrus SASL database with the one account.
func (p *postfix) passwords(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	db := filepath.Join(dir, "sasldb2")
	conf := "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: " + db + "\n"
	if err := os.WriteFile(filepath.Join(dir, "smtpd.conf"), []byte(conf), 0o644); err != nil {
		return err
	}
	user, domain, _ := strings.Cut(sender, "@")
	cmd := exec.Command(sbin("saslpasswd2"), "-p", "-c", "-f", db, "-u", domain, user)
	cmd.Stdin = strings.NewReader(password)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make SASL password: %w: %s", err, out)
	}
	return os.Chmod(db, 0o644)
}

func (p *postfix) Name() string     { return "Postfix" }
func (p *postfix) Plain() string    { return p.addr }
func (p *postfix) TLS() string      { return p.tls }
func (p *postfix) Password() string { return password }
func (p *postfix) Sink() *sink      { return p.sink }

// Pause puts what comes in on hold, so that its queue manager stays idle.
func (p *postfix) Pause(ctx context.Context) error {
	return p.set(ctx, "smtpd_client_restrictions=check_client_access static:HOLD")
}

// Resume moves the held mail to the deferred queue, and only then starts the
// clock and the queue manager.
func (p *postfix) Resume(ctx context.Context) (time.Time, error) {
	if err := p.set(ctx, "smtpd_client_restrictions="); err != nil {
		return time.Time{}, err
	}
	if out, err := exec.CommandContext(ctx, sbin("postsuper"), "-c", p.dir, "-H", "ALL").CombinedOutput(); err != nil {
		return time.Time{}, fmt.Errorf("release held mail: %w: %s", err, out)
	}
	start := time.Now()
	if out, err := exec.CommandContext(ctx, sbin("postqueue"), "-c", p.dir, "-f").CombinedOutput(); err != nil {
		return time.Time{}, fmt.Errorf("flush queue: %w: %s", err, out)
	}
	return start, nil
}

func (p *postfix) set(ctx context.Context, setting string) error {
	for _, args := range [][]string{{"postconf", "-c", p.dir, "-e", setting}, {"postfix", "-c", p.dir, "reload"}} {
		if out, err := exec.CommandContext(ctx, sbin(args[0]), args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", args[0], err, out)
		}
	}
	pause(ctx, 500*time.Millisecond) // reload is asynchronous
	return nil
}

func (p *postfix) Usage() (usage, error) {
	pid, err := p.pid()
	if err != nil {
		return usage{}, err
	}
	return treeUsage(pid)
}

func (p *postfix) pid() (int, error) {
	b, err := os.ReadFile(filepath.Join(filepath.Dir(p.dir), "queue/pid/master.pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

func (p *postfix) Profile(context.Context, string) func() { return func() {} }

func (p *postfix) Stop() {
	_ = exec.Command(sbin("postfix"), "-c", p.dir, "stop").Run()
	if p.sink != nil {
		p.sink.Stop()
	}
}
