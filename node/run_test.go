package node

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// record is a stage that ends when told and notes the order of its ending.
func record(mu *sync.Mutex, ended *[]string, name string, slow time.Duration) stage {
	return stage{name, func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(slow)
		mu.Lock()
		defer mu.Unlock()
		*ended = append(*ended, name)
		return nil
	}}
}

func TestStagesEndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var ended []string
		stages := []stage{
			record(&mu, &ended, "submission", 3*time.Second), // the slowest first
			record(&mu, &ended, "delivery", time.Second),
			record(&mu, &ended, "queue", 0),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- runInOrder(ctx, stages) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(ended, " "); got != "submission delivery queue" {
			t.Errorf("ended in the order %s", got)
		}
	})
}

func TestFailedStageEndsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var ended []string
		broken := errors.New("disk gone")
		stages := []stage{
			record(&mu, &ended, "submission", time.Second), // still runs when delivery is gone
			{"delivery", func(context.Context) error { time.Sleep(time.Second); return broken }},
			record(&mu, &ended, "queue", 0),
		}
		err := runInOrder(t.Context(), stages)
		if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "delivery: ") {
			t.Errorf("got %v", err)
		}
		if got := strings.Join(ended, " "); got != "submission queue" {
			t.Errorf("ended: %s", got)
		}
	})
}

func TestStageThatEndsByItselfIsAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := runInOrder(t.Context(), []stage{{"admin", func(context.Context) error { return nil }}})
		if err == nil || !strings.Contains(err.Error(), "ended by itself") {
			t.Errorf("got %v", err)
		}
	})
}
