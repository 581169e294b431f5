package submission

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"testing"
	"time"

	"postern/tenant"
)

// TestRate says how fast messages are accepted from Postfix's smtp-source on
// the same processors. It is a figure, not a judgement: make bench judges.
func TestRate(t *testing.T) {
	if os.Getenv("POSTERN_SOAK") == "" {
		t.Skip("set POSTERN_SOAK=1 to measure")
	}
	bin, err := exec.LookPath("smtp-source")
	if err != nil {
		t.Skip("smtp-source is not installed")
	}
	for _, c := range []struct{ size, count int }{{5 << 10, 40_000}, {100 << 10, 6_000}} {
		t.Run(strconv.Itoa(c.size), func(t *testing.T) {
			r := newRig(t, func(c *Config, _ *rig) { c.Log = slog.New(slog.DiscardHandler) })
			r.notes.quiet.Store(true)
			r.apply(tenant.SetAccount{Account: r.current().AccountByUsername(tNet).ID,
				Networks: &[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
			if name := os.Getenv("POSTERN_PROFILE"); name != "" {
				f, err := os.Create(name + "." + strconv.Itoa(c.size))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if err := pprof.StartCPUProfile(f); err != nil {
					t.Fatal(err)
				}
				defer pprof.StopCPUProfile()
			}
			start := time.Now()
			cmd := exec.Command(bin, "-d", "-s", "20", "-l", strconv.Itoa(c.size), "-m", strconv.Itoa(c.count),
				"-f", "mail@shop.test", "-t", "a@example.test", r.addr)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("smtp-source: %v: %s", err, out)
			}
			took := time.Since(start)
			fmt.Printf("accepted %d messages of %d octets in %v: %.0f/s\n", c.count, c.size, took.Round(time.Millisecond), float64(c.count)/took.Seconds())
		})
	}
}
