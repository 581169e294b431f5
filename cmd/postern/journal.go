package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

func (a *app) journalCommand() *cobra.Command {
	return family("journal", "Every decision, by whom and why", a.journalList(), a.journalShow(), a.journalVerify())
}

func (a *app) journalList() *cobra.Command {
	var l listing
	var id uint64
	var tenant string
	c := l.flags(a.verb("list", "List decisions, the newest first", `  postern journal list
  postern journal list --tenant shoes --limit 20
  postern journal list --case 3 --all`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			p, err := pages(ctx, &l, func(ctx context.Context, l admin.List) (admin.Page[admin.JournalEntry], error) {
				return c.Journal(ctx, id, tenant, l)
			})
			if err != nil {
				return err
			}
			return a.show(p, func() {
				if len(p.Items) == 0 {
					a.say("No entries.")
					return
				}
				for _, e := range p.Items {
					a.hang(fmt.Sprintf("%-6d", e.Seq), "      ", entryText(e))
				}
				a.more(p.Next)
			})
		}))
	c.Flags().Uint64Var(&id, "case", 0, "only of this listing")
	c.Flags().StringVar(&tenant, "tenant", "", "only about this tenant")
	return c
}

// entryText is one decision on a line.
func entryText(e admin.JournalEntry) string {
	text := fmt.Sprintf("%s  %s: %s %s", instantText(&e.At), e.Actor, e.Act, e.Subject)
	if e.Case != 0 {
		text += fmt.Sprintf(" [case %d]", e.Case)
	}
	if e.Why != "" {
		text += ": " + e.Why
	}
	return text
}

func (a *app) journalShow() *cobra.Command {
	return a.verb("show SEQ", "Show one decision", "  postern journal show 42",
		func(ctx context.Context, c *admin.Client, args []string) error {
			if _, err := strconv.ParseUint(args[0], 10, 64); err != nil {
				return usagef("SEQ is an entry's number")
			}
			e, err := c.JournalEntry(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(e, func() {
				of := ""
				if e.Case != 0 {
					of = fmt.Sprint(e.Case)
				}
				a.fields("entry", fmt.Sprint(e.Seq), "at", instantText(&e.At), "by", e.Actor, "did", e.Act, "to", e.Subject, "why", e.Why,
					"case", of, "log entry", fmt.Sprint(e.Index), "hash", e.Hash)
			})
		})
}

func (a *app) journalVerify() *cobra.Command {
	var head string
	c := a.verb("verify", "Compute the journal's chain anew on the node that answers", `  postern journal verify
  postern journal verify --head 812:9f2c...`,
		func(ctx context.Context, c *admin.Client, _ []string) error {
			seq, hash, err := readHead(head)
			if err != nil {
				return err
			}
			v, err := c.CheckJournal(ctx)
			if err != nil {
				return err
			}
			noted := ""
			if head != "" && v.OK {
				e, err := c.JournalEntry(ctx, seq)
				if err != nil {
					return fmt.Errorf("compare with entry %s: %w", seq, err)
				}
				if !strings.HasPrefix(e.Hash, hash) {
					noted = fmt.Sprintf("entry %s has hash %s, not the one that was noted: the journal was written anew", seq, e.Hash)
				}
			}
			if err := a.show(v, func() { a.journalCheckText(v) }); err != nil {
				return err
			}
			switch {
			case !v.OK:
				return errSilent
			case noted != "":
				return fmt.Errorf("verify journal: %s", noted)
			}
			return nil
		})
	c.Long = `Compute the journal's chain anew on the node that answers: each entry's hash
is over that of the entry before. The state keeps the newest 10,000 and the
hash of the last one that left; the node's files below DIR/journal, which are
checked too, have all since it came. Exit status 1: the first entry that is not
what was noted is named. Who can write the whole state can write a whole chain;
a head that was noted elsewhere (--head SEQ:HASH) shows that, too.`
	c.Flags().StringVar(&head, "head", "", "SEQ:HASH noted earlier; entry SEQ must still have it")
	return c
}

// leastHash is how much of a hash says enough.
const leastHash = 16

func readHead(text string) (seq, hash string, err error) {
	if text == "" {
		return "", "", nil
	}
	seq, hash, _ = strings.Cut(text, ":")
	if _, err := strconv.ParseUint(seq, 10, 64); err != nil || len(hash) < leastHash || strings.Trim(hash, "0123456789abcdef") != "" {
		return "", "", usagef("--head is SEQ:HASH, with %d digits of the hash at least", leastHash)
	}
	return seq, hash, nil
}

func (a *app) journalCheckText(v admin.JournalCheck) {
	switch {
	case v.Broken != nil:
		a.paragraph("", fmt.Sprintf("BROKEN on %s at entry %d: it was changed, taken out or put in after it was noted.", v.Node, v.Broken.Seq))
		a.fields("noted", v.Broken.Have, "by the chain", v.Broken.Want)
	case v.Last == 0:
		a.say("The journal is not open yet: not every node's program knows it.")
	case v.Files != nil && v.Files.Broken != nil:
		a.paragraph("", fmt.Sprintf("BROKEN in the files of %s at entry %d: it was changed, taken out or put in after it was written. The state's entries hold.", v.Node, v.Files.Broken.Seq))
		a.fields("noted", v.Files.Broken.Have, "by the chain", v.Files.Broken.Want)
	default:
		a.say("The chain holds on %s: entries %d to %d.", v.Node, v.First, v.Last)
		if f := v.Files; f != nil && f.Entries > 0 {
			missing := ""
			if f.Missing > 0 {
				missing = fmt.Sprintf("; %d were made while it was away, others have them", f.Missing)
			}
			a.paragraph("", fmt.Sprintf("Its files have %d, %d to %d%s.", f.Entries, f.First, f.Last, missing))
		}
		a.paragraph("", fmt.Sprintf("head %d:%s", v.Last, v.Head))
	}
}

// incidentText writes a case as an incident.
func (a *app) incidentText(x *admin.Incident) {
	a.say("")
	a.say("what happened")
	for _, m := range x.Timeline {
		text := fmt.Sprintf("%s  %s %s", m.At.UTC().Format("01-02 15:04:05"), m.Act, m.Subject)
		if m.Actor != "" && m.Actor != "automation" {
			text += ", by " + m.Actor
		}
		if m.Why != "" {
			text += ": " + m.Why
		}
		a.hang("  ", "  ", text)
	}
	if x.Answer != "" {
		a.say("")
		a.say("to answer whoever reported it")
		for line := range strings.Lines(x.Answer) {
			a.paragraph("  | ", strings.TrimSpace(line))
		}
	}
	if len(x.Next) > 0 {
		a.say("")
		a.say("to do next")
		for _, n := range x.Next {
			a.point(n)
		}
	}
}

// point writes one of a list of texts.
func (a *app) point(text string) { a.hang("  - ", "    ", text) }

// hang writes a text folded, its first line behind one mark and the others
// behind another of the same width.
func (a *app) hang(mark, rest, text string) {
	for _, line := range fold(clean(text), wide-utf8.RuneCountInString(mark)) {
		a.say("%s%s", mark, line)
		mark = rest
	}
}
