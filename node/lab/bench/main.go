// Command bench measures Postern beside Postfix on one machine in one run: the
// same job (clients allowed by network, one smarthost, queue on disk), the same
// source and sink, interleaved. It prints one table, writes it as JSON and
// Markdown, and exits 1 when a floor is missed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx)
	stop()
	os.Exit(code)
}

func run(ctx context.Context) int {
	var (
		bin    = flag.String("postern", "bin/postern", "the binary to measure")
		rounds = flag.Int("rounds", 5, "interleaved rounds; the median of the ratios counts")
		only   = flag.String("only", "", "comma-separated figures to measure: "+names(figures())+
			" (the default), "+names(extras()))
		alone = flag.Bool("alone", false, "measure Postern only (no ratios, no floors)")
		out   = flag.String("out", "bench-out", "directory for table.json, table.md and the state of both")
		scale = flag.Float64("scale", 1, "multiplies the number of messages of each figure")
		prof  = flag.Bool("profile", false, "write a CPU profile of Postern for each figure into -out")
	)
	flag.Parse()
	b := &bench{rounds: *rounds, scale: *scale, out: *out, bin: *bin, profile: *prof}
	if err := b.setUp(ctx, *alone); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		b.tearDown()
		return 2
	}
	defer b.tearDown()
	rows, err := b.measure(ctx, *only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	table := newTable(rows, *rounds)
	fmt.Print(table.Markdown())
	if err := table.Write(*out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	if missed := table.Missed(); len(missed) > 0 {
		fmt.Fprintln(os.Stderr, "bench: below the floor:", strings.Join(missed, ", "))
		return 1
	}
	return 0
}

// bench owns everything that was started.
type bench struct {
	rounds  int
	scale   float64
	out     string
	targets []target // Postfix first, unless measured alone; Postern last

	bin     string
	profile bool
	three   *cluster // started when the first figure wants it
}

// target is one relay under test with a sink of its own.
type target interface {
	Name() string
	Plain() string    // host:port for clients allowed by network
	TLS() string      // host:port with STARTTLS and AUTH
	Password() string // of the one account, sender
	Sink() *sink
	Pause(context.Context) error // accept but do not deliver
	// Resume delivers again, the backlog at once, and says from when on.
	Resume(context.Context) (time.Time, error)
	Usage() (usage, error)
	Profile(ctx context.Context, name string) func()
	Stop()
}

func (b *bench) setUp(ctx context.Context, alone bool) error {
	dir, err := filepath.Abs(b.out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if !alone {
		p, err := startPostfix(ctx, filepath.Join(dir, "postfix"))
		if p != nil {
			b.targets = append(b.targets, p)
		}
		if err != nil {
			return fmt.Errorf("start Postfix: %w", err)
		}
	}
	p, err := startPostern(ctx, filepath.Join(dir, "postern"), b.bin, b.profile)
	if p != nil {
		b.targets = append(b.targets, p)
	}
	if err != nil {
		return fmt.Errorf("start Postern: %w", err)
	}
	return nil
}

func (b *bench) tearDown() {
	for _, t := range b.targets {
		t.Stop()
	}
	if b.three != nil {
		b.three.Stop()
	}
}

// targetsOf are the relays a figure is measured at, Postern last.
func (b *bench) targetsOf(ctx context.Context, f figure) ([]target, error) {
	all := slices.Clone(b.targets)
	if f.three {
		if b.three == nil {
			dir, err := filepath.Abs(b.out)
			if err != nil {
				return nil, err
			}
			if b.three, err = startCluster(ctx, filepath.Join(dir, "cluster"), b.bin, b.profile); err != nil {
				return nil, fmt.Errorf("start cluster: %w", err)
			}
		}
		all[len(all)-1] = b.three
	}
	if f.alone {
		all = all[len(all)-1:]
	}
	return all, nil
}

// measure runs each figure's rounds, targets in turn within a round.
func (b *bench) measure(ctx context.Context, only string) ([]row, error) {
	var rows []row
	wanted := figures()
	if only != "" {
		wanted = slices.DeleteFunc(append(wanted, extras()...), func(f figure) bool {
			return !slices.Contains(strings.Split(only, ","), f.name)
		})
	}
	for _, f := range wanted {
		targets, err := b.targetsOf(ctx, f)
		if err != nil {
			return nil, err
		}
		samples := make([][]map[string]float64, len(targets))
		rounds := b.rounds
		if f.alone {
			rounds = 1
		}
		for r := range rounds {
			for i, t := range targets {
				fmt.Fprintf(os.Stderr, "\r%-70s", fmt.Sprintf("%s: round %d of %d, %s", f.name, r+1, rounds, t.Name()))
				stop := t.Profile(ctx, f.name)
				got, err := f.run(ctx, t, b.scale)
				stop()
				if err != nil {
					return nil, fmt.Errorf("%s of %s: %w", f.name, t.Name(), err)
				}
				samples[i] = append(samples[i], got)
				pause(ctx, 300*time.Millisecond)
			}
		}
		rows = append(rows, f.rows(samples)...)
	}
	fmt.Fprint(os.Stderr, "\r", strings.Repeat(" ", 70), "\r")
	return rows, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
