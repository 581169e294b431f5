package node

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/node/queue"
)

// Every key that a reload takes up is one of the file, and each key of the file
// is seen when it changes.
func TestChangedKeys(t *testing.T) {
	var all []string
	a, b := DefaultConfig(), DefaultConfig()
	walkConfig(reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem(), "", func(key string, x, y reflect.Value) {
		all = append(all, key)
		switch y.Kind() {
		case reflect.Slice:
			y.Set(reflect.MakeSlice(y.Type(), x.Len()+1, x.Len()+1))
		case reflect.String:
			y.SetString(x.String() + "x")
		case reflect.Bool:
			y.SetBool(!x.Bool())
		case reflect.Int64:
			y.SetInt(x.Int() + 1)
		case reflect.Uint16, reflect.Uint64:
			y.SetUint(x.Uint() + 1)
		default:
			t.Fatalf("%s: a %s, which this test cannot change", key, y.Kind())
		}
	})
	if got := changedKeys(&a, &b); !slices.Equal(got, all) {
		t.Errorf("got %v\nwant %v", got, all)
	}
	if got := changedKeys(&a, &a); len(got) != 0 {
		t.Errorf("nothing changed, and yet %v", got)
	}
	for _, key := range liveKeys {
		if !slices.Contains(all, key) {
			t.Errorf("no key %s", key)
		}
	}
	a.Intake.Traps, b = nil, a
	b.Intake.Traps = []string{}
	if got := changedKeys(&a, &b); len(got) != 0 {
		t.Errorf("an empty list is another one than none: %v", got)
	}
}

// reloadRig is a running node with the file it was started from.
type reloadRig struct {
	*Node
	file, text string
	level      *slog.LevelVar
}

