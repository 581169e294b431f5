package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postern/node/admin"
	"postern/node/lab"
)

// crashDir is where the node keeps its state on the file system in memory.
const crashDir = "/state"

// crashRig is one appliance through many power cuts: its disk, and around it
// the world that goes on.
type crashRig struct {
	t     *testing.T
	rng   *rand.Rand
	disk  *vfs.MemFS // what the last cut left
	cfg   Config
	world *lab.Lab
	books *books
	log   *nodeLog
	api   *admin.Client
	life  *life
	cuts  []powerCut
	known int // in doubt before this life
}

// powerCut is one cut, and what the next whole start found in doubt.
type powerCut struct {
	at     time.Time
	whole  bool // the disk kept all that was written, as after a kill
	doubts int
}

// life is a node from power on to power off.
type life struct {
	node *Node
	gate *gate
	end  context.CancelFunc
	done chan error
}

func newCrashRig(t *testing.T, seed uint64, sources []netip.Addr, domains []string) *crashRig {
	t.Helper()
	w := lab.Usual()
	for i, s := range sources {
		w.AddSource(s, fmt.Sprintf("out-%d.relay.test", i+1))
	}
	for _, d := range domains {
		w.AddSender(d, "mx.inbox.test")
	}
	r := &crashRig{t: t, rng: rand.New(rand.NewPCG(seed, 0)), disk: vfs.NewCrashableMem(), books: newBooks(), log: &nodeLog{}}
	var err error
	if r.world, err = lab.New(lab.Config{World: w, Taken: r.books.take}); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.world.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-done; err != nil {
			t.Errorf("run lab: %v", err)
		}
	})
	r.configure(t.TempDir())
	return r
}

func (r *crashRig) configure(dir string) {
	c := DefaultConfig()
	c.Name, c.Dir, c.Hostname, c.Bootstrap = "n1", crashDir, "smtp.relay.test", true
	c.Submission, c.SubmissionTLS = []string{unused(r.t)}, []string{unused(r.t)}
	c.Admin, c.Metrics = unused(r.t), ""
	c.Resolvers = []string{r.world.DNS()}
	c.OperatorTokenFile, c.SecretKeyFile = filepath.Join(dir, "operator.token"), filepath.Join(dir, "secret.key")
	c.TLS.Cert, c.TLS.Key = writePair(r.t, dir, 1, time.Now())
	c.Delivery.Port, c.Delivery.AllowLoopback = r.world.MXPort(), true
	c.Delivery.Retry = []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, time.Second}
	r.cfg = c
}

// powerOn starts a node on the disk; nobody is let in yet.
func (r *crashRig) powerOn() {
	r.t.Helper()
	r.books.powerOn()
	r.known, _ = r.log.read()
	n, err := New(r.cfg, Options{
		Log: slog.New(slog.NewTextHandler(r.log, nil)), Version: "test", FS: r.disk, Grace: 300 * time.Millisecond,
		Fatal: func(err error) { panic(err) },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	l := &life{node: n, gate: newGate(), done: make(chan error, 1)}
	for i := range n.ports {
		n.ports[i].Listener = gated{n.ports[i].Listener, l.gate}
	}
	ctx, end := context.WithCancel(context.Background())
	l.end = end
	go func() { l.done <- n.Run(ctx) }()
	r.life = l
	r.t.Cleanup(l.end)
	if r.api == nil {
		token, err := os.ReadFile(r.cfg.OperatorTokenFile)
		if err != nil {
			r.t.Fatal(err)
		}
		if r.api, err = admin.NewClient(r.cfg.Admin, string(token)); err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(r.api.Close)
	}
}

func (r *crashRig) ready() {
	r.t.Helper()
	await(r.t, "the node", func() bool { return r.life.node.mayGreet() == nil })
	if n := len(r.cuts); n > 0 {
		found, _ := r.log.read()
		r.cuts[n-1].doubts = found - r.known
	}
}

// cut takes the power. The books are shut for the very moment in which the
// disk's rest is pictured: what they say then is what that rest must hold.
// The old node runs on a disk nobody will see again until it has ended, and
// nothing it says or sends counts.
func (r *crashRig) cut(whole bool) {
	r.t.Helper()
	unsynced := r.rng.IntN(101)
	if whole {
		unsynced = 100
	}
	r.books.cut(func() {
		at := time.Now() // the picture of a large disk takes a while
		r.disk = r.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: r.rng})
		r.cuts = append(r.cuts, powerCut{at: at, whole: whole})
	})
	r.stop()
	await(r.t, "the end of the old node's connections", func() bool {
		open := int64(0)
		for _, x := range r.world.Tallies() {
			open += x.Open
		}
		return open == 0
	})
}

func (r *crashRig) stop() {
	r.t.Helper()
	r.life.end()
	select {
	case err := <-r.life.done:
		if err != nil {
			r.t.Errorf("run node: %v", err)
		}
	case <-time.After(time.Minute):
		r.t.Fatal("the node goes on")
	}
}

// load sends until ctx ends, over STARTTLS on one port and TLS on the other.
func (r *crashRig) load(ctx context.Context, l lab.Load) {
	l.TLS = &tls.Config{InsecureSkipVerify: true} // the test makes it
	l.Addrs = r.cfg.Submission
	if l.Implicit {
		l.Addrs = r.cfg.SubmissionTLS
	}
	l.Run = r.books.newRun()
	l.Rcpts, l.PerConn, l.Timeout, l.Backoff = 2, 40, 20*time.Second, 20*time.Millisecond
	l.Sent = r.books.sent
	if _, err := l.Send(ctx); err != nil {
		r.t.Error(err)
	}
}

// quiet waits until the queue is empty and all notices have come.
func (r *crashRig) quiet(within time.Duration) {
	r.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(within)
	for turn := 0; ; turn++ {
		st, err := r.api.Status(r.t.Context())
		if err == nil && st.Queued == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Errorf("not quiet after %v: %d recipients queued at the node (%v)", within, st.Queued, err)
			return
		}
		if turn%20 == 0 {
			_, _ = r.api.Flush(r.t.Context(), admin.Match{})
		}
		<-tick.C
	}
}

// gate keeps clients out of a port until it is opened.
type gate struct {
	once sync.Once
	way  chan struct{}
}

func newGate() *gate   { return &gate{way: make(chan struct{})} }
func (g *gate) unbar() { g.once.Do(func() { close(g.way) }) }

type gated struct {
	net.Listener
	gate *gate
}

func (g gated) Accept() (net.Conn, error) {
	<-g.gate.way
	return g.Listener.Accept()
}

func (g gated) Close() error {
	defer g.gate.unbar()
	return g.Listener.Close()
}

// nodeLog keeps what the nodes found in doubt at their starts, and their errors.
type nodeLog struct {
	mu     sync.Mutex // guards what follows
	doubts int
	errors []string
}

var crashAdopted = regexp.MustCompile(`msg="tenant adopted".* in_doubt=([0-9]+)`)

func (l *nodeLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := crashAdopted.FindSubmatch(b); m != nil {
		n, _ := strconv.Atoi(string(m[1]))
		l.doubts += n
	}
	if bytes.Contains(b, []byte("level=ERROR")) {
		l.errors = append(l.errors, string(b))
	}
	return len(b), nil
}

func (l *nodeLog) read() (doubts int, errs []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doubts, l.errors
}
