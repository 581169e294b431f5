package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"postern/node/admin"
)

// postern is one real node: a process of the binary under test.
type postern struct {
	name     string
	peer     string // host:port of its peer port; "": a cluster of one
	dir      string
	bin      string
	config   string
	cmd      *exec.Cmd
	plain    string
	adminAt  string
	token    string
	password string
	api      *admin.Client
	sink     *sink
	profile  bool
}

const tenantName = "bench"

func startPostern(ctx context.Context, dir, bin string, prof bool) (*postern, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p := &postern{name: "n1", dir: dir, bin: bin, profile: prof}
	var err error
	if p.sink, err = startSink(ctx); err != nil {
		return p, err
	}
	if err = p.configure(randomHex(20), randomHex(32)); err != nil {
		return p, err
	}
	if err := p.start(ctx); err != nil {
		return p, err
	}
	return p, p.provision(ctx)
}

// configure writes the node's file, certificate and secrets.
func (p *postern) configure(token, key string) error {
	var err error
	if p.plain, err = freeAddr(); err != nil {
		return err
	}
	if p.adminAt, err = freeAddr(); err != nil {
		return err
	}
	cert, certKey, err := selfSigned(p.dir)
	if err != nil {
		return err
	}
	p.token = token
	for name, text := range map[string]string{"operator-token": token, "secret-key": key} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text+"\n"), 0o600); err != nil {
			return err
		}
	}
	form := "bootstrap: true"
	if p.peer != "" {
		gossip, err := freeAddr()
		if err != nil {
			return err
		}
		form = fmt.Sprintf("peer: {listen: %q, advertise: %q, gossip: %q}", p.peer, p.peer, gossip)
	}
	yaml := fmt.Sprintf(`name: %s
dir: %s
hostname: relay.bench.test
%s
submission: ["%s"]
submission_tls: []
admin: "%s"
tls: {cert: %s, key: %s}
operator_token_file: %s
secret_key_file: %s
resolvers: ["127.0.0.1:53"]
log: {level: info, format: json}
`, p.name, filepath.Join(p.dir, "state"), form, p.plain, p.adminAt, cert, certKey,
		filepath.Join(p.dir, "operator-token"), filepath.Join(p.dir, "secret-key"))
	p.config = filepath.Join(p.dir, "postern.yaml")
	return os.WriteFile(p.config, []byte(yaml), 0o600)
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

func (p *postern) start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(p.bin, "serve", "--config", p.config)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	if p.api, err = admin.NewClient(p.adminAt, p.token); err != nil {
		return err
	}
	return p.ready(ctx)
}

func (p *postern) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		resp, err := http.Get("http://" + p.adminAt + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if pause(ctx, 20*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("node did not get ready, see %s: %w", filepath.Join(p.dir, "log"), errors.Join(err, ctx.Err()))
		}
	}
}

func (p *postern) provision(ctx context.Context) error {
	_, domain, _ := strings.Cut(sender, "@")
	if _, err := p.api.AddSource(ctx, admin.NewSource{Node: "n1", Addr: "127.77.1.11", EHLO: "out-1.relay.test"}); err != nil {
		return err
	}
	home := admin.Place{Node: "n1", Source: "127.77.1.11"}
	if _, err := p.api.AddTenant(ctx, admin.NewTenant{Name: tenantName, Hostname: "bench.relay.test", Home: home}); err != nil {
		return err
	}
	if _, err := p.api.SetDomain(ctx, tenantName, domain, admin.SetDomain{}); err != nil {
		return err
	}
	if err := p.route(ctx, "*", p.sink.addr); err != nil {
		return err
	}
	c, err := p.api.AddAccount(ctx, admin.NewAccount{Tenant: tenantName, Username: sender, Networks: []string{"127.0.0.0/8"}})
	p.password = c.Password
	if err != nil {
		return err
	}
	return p.ready(ctx)
}

// route sends a recipient domain to a host and port.
func (p *postern) route(ctx context.Context, domain, addr string) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	_, err = p.api.SetRoute(ctx, domain, admin.SetRoute{Host: to.Addr().String(), Port: to.Port()})
	return err
}

// secondTenant makes one with its own source, that sends by AUTH.
func (p *postern) secondTenant(ctx context.Context) (identity, error) {
	const name, domain, addr = "other", "other.test", "127.77.1.12"
	if _, err := p.api.AddSource(ctx, admin.NewSource{Node: "n1", Addr: addr, EHLO: "out-2.relay.test"}); err != nil {
		return identity{}, err
	}
	t := admin.NewTenant{Name: name, Hostname: "other.relay.test", Home: admin.Place{Node: "n1", Source: addr}}
	if _, err := p.api.AddTenant(ctx, t); err != nil {
		return identity{}, err
	}
	if _, err := p.api.SetDomain(ctx, name, domain, admin.SetDomain{}); err != nil {
		return identity{}, err
	}
	who := identity{sender: "orders@" + domain}
	c, err := p.api.AddAccount(ctx, admin.NewAccount{Tenant: name, Username: who.sender})
	who.password = c.Password
	return who, err
}

func (p *postern) Name() string     { return "Postern" }
func (p *postern) Plain() string    { return p.plain }
func (p *postern) TLS() string      { return p.plain }
func (p *postern) Password() string { return p.password }
func (p *postern) Sink() *sink      { return p.sink }

func (p *postern) Pause(ctx context.Context) error {
	_, err := p.api.PauseTenant(ctx, tenantName, "measured")
	return err
}

func (p *postern) Resume(ctx context.Context) (time.Time, error) {
	start := time.Now()
	_, err := p.api.PauseTenant(ctx, tenantName, "")
	return start, err
}

func (p *postern) Usage() (usage, error) { return treeUsage(p.cmd.Process.Pid) }

// Profile records the node's CPU profile for ten seconds or until the returned
// function is called, whichever is later.
func (p *postern) Profile(ctx context.Context, name string) func() {
	if !p.profile {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.fetchProfile(ctx, name); err != nil {
			fmt.Fprintln(os.Stderr, "bench: no profile:", err)
		}
	}()
	return func() { <-done }
}

func (p *postern) fetchProfile(ctx context.Context, name string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.adminAt+"/debug/pprof/profile?seconds=4", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	f, err := os.Create(filepath.Join(filepath.Dir(p.dir), name+".pprof"))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}

func (p *postern) Stop() {
	p.terminate()
	if p.sink != nil {
		p.sink.Stop()
	}
}

func (p *postern) terminate() {
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		_ = p.cmd.Wait()
	}
}
