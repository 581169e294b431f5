package node

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/node/doctor"
	"postern/node/trouble"
	"postern/tenant"
)

// What a move depends on reaches the state, each change once; a proposal that
// fails is made again, and questions without an answer change nothing.
func TestDoctorTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{txt: map[string]string{"shoes.test": "v=spf1 ip4:127.77.1.0/24 -all", "_dmarc.shoes.test": "v=DMARC1; p=none"}}
		var now atomic.Pointer[tenant.State]
		now.Store(clinicState(t, nil))
		apply := func(op tenant.Op) error {
			st := now.Load()
			next, _, err := tenant.Apply(st, st.Index()+1, tenant.Command{At: time.Now(), Op: op})
			now.Store(next)
			return err
		}
		d := newDoctoring(now.Load, func() tenant.NodeID { return 1 }, nil, doctor.New(z))
		d.failed = trouble.New[string](slog.New(slog.DiscardHandler), slog.LevelError, "not told", "node")
		var told atomic.Int64
		var fails atomic.Bool
		d.propose = func(_ context.Context, op tenant.Op) error {
			if fails.Load() {
				return errors.New("no leader")
			}
			told.Add(1)
			return apply(op)
		}
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		expect := func(when string, pass time.Duration, armed bool, proposals int64) {
			t.Helper()
			time.Sleep(pass) // of the bubble's clock
			synctest.Wait()
			st := now.Load()
			why := strings.Join(tenant.Armed(st, st.Tenant(1)), "; ")
			if lacks := strings.Contains(why, "SPF of shoes.test lacks 127.77.2.12: publish ip4:127.77.2.12 in its TXT record"); lacks == armed || told.Load() != proposals {
				t.Errorf("%s: %q after %d proposals, want armed %t after %d", when, why, told.Load(), armed, proposals)
			}
		}
		expect("while a node does not know the command", 2*doctorTick, true, 0)
		version := uint32(tenant.NewestVersion)
		for n := range tenant.NodeID(2) {
			if err := apply(tenant.SetNode{Node: n + 1, Version: &version}); err != nil {
				t.Fatal(err)
			}
		}
		fails.Store(true)
		expect("while there is no leader", 2*doctorTick, true, 0)
		fails.Store(false)
		expect("when all know it", doctorTick, false, 1)
		z.say("")
		expect("when nobody answers", 2*doctorEvery, false, 1)
		z.say("v=spf1 ip4:127.77.0.0/16 -all")
		expect("when it was mended", doctorAgain+doctorTick, true, 2)
		z.say("")
		expect("when nobody answers again", 3*doctorEvery, true, 2)
		z.say("v=spf1 ip4:127.77.1.0/24 -all")
		expect("when it was spoilt", doctorEvery+doctorTick, false, 3)
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What the state keeps of others' texts has no control characters and an end.
func TestToldTexts(t *testing.T) {
	if got := told("", "a\nb\xff\u2028", "c"); got != "a?b??; c" {
		t.Errorf("%q", got)
	}
	if got := told(strings.Repeat("ü", 300)); len(got) > tenant.MaxFoundText || strings.Contains(got, "\ufffd") || !strings.HasPrefix(got, "üü") {
		t.Errorf("%q", got)
	}
}
