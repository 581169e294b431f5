package queue

import (
	"context"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
)

// TestBigMessagesTakeLittleMemory puts and reads ten big messages at once.
func TestBigMessagesTakeLittleMemory(t *testing.T) {
	size := 9 << 20
	if os.Getenv("POSTERN_SOAK") != "" {
		size = 90 << 20
	}
	s := testStore(t, nil, func(c *Config) { c.Dir = t.TempDir() })
	adopt(t, s, 1, 1)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // what is held counts, not garbage
	runtime.GC()
	base := heap()
	var peak atomic.Uint64
	sample := func() {
		for h := heap(); ; {
			old := peak.Load()
			if h <= old || peak.CompareAndSwap(old, h) {
				return
			}
		}
	}
	const n = 10
	var wg sync.WaitGroup
	sums := make([]uint32, n)
	ids := make([]ID, n)
	for i := range n {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			w, err := s.NewMessage(1)
			if err != nil {
				t.Error(err)
				return
			}
			part := make([]byte, 48<<10)
			for left := size; left > 0; {
				k := min(left, 1+rng.IntN(len(part)))
				for j := 0; j < k; j += 997 {
					part[j] = byte(rng.Uint32())
				}
				if _, err := w.Write(part[:k]); err != nil {
					t.Error(err)
					return
				}
				sums[i] = crc32.Update(sums[i], castagnoli, part[:k])
				left -= k
				if rng.IntN(64) == 0 {
					sample()
				}
			}
			if ids[i], err = w.Put(context.Background(), nil, envelope("u@d.test"), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range n {
		wg.Go(func() {
			b, err := s.Body(ids[i])
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			if b.Bytes() != nil || b.Size() != int64(size) {
				t.Errorf("in memory, or size %d", b.Size())
			}
			h := crc32.New(castagnoli)
			if _, err := io.CopyBuffer(struct{ io.Writer }{h}, b, make([]byte, 32<<10)); err != nil {
				t.Error(err)
			}
			if h.Sum32() != sums[i] {
				t.Error("body differs")
			}
			sample()
		})
	}
	wg.Wait()
	grown := int64(peak.Load()-base) >> 20
	t.Logf("10 messages of %d MB: heap grew by %d MB, RSS %d MB", size>>20, grown, resident())
	if grown > 24 {
		t.Errorf("heap grew by %d MB", grown)
	}
	for range n {
		deliver(t, s, takeOne(t, s))
	}
	checkEmpty(t, s)
}
