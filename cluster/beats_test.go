package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestBeatsEnd: a stop waits for the heartbeat being taken and lets none through
// behind it.
func TestBeatsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b beats
		taken := 0
		take := b.through(func(raft.RPC) {
			time.Sleep(time.Second)
			taken++
		})
		go take(raft.RPC{})
		synctest.Wait()
		began := time.Now()
		b.end()
		if time.Since(began) != time.Second || taken != 1 {
			t.Errorf("ended after %v, %d taken", time.Since(began), taken)
		}
		take(raft.RPC{})
		if taken != 1 {
			t.Error("one came behind the end")
		}
	})
}
