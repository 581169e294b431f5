package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"postern/node"
)

func (a *app) serveCommand() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use: "serve", Short: "Run one node",
		Long: `Run one node until SIGTERM or SIGINT. It then says 421 to its clients, lets open
transactions end, and goes. A second signal ends it at once. SIGHUP lets it read
its configuration again, as postern node reload does, and tell in the log what
changed. Under systemd it tells when it is ready, how it is, and that it lives.`,
		Example: `  postern serve --config /etc/postern/postern.yaml
  postern serve --check --config /etc/postern/postern.yaml`,
		Args: named("serve"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check {
				return a.check(cmd.Context())
			}
			return a.serve(cmd.Context())
		},
	}
	c.Flags().BoolVar(&check, "check", false, "report every problem of the configuration, start nothing")
	return c
}

func (a *app) serve(ctx context.Context) error {
	cfg, err := node.ReadConfig(a.configFile())
	if err != nil {
		return err
	}
	level := new(slog.LevelVar) // the node sets it
	log, flush := newLog(a.err, level, cfg.Log.Format)
	defer flush()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // from the first signal on, the second one ends the process
	// Also when nothing reads it yet: a closed terminal does not end a mail server.
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)
	n, err := node.New(cfg, node.Options{Log: log, Level: level, File: a.configFile(), Version: version, Grace: cfg.Queue.Grace, Fatal: func(err error) {
		log.Error("node ends at once", "err", err)
		a.exit(exitRefused)
	}})
	if err != nil {
		return fmt.Errorf("%w; postern serve --check tells more", err)
	}
	log.Info("node starts", "node", cfg.Name, "version", version, "submission", cfg.Submission,
		"submission_tls", cfg.SubmissionTLS, "admin", cfg.Admin, "dir", cfg.Dir)
	u, err := newUnit(n.Ready, n.Healthy, log)
	if err != nil {
		return err
	}
	done := tend(ctx, n, u, hangUp)
	err = n.Run(ctx)
	done()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("run node: %w", err)
	}
	log.Info("node ended", "node", cfg.Name)
	return nil
}

// tend does what the process does beside the node, until ctx ends or the
// returned function is called, which waits for the end of it.
func tend(ctx context.Context, n *node.Node, u *unit, hangUp <-chan os.Signal) (done func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangUp:
				u.reload(func() { _, _ = n.Reload() }) // it says in the log what came of it
			}
		}
	})
	if u != nil {
		all.Go(func() { u.run(ctx) })
	}
	return func() {
		cancel()
		all.Wait()
	}
}

func (a *app) check(ctx context.Context) error {
	name := a.configFile()
	found, err := node.CheckConfig(ctx, name)
	if err != nil {
		return err
	}
	bad := 0
	for _, f := range found {
		if !f.Warning {
			bad++
		}
	}
	err = a.show(struct {
		File     string         `json:"file"`
		OK       bool           `json:"ok"`
		Findings []node.Finding `json:"findings"`
	}{name, bad == 0, append([]node.Finding{}, found...)}, func() {
		for _, f := range found {
			a.finding(name, f)
		}
		switch {
		case bad > 0:
			a.say("%s to mend before the node starts; %s", some(bad, "fault"), some(len(found)-bad, "warning"))
		case len(found) > 0:
			a.say("The node would start; %s.", some(len(found), "warning"))
		default:
			a.say("Fine: the node would start.")
		}
	})
	if err == nil && bad > 0 {
		return errSilent
	}
	return err
}

func (a *app) finding(file string, f node.Finding) {
	place := file
	if f.Line > 0 {
		place = fmt.Sprintf("%s:%d", file, f.Line)
	}
	if f.Warning {
		place += ": warning"
	}
	a.say("%s: %s", clean(place), clean(f.Key))
	for _, text := range []string{f.Text, f.Mend} {
		if text == "" {
			continue
		}
		mark := "  "
		if text == f.Mend {
			mark = "  -> "
		}
		for i, line := range fold(clean(text), wide-len(mark)) {
			if i > 0 {
				mark = strings.Repeat(" ", len(mark))
			}
			a.say("%s%s", mark, line)
		}
	}
}
