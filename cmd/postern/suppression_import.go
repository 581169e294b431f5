package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/node/admin"
	"postern/tenant"
)

const (
	maxImport     = 1_000_000 // addresses of one file
	maxImportLine = 4096      // octets of one line
	importAtOnce  = 1000
)

func (a *app) suppressionImport() *cobra.Command {
	var name string
	return tenantFlag(a.verb("import FILE", "Put a CSV file's addresses on a list; - reads standard input",
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
			err := readAddresses(in, func(part []admin.SuppressAddress) error {
				d, err := c.Suppress(ctx, name, admin.ChangeSuppressions{Addresses: part})
				if err != nil {
					return fmt.Errorf("%d were imported, then: %w", total, err)
				}
				if total += d.Count; total >= 10*importAtOnce {
					fmt.Fprintf(a.err, "%d imported\n", total)
				}
				return nil
			})
			if err != nil {
				return err
			}
			return a.show(admin.Done{Count: total}, func() { a.say("%s imported", some(total, "address")) })
		}), &name)
}

// readAddresses gives the addresses of a file in parts. The first column is the
// address, the second, if any, why: what export wrote is read back. A first line
// without an address is a heading.
func readAddresses(in io.Reader, take func([]admin.SuppressAddress) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, maxImportLine), maxImportLine)
	var part []admin.SuppressAddress
	n, heading := 0, []string(nil)
	for no := 1; lines.Scan(); no++ {
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		r := csv.NewReader(strings.NewReader(text))
		r.LazyQuotes = true
		row, err := r.Read()
		if err != nil {
			return fmt.Errorf("read addresses: line %d: %w", no, err)
		}
		x := addressOf(row, heading)
		if !tenant.ValidAddress(strings.ToLower(x.Address)) {
			if n == 0 && heading == nil {
				heading = row
				continue
			}
			return fmt.Errorf("read addresses: line %d: %q is no address; what was before it is imported", no, clip(x.Address))
		}
		if n++; n > maxImport {
			return fmt.Errorf("read addresses: more than %d; split the file", maxImport)
		}
		if part = append(part, x); len(part) == importAtOnce {
			if err := take(part); err != nil {
				return err
			}
			part = nil
		}
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("a line is longer than %d octets", maxImportLine)
		}
		return fmt.Errorf("read addresses: %w", err)
	}
	if len(part) == 0 {
		return nil
	}
	return take(part)
}

// addressOf reads a row; of a file that export wrote the reply is the reason.
func addressOf(row, heading []string) admin.SuppressAddress {
	x := admin.SuppressAddress{Address: strings.TrimPrefix(strings.TrimSpace(row[0]), "'")}
	at := func(name string) string {
		if i := slices.Index(heading, name); i >= 0 && i < len(row) {
			return row[i]
		}
		return ""
	}
	switch {
	case slices.Contains(heading, "reason"):
		if at("reason") == "complaint" {
			x.Reason = "complaint"
		}
		x.Text = strings.TrimSpace(strings.Join([]string{at("code"), at("status"), at("text")}, " "))
	case len(row) > 1:
		x.Text = strings.TrimSpace(row[1])
	}
	x.Text = strings.ToValidUTF8(x.Text[:min(len(x.Text), 400)], "")
	return x
}

func clip(s string) string { return s[:min(len(s), 80)] }

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
