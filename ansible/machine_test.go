package ansible

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machine is a Debian that systemd-nspawn boots, reached by SSH like any other.
type machine struct {
	name, addr string // addr is of its own; the sources come by the playbook
	dir        string // its layer over the common tree, and its log
	sources    []source
	rig        *rig
	nspawn     *exec.Cmd // nil: it does not run
	ended      chan error
}

// ssh is how the machines are reached: nobody knows their keys beforehand.
func (g *rig) ssh() []string {
	return []string{"-F", "none", "-i", filepath.Join(g.dir, "key"), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=2"}
}

// fresh gives the machine a bare system: an empty layer over the tree.
func (m *machine) fresh(t *testing.T) {
	t.Helper()
	root := m.root()
	_ = syscall.Unmount(root, 0) // not mounted the first time
	must(t, os.RemoveAll(m.dir))
	for _, d := range []string{"root", "upper", "work"} {
		must(t, os.MkdirAll(filepath.Join(m.dir, d), 0o755))
	}
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", filepath.Join(m.rig.base, "root"), filepath.Join(m.dir, "upper"), filepath.Join(m.dir, "work"))
	if err := syscall.Mount("overlay", root, "overlay", 0, layers); err != nil {
		t.Fatalf("mount %s's layer: %v", m.name, err)
	}
	key, err := os.ReadFile(filepath.Join(m.rig.dir, "key.pub"))
	must(t, err)
	m.write(t, "root/.ssh/authorized_keys", string(key))
	m.write(t, "etc/hostname", m.name+"\n")
	m.write(t, "etc/systemd/network/10-host0.network", fmt.Sprintf(
		"[Match]\nName=host0\n[Network]\nAddress=%s/24\nGateway=%s\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n", m.addr, labAddr))
	run(t, "ssh-keygen", "-q", "-A", "-f", root)
	// The lists in the tree are as old as the tree; nothing newer can be fetched.
	now := time.Now()
	must(t, os.Chtimes(filepath.Join(root, "var/lib/apt/lists"), now, now))
}

func (m *machine) root() string { return filepath.Join(m.dir, "root") }

func (m *machine) write(t *testing.T, name, text string) {
	t.Helper()
	name = filepath.Join(m.root(), name)
	must(t, os.MkdirAll(filepath.Dir(name), 0o700))
	must(t, os.WriteFile(name, []byte(text), 0o644))
}

// boot starts the machine and waits until it lets us in.
func (m *machine) boot(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(m.rig.dir, m.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(t, err)
	defer log.Close()
	// A control group of its own, or the machines would share one.
	script := `for d in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
  [ -e $d/cgroup.procs ] || continue
  mkdir -p $d/$0 && echo $$ >$d/$0/cgroup.procs
done
exec systemd-nspawn --boot --quiet --directory="$1" --machine="$0" --register=no --keep-unit \
  --network-bridge=br0 --console=read-only --link-journal=no --resolv-conf=off --timezone=off </dev/null`
	m.nspawn = exec.Command("bash", "-c", script, m.group(), m.root())
	m.nspawn.Stdout, m.nspawn.Stderr = log, log
	m.nspawn.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, m.nspawn.Start())
	m.ended = make(chan error, 1)
	go func(c *exec.Cmd, ended chan<- error) { ended <- c.Wait() }(m.nspawn, m.ended)
	wait(t, 90*time.Second, m.name+" lets us in", func() error {
		select {
		case err := <-m.ended:
			m.ended <- err
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("%s ended: %v: %s", m.name, err, tail(string(said), 1000))
		default:
		}
		_, err := m.try("true")
		return err
	})
}

func (m *machine) group() string { return fmt.Sprintf("postern-%s-%s", m.rig.mark, m.name) }

// kill takes the power away.
func (m *machine) kill(t *testing.T) {
	t.Helper()
	if m.nspawn == nil {
		return
	}
	// The machine outlives its nspawn, so its first process goes before.
	pid := m.nspawn.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // it ended by itself
		t.Error(err)
	}
	for _, child := range strings.Fields(string(children)) {
		n, err := strconv.Atoi(child)
		must(t, err)
		must(t, syscall.Kill(n, syscall.SIGKILL))
	}
	_ = m.nspawn.Process.Kill() // it may have ended with it
	select {
	case <-m.ended:
	case <-time.After(20 * time.Second):
		t.Errorf("%s does not die", m.name)
	}
	m.nspawn = nil
	// The kernel takes its time to end a network whose last process is gone, and
	// until then the machine cannot boot again.
	_ = exec.Command("ip", "link", "delete", "vb-"+m.name).Run()
	m.ungroup()
}

// gone takes the machine away for good.
func (m *machine) gone(t *testing.T) {
	t.Helper()
	m.kill(t)
	run(t, "umount", m.root())
}

// ungroup removes the control groups that a machine leaves behind.
func (m *machine) ungroup() {
	deadline := time.Now().Add(5 * time.Second)
	for _, at := range []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		top := filepath.Join(at, m.group())
		for time.Now().Before(deadline) {
			var dirs []string
			_ = filepath.WalkDir(top, func(name string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, name)
				}
				return nil
			})
			for i := len(dirs) - 1; i >= 0; i-- {
				_ = os.Remove(dirs[i]) // busy until its last process is gone
			}
			if len(dirs) == 0 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// try runs a command on the machine.
func (m *machine) try(command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ssh", append(m.rig.ssh(), "root@"+m.addr, command)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s: %s: %w: %s", m.name, command, err, strings.TrimSpace(string(exit.Stderr)))
	}
	return strings.TrimSpace(string(out)), err
}

func (m *machine) do(t *testing.T, command string) string {
	t.Helper()
	out, err := m.try(command)
	must(t, err)
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// wait asks until there is no error; at the deadline it says what it waited for.
func wait(t *testing.T, most time.Duration, what string, ask func() error) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		err := ask()
		if err == nil {
			return time.Since(start)
		}
		if time.Since(start) > most {
			t.Fatalf("waited %v until %s: %v", most, what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
