package queue

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postern/tenant"
)

// cpu is what the process used so far, in user and system time.
func cpu() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func benchStore(b *testing.B) *Store {
	return testStore(b, nil, func(c *Config) { c.Dir = b.TempDir() })
}

// BenchmarkPut is what accepting costs: 64 writers, synced.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{5 << 10, 100 << 10} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			s := benchStore(b)
			adopt(b, s, 1, 1)
			body := bytes.Repeat([]byte("x"), size)
			var n atomic.Int64
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := n.Add(1)
					if _, err := tryPut(s, 1, body, envelope(fmt.Sprintf("u@d%d.test", i%100))); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
		})
	}
}

// drain takes and delivers until n items are settled.
func drain(s *Store, n int, start bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var settled atomic.Int64
	var failed atomic.Pointer[error]
	lanes := make(chan Lane, waitLanes)
	var wg sync.WaitGroup
	finish := func(err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
			cancel()
		}
		if settled.Add(1) == int64(n) {
			cancel()
		}
	}
	for range 8 {
		wg.Go(func() {
			for l := range lanes {
				for more := true; more; {
					var items []*Item
					var err error
					if items, more, err = s.Take(l, 16); err != nil {
						finish(err)
						break
					}
					for _, it := range items {
						body, err := s.Body(it.ID)
						if err != nil {
							finish(err)
							continue
						}
						_ = body.Close()
						if start {
							if err := s.Start(it); err != nil {
								finish(err)
							}
						}
						s.Settle(Settlement{Item: it, Attempt: benchAttempt, Outcomes: outcomes(it, Delivered)}, finish)
					}
				}
			}
		})
	}
	for {
		ls, err := s.Wait(ctx)
		if err != nil {
			break
		}
		for _, l := range ls {
			lanes <- l
		}
	}
	close(lanes)
	wg.Wait()
	if e := failed.Load(); e != nil {
		return *e
	}
	if got := settled.Load(); got != int64(n) {
		return fmt.Errorf("settled %d of %d", got, n)
	}
	return nil
}

var benchAttempt = Attempt{N: 1, At: time.Now(), Took: 41 * time.Millisecond, Source: "192.0.2.7", EHLO: "out-1.relay.test",
	Host: "mx1.example.test", Addr: "198.51.100.9:25", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256", DotSent: true,
	Dialogue: "S: 220 mx1.example.test\nC: EHLO out-1.relay.test\nS: 250-PIPELINING\nC: MAIL FROM:<a@sender.test>\nC: RCPT TO:<u@d.test>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nC: .\nS: 250 queued as 12345"}

// BenchmarkPipeline is a message's whole way through the store.
func BenchmarkPipeline(b *testing.B) {
	s := benchStore(b)
	adopt(b, s, 1, 1)
	body := bytes.Repeat([]byte("x"), 5<<10)
	done := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	used := cpu()
	go func() { done <- drain(s, b.N, true) }()
	var n atomic.Int64
	b.SetParallelism(10)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			if _, err := tryPut(s, 1, body, envelope(fmt.Sprintf("u@d%d.test", i%100))); err != nil {
				b.Error(err)
				return
			}
		}
	})
	if err := <-done; err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64((cpu()-used).Microseconds())/float64(b.N), "cpu-us/msg")
	m := s.db.Metrics()
	b.ReportMetric(float64(m.WAL.BytesWritten)/float64(b.N), "walB/msg")
	b.ReportMetric(float64(m.Levels[0].TableBytesFlushed+m.Levels[0].BlobBytesFlushed)/float64(b.N), "flushB/msg")
	b.ReportMetric(float64(resident()), "rssMB")
}

// BenchmarkDrain takes a backlog that was put before.
func BenchmarkDrain(b *testing.B) {
	s := benchStore(b)
	adopt(b, s, 1, 1)
	body := bytes.Repeat([]byte("x"), 5<<10)
	fillStore(b, s, 1, b.N, 100, body)
	b.ReportAllocs()
	b.ResetTimer()
	if err := drain(s, b.N, true); err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}

// fillStore puts n messages to as many domains with 64 writers.
func fillStore(t testing.TB, s *Store, tn tenant.ID, n, domains int, body []byte) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(n) {
					return
				}
				if _, err := tryPut(s, tn, body, envelope(fmt.Sprintf("u%d@d%d.test", i, i%int64(domains)))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
