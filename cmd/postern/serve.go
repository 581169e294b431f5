package main

import (
	"context"
	"fmt"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"postern/node"
)

func (a *app) serveCommand() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use: "serve", Short: "Run one node",
		Long: `Run one node until SIGTERM or SIGINT. It then says 421 to its clients, lets open
transactions end, and goes. A second signal ends it at once.`,
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
	log, flush := newLog(a.err, cfg.Log.Level, cfg.Log.Format)
	defer flush()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // from the first signal on, the second one ends the process
	signal.Ignore(syscall.SIGHUP)        // a closed terminal does not end a mail server
	n, err := node.New(cfg, node.Options{Log: log, Version: version, Grace: cfg.Queue.Grace, Fatal: func(err error) {
		log.Error("node ends at once", "err", err)
		a.exit(exitRefused)
	}})
	if err != nil {
		return fmt.Errorf("%w; postern serve --check tells more", err)
	}
	log.Info("node starts", "node", cfg.Name, "version", version, "submission", cfg.Submission,
		"submission_tls", cfg.SubmissionTLS, "admin", cfg.Admin, "dir", cfg.Dir)
	if err := n.Run(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("run node: %w", err)
	}
	log.Info("node ended", "node", cfg.Name)
	return nil
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
