package ansible

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/node/lab"
)

// place is where a tenant is, as a node says.
type place struct {
	Items []struct {
		Name, Owner string
		NotArmed    []string `json:"not_armed"`
	}
}

func (g *rig) owner(t *testing.T, name string) (string, []string) {
	t.Helper()
	for _, m := range g.machines {
		var p place
		if out, err := m.try("postern tenant list --all --json"); err != nil || decode(out, &p) != nil {
			continue
		}
		for _, x := range p.Items {
			if x.Name == name {
				return x.Owner, x.NotArmed
			}
		}
	}
	return "", []string{"no node answers"}
}

func testListing(t *testing.T, g *rig) {
	home, backup := netip.MustParseAddr(g.dedicated("n1")), g.machine("n2").sources[1].addr
	wait(t, 90*time.Second, "the backup of shoes is armed", func() error {
		if _, why := g.owner(t, "shoes"); len(why) > 0 {
			return fmt.Errorf("not armed: %q", why)
		}
		return nil
	})
	s := g.send(t, 20)
	must(t, g.lab.SetListing(home.String(), lab.Listing{}))
	took := wait(t, 2*time.Minute, "mail of shoes comes from its backup", func() error {
		if g.taken(func(m *lab.Mail) bool { return m.Source == backup && m.From == "mail@shoes.test" }) == 0 {
			return fmt.Errorf("none from %s", backup)
		}
		return nil
	})
	t.Logf("listed to the first mail from the backup: %.1f s", took.Seconds())
	s.end(t, "listing", false)
	must(t, g.lab.SetListing(home.String(), lab.Listing{Code: "clean"}))
	g.machines[1].do(t, "postern listing dismiss "+home.String()+" --reason 'end of the trial'")
}

func testKill(t *testing.T, g *rig) {
	s := g.send(t, 20)
	at := g.holder(t)
	s.flows(t)
	at.kill(t)
	wait(t, 30*time.Second, "another machine has the address", func() error {
		for _, m := range g.machines {
			if m == at {
				continue
			}
			if out, err := m.try("ip -o addr show to " + entry); err == nil && out != "" {
				return nil
			}
		}
		return fmt.Errorf("none has it")
	})
	wait(t, time.Minute, "the tenants of "+at.name+" have another owner", func() error {
		for _, x := range g.tenants {
			if owner, _ := g.owner(t, x.name); owner == at.name || owner == "" {
				return fmt.Errorf("%s is owned by %q", x.name, owner)
			}
		}
		return nil
	})
	at.boot(t)
	wait(t, 2*time.Minute, at.name+" is ready again", func() error {
		if s, err := at.status(); err != nil || !s.Ready {
			return fmt.Errorf("ready %v: %w", s.Ready, err)
		}
		return nil
	})
	s.end(t, "kill", true)
	must(t, none(g.play(t, "site"))) // all of it comes back by itself
}

func testBackup(t *testing.T, g *rig) {
	s := g.send(t, 20)
	s.flows(t)
	g.play(t, "backup")
	s.end(t, "backup", false)
	files, err := filepath.Glob(filepath.Join(g.dir, "keep/backups/*.backup"))
	must(t, err)
	if len(files) != 1 {
		t.Fatalf("found backups %q, want one", files)
	}
	// Two disks are gone, and with them the majority.
	for _, m := range g.machines[1:] {
		m.do(t, "systemctl stop postern && rm -rf /var/lib/postern/*")
	}
	g.play(t, "restore", "-e", "postern_backup="+files[0], "-e", "postern_really=yes")
	s = g.send(t, 20)
	s.more(t, 100)
	s.end(t, "restore", false)
}

func testReplace(t *testing.T, g *rig) {
	m := g.machines[2]
	// Mail goes on all the while: what the lost disk had is on another one.
	s := g.send(t, 20)
	s.flows(t)
	m.kill(t)
	m.fresh(t)
	m.boot(t)
	if _, out, err := g.tryPlay("site"); err == nil || !strings.Contains(out, "replace.yml -e postern_replace=n3") {
		t.Errorf("a bare machine under a known name came in by site.yml: %v", err)
	}
	g.play(t, "replace", "-e", "postern_replace=n3")
	must(t, none(g.play(t, "site")))
	s.end(t, "replace", true)
	s = g.send(t, 20)
	s.more(t, 100)
	s.end(t, "after the replacement", false)
}

// listFiles lists what a machine has, without what any machine gathers.
const listFiles = `find / -xdev \( -path /var/log -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/ucf -o -path /run -o -path /tmp -o -path /var/tmp -o -path /root \
 -o -path /var/lib/systemd -o -path /proc -o -path /sys -o -path /dev -o -name __pycache__ -o -path /usr/share/info \) -prune -o -print | sort`

func testUninstall(t *testing.T, g *rig, bare string) {
	if _, _, err := g.tryPlay("uninstall"); err == nil {
		t.Error("uninstalled without being told to")
	}
	for _, d := range []string{"inbox.test", "secure.test"} {
		must(t, g.lab.SetMood("mx."+d, lab.Mood{Kind: lab.TempFail}))
	}
	s := g.send(t, 10)
	s.flows(t)
	s.stop()
	if _, out, err := g.tryPlay("uninstall", "-e", "postern_really=yes"); err == nil || !strings.Contains(out, "Mail waits on") {
		t.Errorf("uninstalled while mail waits: %v", err)
	}
	if state := g.machines[0].do(t, "systemctl is-active postern"); state != "active" {
		t.Errorf("a refusal left postern %s", state)
	}
	g.play(t, "uninstall", "-e", "postern_really=yes", "-e", "postern_lose_mail=true")
	had := map[string]bool{}
	for name := range strings.Lines(bare) {
		had[strings.TrimSpace(name)] = true
	}
	for _, m := range g.machines {
		for name := range strings.Lines(m.do(t, listFiles)) {
			if name = strings.TrimSpace(name); !had[name] && !strings.HasPrefix(name, "/usr/lib") && !strings.HasPrefix(name, "/usr/share") {
				t.Errorf("%s: left behind: %s", m.name, name)
			}
		}
		for what, command := range map[string]string{"users": "getent passwd postern keepalived_script", "rules": "ip rule list | grep 870", "addresses": "ip -o addr | grep 198.18.1[123]",
			"packages": "dpkg-query -W postern keepalived unbound", "units": "systemctl list-units --all --no-legend 'postern*'"} {
			if out, _ := m.try(command); out != "" {
				t.Errorf("%s: %s left behind: %s", m.name, what, out)
			}
		}
	}
}
