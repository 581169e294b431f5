package admin

import (
	"context"
	"net/http"
	"strconv"
)

// Journal lists decisions, the newest first; caseID 0 and tenant "" mean all.
func (c *Client) Journal(ctx context.Context, caseID uint64, tenant string, l List) (Page[JournalEntry], error) {
	of := ""
	if caseID != 0 {
		of = strconv.FormatUint(caseID, 10)
	}
	return ask[Page[JournalEntry]](ctx, c, http.MethodGet, path("journal")+l.query("case", of, "tenant", tenant), nil)
}

// JournalEntry shows one decision.
func (c *Client) JournalEntry(ctx context.Context, seq string) (JournalEntry, error) {
	return ask[JournalEntry](ctx, c, http.MethodGet, path("journal", seq), nil)
}

// CheckJournal has the node compute its journal's chain anew.
func (c *Client) CheckJournal(ctx context.Context) (JournalCheck, error) {
	return ask[JournalCheck](ctx, c, http.MethodGet, path("journal", "check"), nil)
}
