package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"postern/node"
	"postern/node/admin"
)

func (a *app) backupCommand() *cobra.Command {
	c := a.verb("backup FILE", "Write the cluster's state into a file", "  postern backup /var/backups/postern-$(date +%F).backup",
		func(ctx context.Context, c *admin.Client, args []string) error {
			b, err := c.Backup(ctx)
			if err != nil {
				return err
			}
			st, err := admin.DecodeBackup(b) // what cannot be read back is no backup
			if err != nil {
				return err
			}
			if err := newFile(args[0], b); err != nil {
				return err
			}
			return a.show(map[string]any{"file": args[0], "octets": len(b), "index": st.Index()}, func() {
				a.say("%s: %s, log entry %d", clean(args[0]), bytesText(uint64(len(b))), st.Index())
				a.say("Not inside, and a restore needs it: secret.key, and with a peer port one node's")
				a.say("DIR/pki. Keep copies of both apart, under another lock.")
			})
		})
	c.Long = `Write the cluster's state into a file: nodes, sources, tenants, accounts, quotas
and use. It is a state that has everything decided before. FILE must not exist.

Not in it: mail (it lies on two nodes); secret.key, without which the DKIM keys
in the file cannot be read; and the nodes' certificates in DIR/pki, without
which no cluster with a peer port is restored. Keep a copy of secret.key and of
one node's DIR/pki apart.`
	return c
}

// newFile writes a file that must not be there yet, for its owner only.
func newFile(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write backup: %s exists; give another name", name)
	}
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write backup: %w", err), os.Remove(name))
	}
	return nil
}

func (a *app) restoreCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "restore FILE", Short: "Found the cluster anew from a backup, on this machine",
		Long: `Make this machine the first node of a cluster that goes on from a backup. Only
when the cluster is lost: one that runs needs no restore. All nodes must be
stopped. The old state is set aside, not deleted; the queue here stays.

Before the restore, put the secret.key that belongs to the backup into its
place. With a peer port, this machine must be one of the backup's nodes: the
same name in its configuration, and the DIR/pki of that node, from its disk or
a copy; the backup has no certificates. The user who owns dir must be able to
read FILE.

After it: postern serve here, then postern join --again on the others. Each
tenant waits until the holders of its queue have said what they have.`,
		Example: "  postern restore /var/backups/postern-2026-01-31.backup --yes",
		Args:    named("restore FILE"),
	}
	return a.refound(c, func(cfg node.Config, args []string) (node.Refounded, error) { return node.Restore(cfg, args[0]) })
}

func (a *app) recoverCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "recover", Short: "Found the cluster anew from this node, when most nodes are lost",
		Long: `Make this machine the first node of a cluster that goes on from what this node
knows. Only when most nodes are lost for good: what they alone had decided is
lost with them. This node and all that are left must be stopped; when several
are left, recover the one that knows most (postern recover --look tells its
newest log entry). The old state is set aside, not deleted; the queue stays.

After it: postern serve here, then postern join --again on the other nodes.
Each tenant waits until the holders of its queue have said what they have.`,
		Example: "  postern recover --look\n  postern recover --yes",
		Args:    named("recover"),
	}
	var look bool
	c.Flags().BoolVar(&look, "look", false, "only say what this node knows; change nothing")
	c = a.refound(c, func(cfg node.Config, _ []string) (node.Refounded, error) { return node.Recover(cfg) })
	do := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !look {
			return do(cmd, args)
		}
		cfg, err := a.readOwn()
		if err != nil {
			return err
		}
		x, err := node.Look(cfg)
		if err != nil {
			return err
		}
		return a.show(x, func() {
			a.fields("node", x.Node, "log entry", count(x.Index), "tenants", count(x.Tenants), "nodes", count(x.Nodes))
		})
	}
	return c
}

// refound is the common part: ask, do, and say what is next.
func (a *app) refound(c *cobra.Command, do func(node.Config, []string) (node.Refounded, error)) *cobra.Command {
	var yes bool
	c.Flags().BoolVar(&yes, "yes", false, "do it: the cluster is lost, and all its nodes are stopped")
	c.RunE = func(_ *cobra.Command, args []string) error {
		if !yes {
			return usagef("this founds the cluster anew; read --help, stop all nodes, then give --yes")
		}
		cfg, err := a.readOwn()
		if err != nil {
			return err
		}
		x, err := do(cfg, args)
		if err != nil {
			return err
		}
		return a.show(x, func() {
			a.say("node %s goes on from log entry %s with %s", x.Node, count(x.Index), some(x.Tenants, "tenant"))
			for _, old := range x.Aside {
				a.paragraph("  ", "set aside: "+old)
			}
			a.say("next: postern serve here, and postern node token for the other nodes; on each:")
			a.say("      postern join --again --token TOKEN, and postern serve")
		})
	}
	return c
}
