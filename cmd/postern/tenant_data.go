package main

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

const dataReadme = `What is kept of one customer of a mail relay.

state.jsonl            the customer, accounts, domains, use, decisions about it
NODE/kept.jsonl        messages with recipients, outcomes and SMTP dialogues, and
                       addresses that nothing is sent to, as node NODE has them
NODE/messages/ID.eml   messages that wait there, as they will be sent

Each line of a .jsonl file is one JSON object: its kind, and what it is. A
message lies on two nodes, so it is here twice. Passwords and private keys are
not in it. What was written to the mail log is with whoever runs the relay.
`

func (a *app) tenantData() *cobra.Command {
	var to string
	c := a.verb("data TENANT", "Write all that is kept of a tenant to a file, to hand it over", "  postern tenant data shoes --to shoes-data.tar.gz",
		func(ctx context.Context, c *admin.Client, args []string) error {
			n, err := writeTenantData(ctx, c, args[0], to, a.now())
			if err != nil {
				return err
			}
			return a.show(map[string]any{"file": to, "items": n}, func() { a.say("%s written: %s", clean(to), some(n, "item")) })
		})
	c.Flags().StringVar(&to, "to", "", "file to write, .tar.gz; it must not be there yet (required)")
	_ = c.MarkFlagRequired("to") // the flag exists
	c.Long = `Write all that is kept of one tenant to a file, readable by people and programs,
for who asks what you know of him: state, mail that waits, recipients and
outcomes, dialogues and suppressed addresses, from every node. It has no other
tenant's data, and no passwords. For what another cluster can be made of, see
postern export. A node that cannot be asked makes it fail: half an answer is
none.`
	return c
}

// writeTenantData gathers what the nodes have beside the file, then packs it.
func writeTenantData(ctx context.Context, c *admin.Client, name, to string, now time.Time) (n int, err error) {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("write data: %w", err)
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			err = errors.Join(err, os.Remove(to))
		}
	}()
	dir, err := os.MkdirTemp(filepath.Dir(to), ".data-*") // 0700
	if err != nil {
		return 0, fmt.Errorf("write data: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "README.txt"), []byte(dataReadme), 0o600); err != nil {
		return 0, fmt.Errorf("write data: %w", err)
	}
	nodes, err := every(ctx, c.Nodes)
	if err != nil {
		return 0, err
	}
	for _, node := range append([]admin.Node{{}}, nodes...) {
		if node.Name != "" && node.State == "to join" {
			continue
		}
		k, err := gatherData(ctx, c, name, node.Name, dir)
		if err != nil {
			return 0, err
		}
		n += k
	}
	if err := packData(out, dir, now); err != nil {
		return 0, fmt.Errorf("write data: %w", err)
	}
	return n, nil
}

// gatherData writes what one node has, or the state for "", page by page.
func gatherData(ctx context.Context, c *admin.Client, name, node, dir string) (n int, err error) {
	file := filepath.Join(dir, "state.jsonl")
	if node != "" {
		file = filepath.Join(dir, node, "kept.jsonl")
		if err := os.MkdirAll(filepath.Join(dir, node, "messages"), 0o700); err != nil {
			return 0, fmt.Errorf("write data: %w", err)
		}
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("write data: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewWriter(f)
	enc := json.NewEncoder(lines)
	enc.SetEscapeHTML(false)
	for after := ""; ; {
		page, err := c.TenantData(ctx, name, node, after)
		if err != nil {
			return n, err
		}
		for _, x := range page.Items {
			if x.Kind == "body" {
				if x.ID == "" || strings.Trim(x.ID, "0123456789-") != "" { // it becomes a file's name
					return n, fmt.Errorf("write data: a message called %q", clean(x.ID))
				}
				err = appendData(filepath.Join(dir, node, "messages", x.ID+".eml"), x.Body)
			} else {
				n++
				err = enc.Encode(x)
			}
			if err != nil {
				return n, fmt.Errorf("write data: %w", err)
			}
		}
		if page.Next == "" {
			return n, lines.Flush()
		}
		after = page.Next
	}
}

func appendData(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// packData writes a directory's files as a tar.gz.
func packData(out io.Writer, dir string, now time.Time) error {
	z := gzip.NewWriter(out)
	t := tar.NewWriter(z)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if err := t.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Mode: 0o600, Size: info.Size(), ModTime: now}); err != nil {
			return err
		}
		_, err = io.Copy(t, f)
		return err
	})
	return errors.Join(err, t.Close(), z.Close())
}
