package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

// Exit statuses.
const (
	exitDone    = 0
	exitRefused = 1
	exitUsage   = 2
)

// app is one run of the program: its streams, and the flags all verbs share.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string
	now      func() time.Time
	exit     func(int) // for serve's Fatal only

	json      bool
	api       string
	tokenFile string
	caFile    string
	config    string

	// began is set when a verb's own code starts: whatever fails before is
	// the command line's fault.
	began bool
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{in: stdin, out: stdout, err: stderr, env: os.Getenv, now: time.Now, exit: os.Exit}
}

// usageError is a mistake in the command line that a verb finds itself.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// errSilent ends with exitRefused when the screen has said it all.
var errSilent = errors.New("refused")

func (a *app) run(args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(context.Background())
	var usage *usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errSilent):
		return exitRefused
	case !a.began, errors.As(err, &usage):
		a.complain(err, "see "+cmd.CommandPath()+" --help")
		return exitUsage
	}
	a.complain(err, a.mend(err))
	return exitRefused
}

// complain says on one line what is wrong and what to do.
func (a *app) complain(err error, mend string) {
	if a.json {
		status := 0
		var p *admin.Problem
		if errors.As(err, &p) {
			status = p.Status
		}
		_ = json.NewEncoder(a.err).Encode(struct {
			Error  string `json:"error"`
			Mend   string `json:"mend,omitempty"`
			Status int    `json:"status,omitempty"`
		}{err.Error(), mend, status})
		return
	}
	text := "postern: " + cleanLines(err.Error())
	if mend != "" {
		text += "; " + mend
	}
	fmt.Fprintln(a.err, text)
}

// mend is what to do about errors that do not say it themselves.
func (a *app) mend(err error) string {
	var gone *admin.Unreachable
	var p *admin.Problem
	switch {
	case errors.As(err, &gone):
		return "is the node up? (--api, POSTERN_API)"
	case errors.As(err, &p) && p.Status == 401:
		return "name its file with --token-file or POSTERN_TOKEN_FILE"
	case errors.As(err, &p) && p.Status == 404 && p.Mend == "":
		return "the list verbs show what there is"
	}
	return ""
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "postern",
		Short: "Outbound mail of a small cluster",
		Long: `Postern takes tenants' mail over authenticated SMTP, keeps it, and sends it from
each tenant's own IP.

Verbs other than serve, demo, observe, version, zones (without apply) and those
that form a cluster ask a node; any node will do. It is found by --api and
--token-file, else by POSTERN_API and POSTERN_TOKEN_FILE, else by the
configuration file on this machine.

Exit status: 0 done, 1 refused (the reason is on stderr), 2 usage.`,
		Example: `  postern serve --config /etc/postern/postern.yaml
  postern tenant list
  postern trace 3-1-42`,
	}
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "answer in JSON")
	f.StringVar(&a.api, "api", "", "address of a node's API, such as http://127.0.0.1:8470")
	f.StringVar(&a.tokenFile, "token-file", "", "file with the API token")
	f.StringVar(&a.caFile, "ca", "", "PEM file of the authority to trust for an https API")
	f.StringVar(&a.config, "config", "", "configuration file (default /etc/postern/postern.yaml)")
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetUsageTemplate(strings.NewReplacer(
		".FlagUsages", fmt.Sprintf(".FlagUsagesWrapped %d", wide),
		" for more information about a command.", " for more.",
	).Replace(root.UsageTemplate()))
	root.AddCommand(a.serveCommand(), a.initCommand(), a.joinCommand(), a.tenantCommand(), a.accountCommand(), a.sourceCommand(), a.nodeCommand(),
		a.queueCommand(), a.suppressionCommand(), a.traceCommand(), a.usageCommand(),
		a.applyCommand(), a.exportCommand(), a.importCommand(), a.planCommand(), a.doctorCommand(), a.observeCommand(), a.zonesCommand(), a.listingCommand(), a.drillCommand(), a.journalCommand(), a.banCommand(), a.noticesCommand(), a.retentionCommand(), a.topCommand(), a.backupCommand(), a.restoreCommand(), a.recoverCommand(), a.completionCommand(), a.versionCommand())
	root.AddCommand(others()...)
	a.prepare(root)
	return root
}

// prepare gives every command the house's manners: no library text on errors,
// and an error for a family without, or with an unknown, verb.
func (a *app) prepare(c *cobra.Command) {
	c.SilenceErrors, c.SilenceUsage = true, true
	c.DisableFlagsInUseLine = true
	if c.HasSubCommands() && c.Run == nil && c.RunE == nil {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q%s", clean(args[0]), meant(cmd, args[0]))
			}
			cmd.SetOut(a.err)
			_ = cmd.Help() // writes to stderr only
			return usagef("which one?")
		}
	} else if do := c.RunE; do != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			a.began = true
			return do(cmd, args)
		}
	}
	for _, sub := range c.Commands() {
		a.prepare(sub)
	}
}

func meant(cmd *cobra.Command, word string) string {
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if s := cmd.SuggestionsFor(word); len(s) > 0 {
		return " (did you mean " + s[0] + "?)"
	}
	return ""
}

// verb makes a command that asks a node.
func (a *app) verb(use, short, example string, do func(ctx context.Context, c *admin.Client, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Example: example, Args: named(use), RunE: a.asking(do)}
}

func (a *app) asking(do func(ctx context.Context, c *admin.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		return do(cmd.Context(), c, args)
	}
}

// family makes a command that only groups verbs.
func family(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.AddCommand(verbs...)
	return c
}

// named wants as many arguments as the use line has words in capitals.
func named(use string) cobra.PositionalArgs {
	want := strings.Fields(use)[1:]
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(want):
			return usagef("%s is missing", want[len(args)])
		case len(args) > len(want):
			return usagef("%q is one word too many", clean(args[len(want)]))
		}
		for i, arg := range args {
			if arg == "" {
				return usagef("%s is empty", want[i])
			}
		}
		return nil
	}
}
