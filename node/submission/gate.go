package submission

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/go-crypt/crypt/algorithm/shacrypt"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/semaphore"

	"postern/tenant"
)

// Bounds of what imported passwords may cost a node.
const (
	maxImported  = 256 // octets of a password: SHA-crypt's work grows with them
	gateMemory   = 128 << 10
	gateWaiting  = 16 // logins
	gatePerNet   = 4  // logins of one network, computed or waiting
	gateWait     = 5 * time.Second
	gateRemember = 10 * time.Minute
	gateMost     = 4096 // remembered
)

// gate computes the hashes of passwords that were made elsewhere. These are slow
// by intent, so that anybody could use up the processor by logging in: half the
// cores compute at once, in bounded memory, few wait, and few of one network. What
// was right lately is remembered, for clients that connect for each message, and
// only as an HMAC whose key dies with the process.
type gate struct {
	cores  *semaphore.Weighted
	memory *semaphore.Weighted // KiB
	key    [32]byte
	seen   *prometheus.CounterVec

	mu      sync.Mutex // guards all below
	inside  int        // computed or waiting
	max     int
	network map[netip.Addr]int
	good    map[[32]byte]time.Time // until when
}

func newGate(seen *prometheus.CounterVec) *gate {
	cores := max(1, runtime.GOMAXPROCS(0)/2)
	g := &gate{cores: semaphore.NewWeighted(int64(cores)), memory: semaphore.NewWeighted(gateMemory), seen: seen,
		max: cores + gateWaiting, network: map[netip.Addr]int{}, good: map[[32]byte]time.Time{}}
	_, _ = rand.Read(g.key[:]) // never fails
	return g
}

// mac is what a hash and a password that fit are remembered by.
func (g *gate) mac(hash, password string) (sum [32]byte) {
	m := hmac.New(sha256.New, g.key[:])
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(hash)))
	m.Write(size[:])
	m.Write([]byte(hash))
	m.Write([]byte(password))
	m.Sum(sum[:0])
	return sum
}

// number spreads names over accounts, always the same way.
func (g *gate) number(username string) uint64 {
	sum := g.mac("name", username)
	return binary.BigEndian.Uint64(sum[:])
}

func (g *gate) remembers(mac [32]byte, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	until, ok := g.good[mac]
	return ok && now.Before(until)
}

func (g *gate) remember(mac [32]byte, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.good) >= gateMost {
		for k, until := range g.good {
			if !now.Before(until) {
				delete(g.good, k)
			}
		}
		for k := range g.good {
			if len(g.good) < gateMost*3/4 {
				break
			}
			delete(g.good, k)
		}
	}
	g.good[mac] = now.Add(gateRemember)
}

// enter takes a place, or says that too many are inside.
func (g *gate) enter(network netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside >= g.max || network.IsValid() && g.network[network] >= gatePerNet {
		return false
	}
	g.inside++
	if network.IsValid() {
		g.network[network]++
	}
	return true
}

func (g *gate) leave(network netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if network.IsValid() {
		decrement(g.network, network)
	}
}

// check compares a password with an imported hash. Still asks, when its turn has
// come, whether it is worth the work: of a hundred guesses that wait, all but a few
// are not, once those have failed.
func (g *gate) check(ctx context.Context, network netip.Addr, hash, password string, known bool, still func() *reply) (bool, *reply) {
	h, err := tenant.ParseHash(hash)
	if err != nil || len(password) > maxImported {
		return false, nil // the state holds only what can be read
	}
	now, mac := time.Now(), g.mac(hash, password)
	if known && g.remembers(mac, now) {
		g.seen.WithLabelValues("remembered").Inc()
		return true, nil
	}
	if !g.enter(network) {
		g.seen.WithLabelValues("busy").Inc()
		return false, errGateBusy
	}
	defer g.leave(network)
	ctx, cancel := context.WithTimeout(ctx, gateWait)
	defer cancel()
	if g.cores.Acquire(ctx, 1) != nil {
		g.seen.WithLabelValues("busy").Inc()
		return false, errGateBusy
	}
	defer g.cores.Release(1)
	if g.memory.Acquire(ctx, int64(h.Memory)) != nil {
		g.seen.WithLabelValues("busy").Inc()
		return false, errGateBusy
	}
	defer g.memory.Release(int64(h.Memory))
	if r := still(); r != nil {
		return false, r
	}
	g.seen.WithLabelValues("computed").Inc()
	ok := fits(h, password)
	if ok && known {
		g.remember(mac, now)
	}
	return ok, nil
}

// fits computes a hash; nothing bounds it but the hash's own parameters.
func fits(h tenant.Hash, password string) bool {
	switch h.Kind {
	case tenant.HashBcrypt:
		return bcrypt.CompareHashAndPassword([]byte(h.Text), []byte(password)) == nil
	case tenant.HashSHA256Crypt, tenant.HashSHA512Crypt:
		d, err := shacrypt.Decode(h.Text)
		return err == nil && d.Match(password)
	case tenant.HashArgon2id:
		key := argon2.IDKey([]byte(password), bytes.Clone(h.Salt), h.Passes, h.Memory, h.Lanes, uint32(len(h.Key)))
		return subtle.ConstantTimeCompare(key, h.Key) == 1
	case tenant.HashArgon2i:
		key := argon2.Key([]byte(password), bytes.Clone(h.Salt), h.Passes, h.Memory, h.Lanes, uint32(len(h.Key)))
		return subtle.ConstantTimeCompare(key, h.Key) == 1
	}
	return false
}

// rightPassword says whether it is the account's; a is nil for a name that is
// nobody's, which takes as long as if it were somebody's.
func (s *session) rightPassword(st *tenant.State, a *tenant.Account, username, password string) (bool, *reply) {
	secret, hash := s.srv.dummy, ""
	if a != nil {
		secret, hash = a.Secret, st.Hash(a.ID)
	} else if s.srv.cfg.Alike != nil {
		hash = st.SomeHash(s.srv.cfg.Alike(username))
	} else {
		hash = st.SomeHash(s.srv.gate.number(username))
	}
	if hash == "" {
		return CheckPassword(secret, password), nil
	}
	return s.srv.gate.check(s.srv.hard, s.w.netKey, hash, password, a != nil, func() *reply {
		if s.srv.tally.blocked(s.w.netKey, username, time.Now()) {
			return errTooManyFails
		}
		return nil
	})
}
