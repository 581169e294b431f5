package main

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"postern/node"
)

// joinWait bounds a whole join: asking several nodes, one after the other.
const joinWait = 2 * time.Minute

func (a *app) initCommand() *cobra.Command {
	var hours int
	c := &cobra.Command{
		Use: "init", Short: "Make this machine the first node of a cluster",
		Long: `Make this machine the first node of a cluster: its secrets, the cluster's own
certificate authority and this node's certificate, all below the configured
dir. The configuration must have a peer section. Then start postern serve: it
forms the cluster. The token that is printed lets other nodes join until it
expires; postern node token makes another. Typed by root, this and join,
restore and recover work as the user who owns dir.`,
		Example: "  postern init --config /etc/postern/postern.yaml\n  postern init --token-hours 2 --json",
		Args:    named("init"),
		RunE: func(*cobra.Command, []string) error {
			if hours < 1 || hours > 720 {
				return usagef("--token-hours is 1 to 720")
			}
			cfg, err := a.readOwn()
			if err != nil {
				return err
			}
			token, err := node.Init(cfg, time.Duration(hours)*time.Hour)
			if err != nil {
				return err
			}
			return a.show(map[string]any{"node": cfg.Name, "token": token, "expires": a.now().Add(time.Duration(hours) * time.Hour).UTC(),
				"join": joinLine(token)}, func() {
				a.say("node %s is ready to form a cluster: start it with postern serve", cfg.Name)
				a.joinHow(token, a.now().Add(time.Duration(hours)*time.Hour))
			})
		},
	}
	c.Flags().IntVar(&hours, "token-hours", 24, "how long the join token is good")
	return c
}

// joinLine is what to type on a machine that is to come in. The token is one
// word without anything a shell reads.
func joinLine(token string) string { return "postern join --token " + token }

func (a *app) joinHow(token string, until time.Time) {
	a.say("")
	a.say("On each further machine, with a name and a peer section of its own in its")
	a.say("configuration, and while this node runs:")
	a.say("")
	a.say("%s", joinLine(token)) // one line, however long: it is there to be copied
	a.say("postern serve")
	a.say("")
	a.say("The token is good until %s. Who has it can join: keep it secret.", at(until))
}

// maxWord bounds a secret read from standard input, in bytes.
const maxWord = 4096

// readWord reads a secret that shall not stand on a command line, where every
// user of the machine can see it.
func readWord(r io.Reader, flag string) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxWord+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", strings.TrimPrefix(flag, "--"), err)
	}
	word := strings.TrimSpace(string(b))
	if word == "" || len(b) > maxWord || strings.ContainsAny(word, " \t\r\n") {
		return "", usagef("%s: it must be one word, and nothing else", flag)
	}
	return word, nil
}

func (a *app) joinCommand() *cobra.Command {
	var from node.JoinFrom
	c := &cobra.Command{
		Use: "join", Short: "Bring this machine into a cluster",
		Long: `Get this machine a certificate and the cluster's secrets from a running node.
Then start postern serve: the others take it in. A machine that has a cluster's
state already, because its certificate was refused or the cluster was restored,
joins with --again: its mail stays, what it knew of the cluster is set aside.`,
		Example: "  postern join --token TOKEN\n  postern join --token TOKEN --address 192.0.2.1:8472\n  postern join --token - <token.txt",
		Args:    named("join"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.readOwn()
			if err != nil {
				return err
			}
			if from.Token == "-" {
				if from.Token, err = readWord(a.in, "--token"); err != nil {
					return err
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			ctx, cancel := context.WithTimeout(ctx, joinWait)
			defer cancel()
			if err := node.Join(ctx, cfg, from); err != nil {
				return err
			}
			return a.show(map[string]string{"node": cfg.Name, "done": "joined"}, func() {
				a.say("node %s has its certificate: start it with postern serve", cfg.Name)
				a.say("then: postern source add ADDRESS --node %s --ehlo NAME", cfg.Name)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&from.Token, "token", "", "from postern init or postern node token (required); - reads it from standard input")
	f.StringArrayVar(&from.Addrs, "address", nil, "HOST:PORT of a node's peer port, instead of those in the token (repeatable)")
	f.BoolVar(&from.Again, "again", false, "although it has a cluster's state already")
	_ = c.MarkFlagRequired("token") // the flag exists
	return c
}
