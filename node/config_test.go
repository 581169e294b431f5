package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The sample says what the defaults are, so they must be the same; what has no
// default it sets.
func TestSampleParses(t *testing.T) {
	c, err := ReadConfig("../deploy/postern.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := DefaultConfig()
	if c.Name != "n1" || c.Hostname == "" || !c.Bootstrap || c.TLS.Cert == "" || c.Metrics == "" {
		t.Errorf("%+v", c)
	}
	if !slices.Equal(c.Submission, d.Submission) || !slices.Equal(c.SubmissionTLS, d.SubmissionTLS) || c.Admin != d.Admin || c.Dir != d.Dir ||
		!slices.Equal(c.Resolvers, d.Resolvers) || c.Log != d.Log || c.Delivery.Port != d.Delivery.Port || c.Queue != d.Queue {
		t.Errorf("the sample shows other defaults than there are:\n%+v\n%+v", c, d)
	}
	text, err := os.ReadFile("../deploy/postern.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, at, _ := parseConfig(text)
	for _, key := range []string{"name", "dir", "hostname", "bootstrap", "submission", "submission_tls", "tls.cert", "tls.key", "admin", "admin_tls", "metrics",
		"operator_token_file", "secret_key_file", "resolvers", "delivery.port", "delivery.allow_loopback", "queue.free_floor", "queue.grace", "log.level", "log.format"} {
		if at[key] == 0 {
			t.Errorf("the sample does not show %s", key)
		}
	}
}

// What the sample shows of a cluster is right, too.
func TestSamplePeerParses(t *testing.T) {
	text, err := os.ReadFile("../deploy/postern.yaml")
	if err != nil {
		t.Fatal(err)
	}
	from := strings.Index(string(text), "# peer:\n")
	if from < 0 {
		t.Fatal("the sample shows no peer")
	}
	shown, _, _ := strings.Cut(string(text[from:]), "\n\n")
	c, at, found := parseConfig([]byte("hostname: a.b\nsubmission_tls: []\n" + strings.ReplaceAll(shown, "# ", "")))
	found = faults(append(found, c.judge(at)...))
	if len(found) > 0 || c.Peer.Listen != ":8472" || c.Peer.Gossip != ":8473" || c.Peer.Advertise == "" {
		t.Errorf("%v %+v", found, c.Peer)
	}
}

func TestSampleIntakeParses(t *testing.T) {
	text, err := os.ReadFile("../deploy/postern.yaml")
	if err != nil {
		t.Fatal(err)
	}
	from := strings.Index(string(text), "# intake:\n")
	if from < 0 {
		t.Fatal("the sample shows no intake")
	}
	shown, _, _ := strings.Cut(string(text[from:]), "\n\n")
	c, at, found := parseConfig([]byte("hostname: a.b\nsubmission_tls: []\n" + strings.ReplaceAll(shown, "# ", "")))
	found = faults(append(found, c.judge(at)...))
	if len(found) > 0 || !slices.Equal(c.Intake.Listen, []string{":25"}) || len(c.Intake.Domains) != 1 || len(c.Intake.Traps) != 1 {
		t.Errorf("%v %+v", found, c.Intake)
	}
}

func TestSampleBalancersParse(t *testing.T) {
	text, err := os.ReadFile("../deploy/postern.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, ok := strings.Cut(string(text), "# proxy_from: ")
	if !ok {
		t.Fatal("the sample shows no proxy_from")
	}
	shown, _, _ = strings.Cut(shown, "\n")
	c, at, found := parseConfig([]byte("hostname: a.b\nsubmission_tls: []\nproxy_from: " + shown + "\n"))
	found = faults(append(found, c.judge(at)...))
	all, err := c.proxies()
	if len(found) > 0 || err != nil || len(all) != 2 || all[0] != netip.MustParsePrefix("192.0.2.5/32") {
		t.Errorf("%v %v %v", found, all, err)
	}
}

func TestFileFaults(t *testing.T) {
	for _, x := range []struct {
		name, text string
		want       []string // "line key: words" of each finding, in order
	}{
		{"unknown key", "hostname: a.b\nsubmision: [':1']\n", []string{"2 submision: unknown key; did you mean submission?"}},
		{"unknown key below", "hostname: a.b\nlog:\n  colour: red\n", []string{"3 log.colour: unknown key"}},
		{"all at once", "hostname: a.b\nbogus: 1\nbootstrap: perhaps\nlog: {level: loud}\nqueue:\n  free_floor: -1\n", []string{
			"2 bogus: unknown key", "3 bootstrap: ", "6 queue.free_floor: ", "4 log.level: "}},
		{"list wanted", "hostname: a.b\nresolvers: 127.0.0.1\n", []string{"2 resolvers: is no list"}},
		{"time wanted", "hostname: a.b\ndelivery:\n  retry: [5m, soon]\n", []string{"3 delivery.retry[1]: ", "3 delivery.retry[1]: "}},
		{"value wanted", "hostname: {a: b}\n", []string{"1 hostname: is not one value", "1 hostname: is missing"}},
		{"bool as text", "hostname: true\n", []string{"1 hostname: is true or false", "1 hostname: is missing"}},
		{"port too high", "hostname: a.b\ndelivery: {port: 70000}\n", []string{"2 delivery.port: "}},
		{"no hostname", "name: n1\n", []string{"0 hostname: is missing"}},
		{"bad name", "name: N_1\nhostname: a.b\n", []string{"1 name: "}},
		{"bad address", "hostname: a.b\nsubmission:\n  - nonsense\n  - mx.example:25\n  - :99999\n", []string{"3 submission[0]: ", "4 submission[1]: ", "5 submission[2]: "}},
		{"same address", "hostname: a.b\nmetrics: 127.0.0.1:8470\n", []string{"2 metrics: "}},
		{"cert alone", "hostname: a.b\ntls: {cert: x.pem}\n", []string{"2 tls.key: is missing"}},
		{"alias", "hostname: &h a.b\nname: *h\n", []string{"1 hostname: anchors", "2 name: anchors", "1 hostname: is missing"}},
		{"twice", "hostname: a.b\nhostname: a.b\n", []string{"2 "}},
		{"not YAML", "hostname: [a\n", []string{""}},
		{"two documents", "hostname: a.b\n---\nname: x\n", []string{"3 : a second document"}},
		{"a list", "- a\n", []string{"1 : is no mapping"}},
		{"resolver", "hostname: a.b\nresolvers: [dns.example]\n", []string{"2 resolvers[0]: "}},
		{"peer", "hostname: a.b\npeer: {listen: ':8472', advertise: 'n1.example:8472'}\n", nil},
		{"peer half", "hostname: a.b\npeer:\n  listen: ':8472'\n  advertise: ':8472'\nbootstrap: true\n", []string{"5 bootstrap: does not go with", "4 peer.advertise: "}},
		{"peer without port", "hostname: a.b\npeer:\n  gossip: ':8473'\n", []string{"3 peer.gossip: there is no peer port"}},
		{"peer everywhere", "hostname: a.b\npeer: {listen: ':8472', advertise: '0.0.0.0:8472'}\n", []string{"2 peer.advertise: "}},
		{"peer zone", "hostname: a.b\npeer: {listen: ':8472', advertise: '[fe80::1%eth0]:8472'}\n", []string{"2 peer.advertise: "}},
		{"peer name", "hostname: a.b\npeer: {listen: ':8472', advertise: 'relay_1:8472'}\n", []string{"2 peer.advertise: "}},
		{"peer port 0", "hostname: a.b\npeer: {listen: ':0', advertise: '192.0.2.1:0'}\n", []string{"2 peer.advertise: "}},
		{"grace", "hostname: a.b\nqueue: {grace: 1ms}\n", []string{"2 queue.grace: "}},
		{"intake", "hostname: a.b\nintake:\n  listen: ['25', ':25']\n  domains: [a.b, 'no domain']\n", []string{"3 intake.listen[0]: ", "4 intake.domains[1]: "}},
		{"intake twice", "hostname: a.b\nsubmission: [':25']\nintake: {listen: [':25']}\n", []string{"3 intake.listen[0]: "}},
		{"balancers", "hostname: a.b\nproxy_from:\n  - 192.0.2.5\n  - 2001:db8::/64\n  - 0.0.0.0/0\n  - lb.example\n  - ::ffff:192.0.2.5\n", []string{
			"5 proxy_from[2]: ", "6 proxy_from[3]: ", "7 proxy_from[4]: "}},
		{"no resolver", "hostname: a.b\nresolvers: []\n", []string{"2 resolvers: "}},
	} {
		t.Run(x.name, func(t *testing.T) {
			text := x.text
			if !strings.Contains(text, "tls:") && !strings.HasPrefix(text, "-") {
				text += "\nsubmission_tls: []\n"
			}
			c, at, found := parseConfig([]byte(text))
			found = faults(append(found, c.judge(at)...))
			var got []string
			for _, f := range found {
				got = append(got, fmt.Sprintf("%d %s: %s; %s", f.Line, f.Key, f.Text, f.Mend))
			}
			matched := 0
			for i, want := range x.want {
				if i < len(got) && strings.HasPrefix(got[i], want) {
					matched++
				}
			}
			if matched != len(x.want) || len(x.want) == 0 && len(got) > 0 {
				t.Errorf("want %q\ngot  %q", x.want, got)
			}
		})
	}
}

func TestConfigErrorNamesFileAndLine(t *testing.T) {
	path := writeFile(t, t.TempDir(), "n.yaml", "hostname: a.b\n\nwhat: 1\nsubmission_tls: []\n")
	_, err := ReadConfig(path)
	var ce *ConfigError
	if !errors.As(err, &ce) || len(ce.Findings) != 1 || !strings.HasPrefix(err.Error(), path+": line 3: what: unknown key") {
		t.Fatal(err)
	}
	if _, err := ReadConfig(path + ".not"); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	big := writeFile(t, t.TempDir(), "big.yaml", strings.Repeat("#", maxConfig+1))
	if _, err := ReadConfig(big); err == nil {
		t.Fatal("a huge file is read")
	}
}

func TestPathsAreBesideTheFile(t *testing.T) {
	dir := t.TempDir()
	path := writeFile(t, dir, "n.yaml", "hostname: a.b\ndir: state\ntls: {cert: c.pem, key: /k.pem}\n")
	c, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Dir != filepath.Join(dir, "state") || c.TLS.Cert != filepath.Join(dir, "c.pem") || c.TLS.Key != "/k.pem" ||
		c.SecretKeyFile != filepath.Join(dir, "state", "secret.key") || c.OperatorTokenFile != filepath.Join(dir, "state", "operator.token") {
		t.Errorf("%+v", c)
	}
}

// newPair writes a certificate and its key.
func newPair(t *testing.T, dir, name, host string, until time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert = writeFile(t, dir, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	key = writeFile(t, dir, name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder})))
	return cert, key
}

// One bad file with a fault of every kind that a machine can show.
func TestCheckFindsEverything(t *testing.T) {
	dir := t.TempDir()
	cert, _ := newPair(t, dir, "one", "other.test", time.Now().Add(time.Hour))
	_, key := newPair(t, dir, "two", "other.test", time.Now().Add(time.Hour))
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	writeFile(t, dir, "secret", "too short")
	writeFile(t, dir, "file", "")
	path := writeFile(t, dir, "n.yaml", fmt.Sprintf(`name: n1
hostname: smtp.relay.test
dir: file
tls: {cert: %s, key: %s}
submission: ["%s", "192.0.2.1:0"]
admin: 0.0.0.0:0
resolvers: ["%s"]
secret_key_file: secret
nonsense: 1
`, cert, key, busy.Addr(), silent.LocalAddr()))
	found, err := CheckConfig(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"line 3: dir: " + filepath.Join(dir, "file") + " is no directory",
		"line 4: tls.cert: ", "line 5: submission[0]: " + busy.Addr().String() + " is in use", "line 5: submission[1]: 192.0.2.1:0 is not on this machine",
		"line 6: admin: tokens would cross", "line 7: resolvers[0]: ", "line 8: secret_key_file: ", "line 9: nonsense: unknown key",
	} {
		if !slices.ContainsFunc(found, func(f Finding) bool { return strings.HasPrefix(f.String(), want) && f.Mend != "" }) {
			t.Errorf("not told: %s", want)
		}
	}
	if t.Failed() {
		for _, f := range found {
			t.Log(f)
		}
	}
}

func TestCheckOfAGoodFile(t *testing.T) {
	dir := t.TempDir()
	cert, key := newPair(t, dir, "one", "smtp.relay.test", time.Now().AddDate(1, 0, 0))
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("name: n1\nhostname: smtp.relay.test\ndir: state\nbootstrap: true\ntls: {cert: %s, key: %s}\nsubmission: ['127.0.0.1:0']\nsubmission_tls: []\nadmin: 127.0.0.1:0\nresolvers: ['127.0.0.1:1']\n", cert, key)
	found, err := CheckConfig(t.Context(), writeFile(t, dir, "n.yaml", text))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || !found[0].Warning || found[0].Key != "resolvers[0]" {
		t.Errorf("%v", found)
	}
	found, err = CheckConfig(t.Context(), writeFile(t, dir, "n.yaml", strings.Replace(text, "bootstrap: true", "bootstrap: false", 1)))
	if err != nil || len(faults(found)) != 1 || faults(found)[0].Key != "bootstrap" {
		t.Errorf("%v %v", found, err)
	}
	cert, key = newPair(t, dir, "old", "smtp.relay.test", time.Now().Add(-time.Minute))
	found, err = CheckConfig(t.Context(), writeFile(t, dir, "n.yaml", strings.NewReplacer("one.pem", filepath.Base(cert), "one.key", filepath.Base(key)).Replace(text)))
	if err != nil || len(faults(found)) != 1 || faults(found)[0].Key != "tls.cert" {
		t.Errorf("%v %v", found, err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "state")); len(left) > 0 {
		t.Errorf("the check left %v", left)
	}
}

// Whatever a file holds, reading it ends, and every finding has its place.
func FuzzConfig(f *testing.F) {
	sample, err := os.ReadFile("../deploy/postern.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte("hostname: &a [*a]\n<<: *a\n? [x]: y\ntls: !!str\n"))
	f.Add([]byte("delivery: {retry: [1h, {a: b}]}\nqueue: {free_floor: 1e99}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4096 {
			return
		}
		c, at, found := parseConfig(text)
		lines := strings.Count(string(text), "\n") + strings.Count(string(text), "\r") + 1
		for _, x := range append(found, c.judge(at)...) {
			if x.Line < 0 || x.Line > lines || x.Text == "" {
				t.Fatalf("%+v in a file of %d lines", x, lines)
			}
		}
	})
}
