package lab

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// latencies is a histogram with eight steps to each power of two.
type latencies struct {
	n [64 * 8]atomic.Int64
}

func (h *latencies) add(d time.Duration) {
	u := uint64(max(d, 1))
	e := bits.Len64(u) - 1
	frac := uint64(0)
	if e >= 3 {
		frac = u >> (e - 3) & 7
	}
	h.n[e*8+int(frac)].Add(1)
}

// quantile gives the upper edge of the step the q-th part falls in.
func (h *latencies) quantile(q float64) time.Duration {
	total := int64(0)
	for i := range h.n {
		total += h.n[i].Load()
	}
	if total == 0 {
		return 0
	}
	want := int64(q*float64(total-1)) + 1
	for i := range h.n {
		if want -= h.n[i].Load(); want <= 0 {
			e, frac := i/8, uint64(i%8)
			if e < 3 {
				return time.Duration(1) << (e + 1)
			}
			return time.Duration((8 + frac + 1) << (e - 3))
		}
	}
	return 0
}
