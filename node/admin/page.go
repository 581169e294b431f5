package admin

import (
	"cmp"
	"slices"
	"strings"
)

// Paged is the part of every list's request.
type Paged struct {
	After string `query:"after" maxLength:"300" doc:"The next of the page before"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

// cut sorts all by key and makes the page behind p.After. An After that is
// gone by now does not matter: only the order counts.
func cut[T any](all []T, p Paged, key func(T) string, order func(a, b string) int) Page[T] {
	slices.SortFunc(all, func(a, b T) int { return order(key(a), key(b)) })
	if p.After != "" {
		from, found := slices.BinarySearchFunc(all, p.After, func(x T, after string) int { return order(key(x), after) })
		if found {
			from++
		}
		all = all[from:]
	}
	page := Page[T]{Items: all}
	if p.Limit > 0 && len(all) > p.Limit {
		page.Items = all[:p.Limit]
		page.Next = key(all[p.Limit-1])
	}
	if page.Items == nil {
		page.Items = []T{}
	}
	return page
}

func byText(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) }
