package queue

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
)

// tcpPeers is a place in a network over loopback.
func tcpPeers(t testing.TB, node string, addrs map[string]string) *Peers {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addrs[node] = l.Addr().String()
	return &Peers{Node: node, Listener: l, Dial: func(ctx context.Context, to string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addrs[to])
	}}
}

// BenchmarkPutMirrored is BenchmarkPut with a second store in this process,
// over loopback: both share the machine and its disk.
func BenchmarkPutMirrored(b *testing.B) {
	for _, size := range []int{5 << 10, 100 << 10} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			addrs := map[string]string{}
			pa, pb := tcpPeers(b, "a", addrs), tcpPeers(b, "b", addrs)
			s := testStore(b, nil, func(c *Config) { c.Dir, c.Peers = b.TempDir(), pa })
			testStore(b, nil, func(c *Config) { c.Dir, c.Peers = b.TempDir(), pb })
			adopt(b, s, 1, 1)
			mirror(b, s, 1, 1, 1, "b")
			until(b, "the copy is whole", synced(s, 1))
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
