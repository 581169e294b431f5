package submission

import (
	"net/netip"
	"sync"
	"time"

	"postern/tenant"
)

// doors counts open connections.
type doors struct {
	max Limits

	mu        sync.Mutex // guards all below
	total     int
	byNetwork map[netip.Addr]int
	byAccount map[tenant.AccountID]int
}

func newDoors(l Limits) *doors {
	return &doors{max: l, byNetwork: map[netip.Addr]int{}, byAccount: map[tenant.AccountID]int{}}
}

// enter counts a new connection, or says that it is one too many.
func (d *doors) enter(network netip.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.total >= d.max.Conns {
		return false
	}
	if network.IsValid() {
		if d.byNetwork[network] >= d.max.ConnsPerIP {
			return false
		}
		d.byNetwork[network]++
	}
	d.total++
	return true
}

// join counts a connection, entered without one, for its network, or says that
// it is one too many there.
func (d *doors) join(network netip.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !network.IsValid() {
		return true
	}
	if d.byNetwork[network] >= d.max.ConnsPerIP {
		return false
	}
	d.byNetwork[network]++
	return true
}

func (d *doors) leave(network netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total--
	if network.IsValid() {
		decrement(d.byNetwork, network)
	}
}

// use counts a connection for the account it sends by.
func (d *doors) use(a tenant.AccountID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byAccount[a] >= d.max.ConnsPerAccount {
		return false
	}
	d.byAccount[a]++
	return true
}

func (d *doors) unuse(a tenant.AccountID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	decrement(d.byAccount, a)
}

func decrement[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// maxTallies bounds the memory that guessed names and addresses can take.
const maxTallies = 1 << 16

// tally counts failed logins by network and by account name. It is asked before
// a password is looked at.
type tally struct {
	max    int
	window time.Duration

	mu    sync.Mutex // guards all below
	fails map[string]failures
	good  map[string]time.Time // network and account that fit together lately
}

type failures struct {
	n     int
	since time.Time
}

func newTally(l Limits) *tally {
	return &tally{max: l.AuthFailures, window: l.AuthWindow, fails: map[string]failures{}, good: map[string]time.Time{}}
}

// The keys are of three kinds that cannot meet.
func networkKey(n netip.Addr) string { return "n" + n.String() }

func accountKey(username string) string { return "a" + username }

func pairKey(n netip.Addr, username string) string { return n.String() + " " + username }

// blocked says whether a login from the network to the account is refused
// unseen. A stranger's guesses do not lock the owner out: a network from which
// the account was entered lately is not bound by the account's count.
func (t *tally) blocked(network netip.Addr, username string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if network.IsValid() && t.count(networkKey(network), now) >= t.max {
		return true
	}
	if username == "" || t.count(accountKey(username), now) < t.max {
		return false
	}
	last, ok := t.good[pairKey(network, username)]
	return !ok || now.Sub(last) > t.window
}

func (t *tally) count(key string, now time.Time) int {
	f := t.fails[key]
	if now.Sub(f.since) > t.window {
		return 0
	}
	return f.n
}

func (t *tally) failed(network netip.Addr, username string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.good, pairKey(network, username))
	if network.IsValid() {
		t.add(networkKey(network), now)
	}
	t.add(accountKey(username), now)
}

func (t *tally) add(key string, now time.Time) {
	f, ok := t.fails[key]
	if !ok {
		t.makeRoom(now)
	}
	if now.Sub(f.since) > t.window {
		f = failures{since: now}
	}
	f.n++
	t.fails[key] = f
}

// makeRoom drops what has run out, and when that is not enough, anything.
func (t *tally) makeRoom(now time.Time) {
	if len(t.fails) < maxTallies {
		return
	}
	for k, f := range t.fails {
		if now.Sub(f.since) > t.window {
			delete(t.fails, k)
		}
	}
	for k := range t.fails {
		if len(t.fails) < maxTallies*3/4 {
			break
		}
		delete(t.fails, k)
	}
}

// entered notes a good login.
func (t *tally) entered(network netip.Addr, username string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.good) >= maxTallies {
		clear(t.good)
	}
	t.good[pairKey(network, username)] = now
}
