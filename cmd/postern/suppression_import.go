package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/node/admin"
	"postern/node/migrate"
)

func (a *app) suppressionImport() *cobra.Command {
	var name string
	return tenantFlag(a.verb("import FILE", "Put a file's addresses on a list; - reads standard input",
		`  postern suppression import old-bounces.csv --tenant acme
  postern suppression import - --tenant acme <list.csv`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			in := a.in
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("read addresses: %w", err)
				}
				defer f.Close()
				in = f
			}
			total := 0
			err := migrate.ReadAddresses(in, func(part []admin.SuppressAddress) error {
				d, err := c.Suppress(ctx, name, admin.ChangeSuppressions{Addresses: part})
				if err != nil {
					return fmt.Errorf("%d were imported, then: %w", total, err)
				}
				if total += d.Count; total >= 10*migrate.AddressesAtOnce {
					fmt.Fprintf(a.err, "%d imported\n", total)
				}
				return nil
			}, func(x *migrate.NoAddress) error {
				return fmt.Errorf("read addresses: %w; what was before it is imported", x)
			})
			if err != nil {
				return err
			}
			return a.show(admin.Done{Count: total}, func() { a.say("%s imported", some(total, "address")) })
		}), &name)
}

// cell keeps a spreadsheet from taking a recipient's host's words for a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func codeText(r admin.Reply) string {
	if r.Code == 0 {
		return ""
	}
	return strconv.Itoa(r.Code)
}

// line writes one value as a line of JSON.
func (a *app) line(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// failed is one address of an account's error list.
type failed struct {
	Address string    `json:"address"`
	Class   string    `json:"class"`
	Code    int       `json:"code"`
	Status  string    `json:"status"`
	Text    string    `json:"text"`
	Last    time.Time `json:"last"`
	Count   int       `json:"count"`
}

// maxErrors bounds the addresses of one error list.
const maxErrors = 1_000_000

func (a *app) accountErrors() *cobra.Command {
	var month string
	c := a.verb("errors ADDRESS", "Write an account's list of errors as CSV", `  postern account errors news@acme.example >errors.csv
  postern account errors news@acme.example --month 2026-10 --json`,
		func(ctx context.Context, c *admin.Client, args []string) error {
			if month != "" {
				if _, err := time.Parse("2006-01", month); err != nil {
					return usagef("--month is written as 2026-11")
				}
			}
			list, err := errorsOf(ctx, c, args[0], month)
			if err != nil {
				return err
			}
			return a.show(list, func() { a.errorRows(list) })
		})
	c.Flags().StringVar(&month, "month", "", "as 2026-11; the current one when absent (UTC)")
	return c
}

// errorsOf gathers the failures of a month by address and class.
func errorsOf(ctx context.Context, c *admin.Client, account, month string) ([]failed, error) {
	type key struct{ address, class string }
	at := map[key]int{}
	list := []failed{}
	for next := ""; ; {
		p, err := c.Failures(ctx, account, month, next)
		if err != nil {
			return nil, err
		}
		for _, x := range p.Items {
			k := key{strings.ToLower(x.Address), x.Class}
			i, known := at[k]
			if !known {
				if i = len(list); i == maxErrors {
					return nil, fmt.Errorf("list errors: more than %d addresses", maxErrors)
				}
				at[k] = i
				list = append(list, failed{Address: x.Address, Class: x.Class})
			}
			f := &list[i]
			f.Count++
			if !x.At.Before(f.Last) {
				f.Code, f.Status, f.Text, f.Last = x.Reply.Code, x.Reply.Enhanced, x.Reply.Text, x.At
			}
		}
		if p.Next == "" || p.Next == next {
			return list, nil
		}
		next = p.Next
	}
}

func (a *app) errorRows(list []failed) {
	out := csv.NewWriter(a.out)
	_ = out.Write([]string{"address", "class", "code", "status", "text", "last", "count"}) // a.out tells
	for _, f := range list {
		_ = out.Write([]string{cell(f.Address), f.Class, codeText(admin.Reply{Code: f.Code}), f.Status, cell(clean(f.Text)), f.Last.Format(time.RFC3339), strconv.Itoa(f.Count)})
	}
	out.Flush()
}
