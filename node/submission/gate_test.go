package submission

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"postern/tenant"
)

const cheapHash = "$2b$05$abcdefghijklmnopqrstuueaoPQ4ZVoUifat5ngiI0io.oJ1X8FkC"

var cheapPassword = "pässwörd-" + strings.Repeat("x", 80)

// What other programs have made (crypt(3), OpenSSL, argon2's reference, bcrypt's)
// is right with its password and wrong with another one.
func TestImportedHashes(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("nothing of it is concurrent")
	}
	for hash, password := range map[string]string{
		"{BLF-CRYPT}$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW": "U*U",
		"$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW":            "U*U",
		"$2b$06$abcdefghijklmnopqrstuud/5IuQmqhVO0kfNEbHJM.fJkPiliBzC":            "correct horse",
		cheapHash: cheapPassword, // 8 bit, and longer than bcrypt looks
		"$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5":                                                                      "Hello world!",
		"{SHA512-CRYPT}$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1":             "Hello world!",
		"{CRYPT}$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.": "Hello world!",
		"{ARGON2ID}$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHQ$jacJHQ+PoBstB/ZoVNk8re3s1yzVABZujceGiwVNJnk":                                "password",
		"{CRYPT}$argon2i$v=19$m=1024,t=3,p=2$c29tZXNhbHQ$L1sksdmJAymzxsc8jMoLIOrcusfJcbcBZWouguKwhiw":                                    "password",
		"$argon2id$v=19$m=256,t=1,p=4$c2FsdHNhbHQxNmJ5dGVzIQ$iBdWhNKx4lfdDyTXy0e/NVcTbANocL8v":                                           "Grüße",
	} {
		h, err := tenant.ParseHash(hash)
		if err != nil {
			t.Errorf("%s: %v", hash, err)
			continue
		}
		if !fits(h, password) {
			t.Errorf("%s: the right password does not fit", hash)
		}
		for _, wrong := range []string{"", "x" + password[1:], h.Text} {
			if fits(h, wrong) {
				t.Errorf("%s: %q fits", hash, wrong)
			}
		}
	}
}

func (r *rig) allKnow() {
	version := uint32(tenant.NewestVersion)
	for n := range r.current().Nodes() {
		r.apply(tenant.SetNode{Node: n.ID, Version: &version})
	}
}

// tries logs in and gives the reply's start.
func (r *rig) tries(user, password string) string {
	r.t.Helper()
	c := r.dialTLS()
	defer c.conn.Close()
	c.expect("220", "banner")
	c.cmd("EHLO client.test", "250")
	c.send("AUTH PLAIN " + plain(user, password) + "\r\n")
	return c.reply()[:9]
}

// checks counts what the gate did.
func (r *rig) checks(result string) float64 {
	var m dto.Metric
	if err := r.srv.metrics.gate.WithLabelValues(result).Write(&m); err != nil {
		r.t.Fatal(err)
	}
	return m.Counter.GetValue()
}

// An account goes on with the password it had elsewhere: computed once, then
// remembered, and no longer than it is the account's.
func TestImportedPassword(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.allKnow()
	id := r.current().AccountByUsername(tUser).ID
	r.apply(tenant.SetHash{Account: id, Hash: cheapHash})
	if got := r.tries(tUser, r.pass[tUser]); got != "535 5.7.8" {
		t.Errorf("the password before: %s", got)
	}
	for range 3 {
		if got := r.tries(tUser, cheapPassword); got != "235 2.7.0" {
			t.Fatalf("the imported one: %s", got)
		}
	}
	if c, m := r.checks("computed"), r.checks("remembered"); c != 2 || m != 2 {
		t.Errorf("computed %v, remembered %v", c, m)
	}
	secret := r.current().Account(id).Secret
	for _, wrong := range []string{cheapHash, string(secret[:])} {
		if got := r.tries(tUser, wrong); got != "535 5.7.8" {
			t.Errorf("what is stored logs in: %s", got)
		}
	}
	r.pass[tUser] = cheapPassword
	c := r.login(tUser)
	c.envelope("mail@shop.test", "a@example.test")
	c.cmd("RSET", "250")
	password, fresh := NewPassword()
	r.apply(tenant.SetAccount{Account: id, Secret: &fresh})
	c.cmd("MAIL FROM:<mail@shop.test>", "530")
	if got := r.tries(tUser, cheapPassword); got != "535 5.7.8" && got != "421 4.7.0" {
		t.Errorf("the imported one, after a new one: %s", got)
	}
	if got := r.tries(tUser, password); got != "235 2.7.0" {
		t.Errorf("the new one: %s", got)
	}
}

