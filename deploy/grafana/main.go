// Command grafana keeps Postern's dashboards. Run without flags in this
// directory's module it writes one JSON file a screen, which Grafana takes. With
// -draw it asks a running Prometheus the same queries and writes a picture of each
// screen, so that what the README shows is what the queries gave. It knows nothing
// of the product but the names of its metrics, and must never be linked into it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "grafana:", err)
		stop()
		os.Exit(1) // of a tool that has nothing open
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("grafana", flag.ContinueOnError)
	to := f.String("to", "deploy/grafana", "directory of the dashboards and pictures")
	draw := f.String("draw", "", "URL of a Prometheus to draw from")
	tenant := f.String("tenant", ".*", "with -draw: the tenant of the screen about one")
	last := f.Duration("last", 3*time.Minute, "with -draw: how long a time the pictures show")
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, s := range screens() {
		name := filepath.Join(*to, s.Name)
		if *draw == "" {
			b, err := s.grafana()
			if err != nil {
				return err
			}
			if err := os.WriteFile(name+".json", b, 0o644); err != nil {
				return fmt.Errorf("write dashboard: %w", err)
			}
			continue
		}
		b, err := s.picture(ctx, newSource(*draw, *tenant, *last, time.Now()))
		if err != nil {
			return err
		}
		if err := os.WriteFile(name+".svg", b, 0o644); err != nil {
			return fmt.Errorf("write picture: %w", err)
		}
	}
	return nil
}
