package queue

import (
	"bytes"
	"context"

	"github.com/cockroachdb/pebble/v2"
)

// spending says what was spent, page by page.
func (w *walk) spending(ctx context.Context) error {
	start := w.start()
	prefix := tenantPrefix(nil, tabSpend, w.g.tenant)
	end := after(prefix)
	for from := prefix; ; {
		x := &syncStep{from: start, sums: true, spentFrom: from, spentTo: end}
		x.pos = start
		if err := w.step(ctx, x, nil); err != nil {
			return err
		}
		from = x.spentTo
		if w.summed = bytes.Equal(from, end); w.summed {
			return nil
		}
	}
}

// sums reads a page of what was spent, or with the last step what waits, as it
// is at a sequence: what is visible and what is numbered before it but not
// visible yet. The caller holds the store's lock, so no put gets a number
// meanwhile.
func (w *walk) sums(x *syncStep, seq uint64) error {
	snap, err := w.s.snapshot()
	if err != nil {
		return err
	}
	defer w.s.closeSnapshot(snap)
	if x.sums {
		x.spent, x.spentTo, err = w.s.sumsIn(snap, x.spentFrom, x.spentTo, sumsPage)
	} else {
		x.counts, err = w.counted(snap)
	}
	if err != nil {
		return err
	}
	if x.sums {
		x.summed = x.summed || bytes.Equal(x.spentTo, after(tenantPrefix(nil, tabSpend, w.g.tenant)))
	}
	for p := range w.g.flying {
		seen, err := visible(snap, messageKey(nil, tabMessage, p.id))
		if err != nil {
			return err
		}
		if seen || p.id.Seq >= seq {
			continue
		}
		if x.counts != nil {
			x.counts.a++
			x.counts.b += int64(len(p.head.env.Rcpts))
			continue
		}
		for _, sp := range p.spend {
			k := spendKey(nil, p.id.Tenant, p.id.Epoch, p.head.env.Account, sp.Window)
			if bytes.Compare(k, x.spentFrom) >= 0 && bytes.Compare(k, x.spentTo) < 0 {
				x.spent = addSum(x.spent, k, sum{int64(sp.Amount.Mails), int64(sp.Amount.Bytes)})
			}
		}
	}
	return nil
}

func (w *walk) counted(r pebble.Reader) (*sum, error) {
	key := tenantPrefix(nil, tabCount, w.g.tenant)
	rows, _, err := w.s.sumsIn(r, key, after(key), 1)
	if err != nil || len(rows) == 0 {
		return &sum{}, err
	}
	return &rows[0].v, nil
}