// Where every account's password is imported, a name that is nobody's is computed
// too, so that time does not say who is there.
func TestUnknownNameCostsTheSame(t *testing.T) {
	t.Parallel()
	r := newRig(t, limited(func(l *Limits) { l.AuthFailures = 100 }))
	r.allKnow()
	for _, user := range []string{tUser, tOther, tSmall, tNet} {
		r.apply(tenant.SetHash{Account: r.current().AccountByUsername(user).ID, Hash: cheapHash})
	}
	for i := range 3 {
		if got := r.tries(fmt.Sprintf("nobody%d@shop.test", i), cheapPassword); got != "535 5.7.8" {
			t.Errorf("nobody: %s", got)
		}
	}
	if got := r.checks("computed"); got != 3 {
		t.Errorf("computed %v times for three unknown names", got)
	}
}

// A flood of logins waits outside: few of one network, not many in all, each not
// long, and without counting as failures.
func TestGateBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x"}, []string{"result"}))
		if err := g.cores.Acquire(t.Context(), int64(g.max-gateWaiting)); err != nil { // all are busy
			t.Fatal(err)
		}
		try := func(ip int) (bool, *reply) {
			return g.check(t.Context(), netip.AddrFrom4([4]byte{192, 0, 2, byte(ip)}), cheapHash, cheapPassword, true, func() *reply { return nil })
		}
		var wg sync.WaitGroup
		replies := make(chan *reply, 100)
		began := time.Now()
		for i := range gatePerNet + 3 { // one network's
			wg.Go(func() { _, r := try(1); replies <- r })
			synctest.Wait()
			if refused := len(replies); refused != max(0, i+1-gatePerNet) {
				t.Fatalf("%d refused of %d", refused, i+1)
			}
		}
		for i := range g.max { // everybody's
			wg.Go(func() { _, r := try(2 + i/gatePerNet); replies <- r })
		}
		synctest.Wait()
		if refused := len(replies); refused != 3+gatePerNet {
			t.Fatalf("%d refused", refused)
		}
		wg.Wait()
		if took := time.Since(began); took != gateWait {
			t.Errorf("waited %s", took)
		}
		close(replies)
		for r := range replies {
			if r != errGateBusy {
				t.Fatalf("%v", r)
			}
		}
		g.cores.Release(int64(g.max - gateWaiting))
		if ok, r := try(1); !ok || r != nil {
			t.Errorf("afterwards: %v %v", ok, r)
		}
		if g.inside != 0 || len(g.network) != 0 {
			t.Errorf("left behind: %d, %v", g.inside, g.network)
		}
	})
}

// Who has been found out while he waited is not computed any more.
func TestGateAsksAgain(t *testing.T) {
	g := newGate(prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x"}, []string{"result"}))
	ok, r := g.check(t.Context(), netip.Addr{}, cheapHash, cheapPassword, true, func() *reply { return errTooManyFails })
	if ok || r != errTooManyFails || len(g.good) != 0 {
		t.Errorf("%v %v", ok, r)
	}
	if ok, r = g.check(t.Context(), netip.Addr{}, cheapHash, strings.Repeat("x", maxImported+1), true, nil); ok || r != nil {
		t.Errorf("a password that is too long: %v %v", ok, r)
	}
}

// What is remembered ends, and does not grow without bound.
func TestGateForgets(t *testing.T) {
	g := newGate(nil)
	now := time.Now()
	for i := range 3 * gateMost {
		g.remember(g.mac(cheapHash, fmt.Sprint(i)), now)
	}
	if len(g.good) > gateMost {
		t.Errorf("%d remembered", len(g.good))
	}
	last := g.mac(cheapHash, fmt.Sprint(3*gateMost-1))
	if !g.remembers(last, now.Add(gateRemember-1)) || g.remembers(last, now.Add(gateRemember)) {
		t.Error("remembered for another time")
	}
	if g.mac("ab", "c") == g.mac("a", "bc") {
		t.Error("hash and password run together")
	}
}