func (r *reloadRig) write(t *testing.T, pairs ...string) {
	t.Helper()
	if err := os.WriteFile(r.file, []byte(strings.NewReplacer(pairs...).Replace(r.text)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newReloadRig(t *testing.T) *reloadRig {
	t.Helper()
	dir := t.TempDir()
	writePair(t, dir, 1, time.Now().Add(-time.Hour))
	r := &reloadRig{file: filepath.Join(dir, "postern.yaml"), level: new(slog.LevelVar)}
	r.text = fmt.Sprintf(`name: n1
hostname: smtp.relay.test
dir: state
bootstrap: true
submission: ["%s"]
submission_tls: ["%s"]
intake: {listen: ["%s"], traps: [old@trap.test]}
admin: %s
tls: {cert: cert.pem, key: key.pem}
resolvers: ["127.0.0.1:1"]
delivery: {retry: [5m]}
queue: {free_floor: 1}
log: {level: info}
`, unused(t), unused(t), unused(t), unused(t))
	r.write(t)
	cfg, err := ReadConfig(r.file)
	if err != nil {
		t.Fatal(err)
	}
	r.Node, err = New(cfg, Options{Log: slog.New(slog.DiscardHandler), Level: r.level, File: r.file, Fatal: func(err error) { panic(err) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	await(t, "the node", func() bool { return r.Ready() == nil })
	return r
}

// dialog is an SMTP client that says one line at a time.
type dialog struct {
	net.Conn
	r *bufio.Reader
}

func talk(t *testing.T, addr string) *dialog {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	d := &dialog{c, bufio.NewReader(c)}
	d.reply(t)
	d.say(t, "EHLO client.test")
	return d
}

func (d *dialog) reply(t *testing.T) string {
	t.Helper()
	for {
		line, err := d.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if len(line) > 3 && line[3] == ' ' {
			return line[:3]
		}
	}
}

func (d *dialog) say(t *testing.T, line string) string {
	t.Helper()
	if _, err := fmt.Fprintf(d, "%s\r\n", line); err != nil {
		t.Fatal(err)
	}
	return d.reply(t)
}

// A node takes up what can change while clients stay connected, names what
// waits for a restart, and goes on as before when the file has a fault.
func TestReload(t *testing.T) {
	r := newReloadRig(t)
	if err := r.Healthy(); err != nil {
		t.Errorf("not healthy: %v", err)
	}
	client, report := talk(t, r.cfg.Submission[0]), talk(t, r.cfg.Intake.Listen[0])

	if got, err := r.Reload(); err != nil || len(got.Changed)+len(got.Restart) != 0 {
		t.Errorf("nothing changed: %+v %v", got, err)
	}
	r.write(t, "level: info", "level: loud", "[5m]", "[7m]")
	var faults *ConfigError
	if _, err := r.Reload(); !errors.As(err, &faults) || !strings.Contains(err.Error(), "log.level") {
		t.Errorf("a file with a fault: %v", err)
	}
	r.write(t, "cert: cert.pem", "cert: none.pem", "level: info", "level: debug")
	if _, err := r.Reload(); !errors.Is(err, os.ErrNotExist) || r.level.Level() != slog.LevelInfo {
		t.Errorf("a certificate that is missing: %v, and logs %s", err, r.level.Level())
	}

	asked, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close()
	other := t.TempDir()
	cert, key := writePair(t, other, 2, time.Now())
	r.write(t, "level: info", "level: debug", "[5m]", "[7m]", "cert: cert.pem", "cert: "+cert, "key: key.pem", "key: "+key, "old@", "new@",
		"free_floor: 1", "free_floor: 18446744073709551615", "127.0.0.1:1\"", asked.LocalAddr().String()+"\"", "smtp.relay", "mail.relay")
	got, err := r.Reload()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"intake.traps", "tls.cert", "tls.key", "resolvers", "delivery.retry", "queue.free_floor", "log.level"}
	if !slices.Equal(got.Changed, want) || !slices.Equal(got.Restart, []string{"hostname"}) {
		t.Errorf("%+v, want %v", got, want)
	}
	if r.level.Level() != slog.LevelDebug {
		t.Errorf("logs %s", r.level.Level())
	}
	if err := r.queue.Full(); !errors.Is(err, queue.ErrFull) {
		t.Errorf("the floor is the old one: %v", err)
	}
	for _, c := range r.certs {
		if n := serial(t, c); n != 2 {
			t.Errorf("certificate %d", n)
		}
	}
	c, err := tls.Dial("tcp", r.cfg.SubmissionTLS[0], &tls.Config{InsecureSkipVerify: true})
	if err != nil || c.ConnectionState().PeerCertificates[0].SerialNumber.Int64() != 2 {
		t.Fatalf("another certificate is served: %v", err)
	}
	c.Close()
	hears(t, asked, func(ctx context.Context) { _, _ = r.lookup.TXT(ctx, "one.test") })
	if code := client.say(t, "NOOP"); code != "250" {
		t.Errorf("the client's connection: %s", code)
	}
	report.say(t, "MAIL FROM:<a@b.test>")
	if code := report.say(t, "RCPT TO:<old@trap.test>"); code[0] != '5' {
		t.Errorf("the old trap: %s", code)
	}
	if code := report.say(t, "RCPT TO:<new@trap.test>"); code != "250" {
		t.Errorf("the new trap: %s", code)
	}
	// What waits for a restart is named again; what was taken up is not.
	if got, err := r.Reload(); err != nil || len(got.Changed) != 0 || !slices.Equal(got.Restart, []string{"hostname"}) {
		t.Errorf("again: %+v %v", got, err)
	}
}

// hears waits until a question reaches the server.
func hears(t *testing.T, server net.PacketConn, ask func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); ask(ctx) }()
	_ = server.SetReadDeadline(time.Now().Add(time.Minute))
	if _, _, err := server.ReadFrom(make([]byte, 1500)); err != nil {
		t.Errorf("the new resolver is not asked: %v", err)
	}
	cancel()
	<-done
}

func TestReloadWithoutFile(t *testing.T) {
	n := &Node{log: slog.New(slog.DiscardHandler)}
	if _, err := n.Reload(); !errors.Is(err, errNoFile) {
		t.Errorf("got %v", err)
	}
}

// A level asked for lasts its time, also over a reload; then the usual one holds.
func TestLogLevelFallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := new(slog.LevelVar)
		l, err := newLogLevel("n1", "warn", v, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		is := func(when string, want slog.Level, until bool) {
			t.Helper()
			synctest.Wait()
			if s := l.show(); v.Level() != want || s.Level != levelWord(want) || (s.Until != nil) != until {
				t.Errorf("%s: %s, %+v", when, v.Level(), s)
			}
		}
		is("at first", slog.LevelWarn, false)
		l.set(slog.LevelDebug, 10*time.Minute)
		time.Sleep(9 * time.Minute)
		is("after 9 minutes", slog.LevelDebug, true)
		l.setUsual(slog.LevelError)
		l.set(slog.LevelInfo, 10*time.Minute)
		time.Sleep(9 * time.Minute)
		is("asked once more", slog.LevelInfo, true)
		time.Sleep(2 * time.Minute)
		is("when the time is over", slog.LevelError, false)
		l.set(slog.LevelDebug, time.Hour)
		l.end()
		is("ended early", slog.LevelError, false)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
