package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// What a machine should have.
const (
	wantFiles    = 65536
	wantFree     = 10 << 30               // bytes, for a queue that has to wait for days
	goodSync     = 10 * time.Millisecond  // each 250 waits for one here and one on the mirror
	badSync      = 100 * time.Millisecond // the lease is kept by syncs; see the beat
	syncWrites   = 20
	syncTime     = 3 * time.Second
	maxClockErr  = 500 * time.Millisecond
	clockUnknown = 16 * time.Second // the kernel's word for "nobody corrects it"
)

// clockFinding asks the kernel whether its clock is kept right.
func clockFinding() MachineFinding {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return machine("clock", MachineUnknown, "", "cannot ask the kernel's clock: %s", err)
	}
	return judgeClock(t.Status&unix.STA_UNSYNC != 0, time.Duration(t.Maxerror)*time.Microsecond)
}

func judgeClock(unsynced bool, off time.Duration) MachineFinding {
	const mend = "install chrony; in a container, on the host"
	switch {
	case unsynced || off >= clockUnknown:
		return machine("clock", MachineWrong, mend, "nobody keeps the clock right")
	case off > maxClockErr:
		return machine("clock", MachineDoubt, mend, "the clock may be off by %s", off.Round(time.Millisecond))
	}
	return machine("clock", MachineOK, "", "the clock is kept right, to %s", off.Round(time.Microsecond))
}

// filesFinding looks how many files a process may open at most.
func filesFinding() MachineFinding {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return machine("files", MachineUnknown, "", "cannot ask for the limit of open files: %s", err)
	}
	if r.Max < wantFiles {
		return machine("files", MachineDoubt, "LimitNOFILE=65536 or more in the unit; this is the limit of the shell you typed it in", "a process may open %d files only", r.Max)
	}
	return machine("files", MachineOK, "", "a process may open %d files", r.Max)
}

// filesystems that do not keep what was synced, or not by themselves.
var badFilesystems = map[int64]string{unix.TMPFS_MAGIC: "memory", unix.NFS_SUPER_MAGIC: "NFS", unix.SMB_SUPER_MAGIC: "SMB", unix.OVERLAYFS_SUPER_MAGIC: "a container's layer", unix.FUSE_SUPER_MAGIC: "FUSE"}

// diskFindings looks where dir lies, or will.
func (c *Config) diskFindings(ctx context.Context) (all []MachineFinding) {
	dir := c.Dir
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return []MachineFinding{machine("disk", MachineUnknown, "", "cannot look at the disk of %s: %s", dir, err)}
	}
	if what, bad := badFilesystems[int64(st.Type)]; bad {
		all = append(all, machine("disk", MachineDoubt, "put dir on a local disk that keeps what it synced", "%s lies on %s", dir, what))
	}
	free := st.Bavail * uint64(st.Bsize)
	if free < wantFree {
		all = append(all, machine("disk", MachineDoubt, "enlarge it: mail waits there for days when a large provider is down", "%s has %d MB free", dir, free>>20))
	} else {
		all = append(all, machine("disk", MachineOK, "", "%s has %d GB free", dir, free>>30))
	}
	took, err := syncSpeed(ctx, dir)
	if err != nil {
		return append(all, machine("disk", MachineUnknown, "try it as the node's user", "cannot try how fast the disk of %s syncs: %s", dir, bare(err)))
	}
	return append(all, judgeSync(took))
}

func judgeSync(took time.Duration) MachineFinding {
	text := took.Round(10 * time.Microsecond)
	switch {
	case took > badSync:
		return machine("disk", MachineWrong, "give dir a disk with a write cache that survives power cuts (most SSDs for servers)", "a sync takes %s: each message waits for it", text)
	case took > goodSync:
		return machine("disk", MachineDoubt, "an SSD for servers takes less than 1 ms", "a sync takes %s: each message waits for it", text)
	}
	return machine("disk", MachineOK, "", "a sync takes %s", text)
}

// syncSpeed writes some small blocks and syncs each, within bounds of number and
// time; the median.
func syncSpeed(ctx context.Context, dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, ".postern-doctor-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var took []time.Duration
	block := make([]byte, 4096)
	for began := time.Now(); len(took) < syncWrites && time.Since(began) < syncTime && ctx.Err() == nil; {
		at := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		took = append(took, time.Since(at))
	}
	if len(took) == 0 {
		return 0, ctx.Err()
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// certificateChain looks whether clients can believe the certificates: the check
// of the configuration has judged their dates and names.
func (c *Config) certificateChain() (all []MachineFinding) {
	if c.TLS.Cert == "" || c.TLS.Key == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
	if err != nil {
		return nil // said already
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return []MachineFinding{machine("certificate", MachineUnknown, "install ca-certificates", "cannot read this machine's certificate authorities: %s", err)}
	}
	return []MachineFinding{judgeChain(pair, roots, time.Now())}
}

func judgeChain(pair tls.Certificate, roots *x509.CertPool, now time.Time) MachineFinding {
	between := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if x, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(x)
		}
	}
	_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now})
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil:
		return machine("certificate", MachineOK, "", "the certificate leads to an authority clients know, and ends on %s", pair.Leaf.NotAfter.Format(time.DateOnly))
	case errors.As(err, &unknown):
		return machine("certificate", MachineDoubt, "tls.cert must hold the chain (certbot's fullchain.pem); an authority of your own must be known to all clients",
			"clients will not believe the certificate: it leads to no authority this machine knows")
	}
	return machine("certificate", MachineDoubt, "get a new one", "clients will not believe the certificate: %s", err)
}
