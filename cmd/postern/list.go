package main

import (
	"context"

	"github.com/spf13/cobra"

	"postern/node/admin"
)

// listing are the flags of every list verb.
type listing struct {
	limit int
	after string
	all   bool
}

func (l *listing) flags(c *cobra.Command) *cobra.Command {
	f := c.Flags()
	f.IntVar(&l.limit, "limit", 100, "how many to list, at most 1000")
	f.StringVar(&l.after, "after", "", "go on behind this one")
	f.BoolVar(&l.all, "all", false, "list all, however many")
	c.MarkFlagsMutuallyExclusive("limit", "all")
	return c
}

// pages asks for what the flags want: one page, or one after the other.
func pages[T any](ctx context.Context, l *listing, get func(context.Context, admin.List) (admin.Page[T], error)) (admin.Page[T], error) {
	if !l.all {
		if l.limit < 1 || l.limit > 1000 {
			return admin.Page[T]{}, usagef("--limit is 1 to 1000")
		}
		return get(ctx, admin.List{After: l.after, Limit: l.limit})
	}
	whole := admin.Page[T]{Items: []T{}}
	next := admin.List{After: l.after, Limit: 1000}
	for {
		p, err := get(ctx, next)
		if err != nil {
			return whole, err
		}
		whole.Items = append(whole.Items, p.Items...)
		if p.Next == "" || p.Next == next.After {
			return whole, nil
		}
		next.After = p.Next
	}
}

// more tells how to read on.
func (a *app) more(next string) {
	if next != "" {
		a.say("more: --after %s", clean(next))
	}
}
