package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/tenant"
)

// BenchmarkPropose measures commands from handing over to applied, on the real
// file system with real syncs.
func BenchmarkPropose(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			cfg := config(b, vfs.Default)
			cfg.Dir = filepath.Join(b.TempDir(), "raft")
			r := run(b, cfg, standard())
			r.awaitReady()
			op := tenant.SetRoute{Route: tenant.Route{Domain: "a.example", Host: "127.0.0.1", Port: 25}}
			b.ReportAllocs()
			b.SetParallelism(max(callers/runtime.GOMAXPROCS(0), 1))
			each := func() {
				if _, _, err := r.Propose(context.Background(), tenant.RequestID{}, op); err != nil {
					b.Error(err)
				}
			}
			b.ResetTimer()
			if callers == 1 {
				for b.Loop() {
					each()
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						each()
					}
				})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
			b.StopTimer()
			r.stop()
		})
	}
}

// BenchmarkMayAct is asked twice a message.
func BenchmarkMayAct(b *testing.B) {
	r := run(b, config(b, vfs.NewMem()), standard())
	r.awaitReady()
	n1, _, id := r.populate()
	epoch := r.own(id, n1)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.MayAct(context.Background(), id, epoch); err != nil {
			b.Fatal(err)
		}
	}
}
