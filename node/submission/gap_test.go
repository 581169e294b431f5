package submission

import (
	"errors"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

func TestGaps(t *testing.T) {
	var g gaps
	a := &tenant.Account{ID: 1, Gap: time.Minute}
	at := time.Unix(1_000_000, 0)
	first, err := g.take(a, 0, at)
	if err != nil {
		t.Fatal(err)
	}
	// A second message of the same moment must wait, one that was given back not.
	if _, err := g.take(a, 0, at); err == nil {
		t.Error("two at once")
	}
	first.giveBack()
	if q := g.quiet(a, at); q != 0 {
		t.Errorf("quiet for %v without a message", q)
	}
	second, err := g.take(a, 0, at)
	if err != nil {
		t.Fatal(err)
	}
	second.used()
	second.giveBack()
	for _, c := range []struct {
		after time.Duration
		quiet time.Duration // what another node says
		wait  string        // "" is none
	}{
		{time.Second, 0, "retry after 59 s"},
		{59*time.Second + 500*time.Millisecond, time.Hour, "retry after 1 s"},
		{time.Minute, 20 * time.Second, "retry after 40 s"},
		{time.Minute, 0, ""},
	} {
		turn, err := g.take(a, c.quiet, at.Add(c.after))
		var r *reply
		if c.wait == "" {
			if err != nil {
				t.Errorf("%+v: %v", c, err)
			}
			turn.giveBack()
		} else if !errors.As(err, &r) || r.code != 450 || !strings.HasSuffix(r.text, c.wait) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if q := g.quiet(a, at.Add(5*time.Second)); q != 5*time.Second {
		t.Errorf("quiet for %v", q)
	}
	if _, err := g.take(&tenant.Account{ID: 2}, 0, at); err != nil {
		t.Error(err)
	}
	for i := range maxTallies + 10 {
		g.passed(&tenant.Account{ID: tenant.AccountID(i), Gap: time.Minute}, at)
	}
	if len(g.last) > maxTallies {
		t.Errorf("%d clocks", len(g.last))
	}
}

// A pause outlives the owner: the node that has the client remembers it too.
func TestGapSurvivesAMove(t *testing.T) {
	_, rigs := newCluster(t, 3)
	gap := time.Hour
	rigs[0].apply(tenant.SetAccount{Account: rigs[0].current().AccountByUsername(tNet).ID, Gap: &gap})
	c := rigs[1].byNet()
	c.envelope("mail@shop.test", "a@example.test")
	c.message("DATA", simple, "250")
	rigs[0].move(rigs[2])
	c.cmd("MAIL FROM:<mail@shop.test>", "450 4.7.1 Rate limit (one message every 1h), retry after 3")
	rigs[2].move(rigs[1])
	c.cmd("MAIL FROM:<mail@shop.test>", "450 4.7.1")
	rigs[1].quota.settled(t)
}
