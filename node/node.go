package node

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"postern/cluster"
	"postern/node/admin"
	"postern/node/delivery"
	"postern/node/queue"
	"postern/node/submission"
	"postern/tenant"
)

// Options are what the process gives a node besides its file.
type Options struct {
	Log   *slog.Logger
	Fatal func(error) // ends the process at once; must not return
	// Level is what Log goes by; nil: the level cannot be changed.
	Level *slog.LevelVar
	// File is the configuration file, which Reload reads again; "": there is none.
	File    string
	Version string
	// FS holds the raft log and the queue [the disk]; tests pass one that can
	// lose power. Keys and tokens are on the disk all the same.
	FS vfs.FS
	// Grace is how much later than the rest in-doubt mail is due after a crash
	// [60 s].
	Grace time.Duration
	// HomeAfter is how long a home must have been up before its tenants go back
	// to it [10 min].
	HomeAfter time.Duration
	// PeerDial opens a TCP connection to another node [the network]; tests pass
	// one that can be cut.
	PeerDial func(ctx context.Context, addr string) (net.Conn, error)
}

// Node is one running appliance.
type Node struct {
	cfg     Config
	log     *slog.Logger
	cluster *cluster.Cluster
	queue   *queue.Store
	grants  *grants
	owned   *owned

	mirrors    *mirrors
	handover   *handover
	forwards   *forwards
	returns    *returns
	controller *controller
	watcher    *watcher
	notifier   *notifier
	uses       *uses
	denials    *denials
	archive    *archive
	kept       *keptReports
	expiry     *expiry
	erasing    *erasing
	heard      *heard
	listTold   *listTold
	wrote      *wrote
	sentAs     *sentAs
	linked     *linked

	submission  *submission.Server
	ports       []submission.Listener
	intake      *submission.Intake
	intakePorts []net.Listener
	reports     *reports
	late        *late
	sender      *delivery.Sender
	doctor      *doctoring
	admin       *admin.Server
	seal        *sealer
	ages        *ages

	level     *logLevel
	reloading reloading
	certs     []*certs         // of all ports that take them from the file
	lookup    *delivery.Lookup // past the cache, for the doctor
}

// New opens the node's stores and ports and prepares its parts; Run starts
// them. An error leaves nothing open.
func New(cfg Config, opt Options) (*Node, error) {
	disk := opt.FS
	if disk == nil {
		disk = vfs.Default
	}
	if err := makeStateDir(disk, cfg.Dir); err != nil {
		return nil, err
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n := &Node{cfg: cfg, log: opt.Log, reloading: reloading{file: opt.File, cfg: cfg}}
	var err error
	if n.level, err = newLogLevel(cfg.Name, cfg.Log.Level, opt.Level, opt.Log); err != nil {
		return nil, err
	}
	for _, open := range []func(*prometheus.Registry, Options) error{n.openStores, n.prepare, n.openDoctor, n.openAdmin, n.listen} {
		if err := open(reg, opt); err != nil {
			return nil, errors.Join(err, n.close())
		}
	}
	return n, nil
}

// close undoes New for a node that never ran.
func (n *Node) close() error {
	var errs []error
	for _, l := range n.ports {
		errs = append(errs, l.Close())
	}
	for _, l := range n.intakePorts {
		errs = append(errs, l.Close())
	}
	if n.admin != nil {
		errs = append(errs, n.admin.Close())
	}
	if n.queue != nil {
		errs = append(errs, n.queue.Close())
	}
	if n.cluster != nil {
		errs = append(errs, n.cluster.Close())
	}
	return errors.Join(errs...)
}

func (n *Node) openStores(reg *prometheus.Registry, opt Options) (err error) {
	if n.seal, err = openSealer(n.cfg.SecretKeyFile); err != nil {
		return err
	}
	bootstrap, err := n.cfg.mayBootstrap()
	if err != nil {
		return err
	}
	peering, err := n.peering()
	if err != nil {
		return err
	}
	if peering != nil {
		peering.Dial = opt.PeerDial
	}
	n.cluster, err = cluster.New(cluster.Config{
		Dir: filepath.Join(n.cfg.Dir, "raft"), FS: opt.FS, Name: n.cfg.Name, Bootstrap: bootstrap,
		Fatal: opt.Fatal, Log: opt.Log, Registerer: reg, Peering: peering,
	})
	if err != nil {
		if peering != nil {
			_ = peering.Listener.Close()
		}
		return fmt.Errorf("open cluster state: %w", err)
	}
	n.queue, err = queue.New(queue.Config{
		Dir: filepath.Join(n.cfg.Dir, "queue"), FS: opt.FS, FreeFloor: n.cfg.Queue.FreeFloor, Grace: opt.Grace,
		Fatal: opt.Fatal, Log: opt.Log, Registerer: reg, Peers: n.storePeers(), Suppress: n.suppresses, Keep: n.keeps,
	})
	if err != nil {
		return fmt.Errorf("open queue: %w", err)
	}
	return nil
}

// suppresses reports whether every node's program knows suppressions.
func (n *Node) suppresses() bool { return n.cluster.State().Suppresses() }

// keeps is for how long recipients and dialogues of ended mail are kept.
func (n *Node) keeps() (rcpts, talk time.Duration) {
	r := n.cluster.State().Retention()
	return tenant.Days(r.Recipients), tenant.Days(r.Dialogues)
}

func (n *Node) prepare(reg *prometheus.Registry, opt Options) (err error) {
	n.grants = newGrants(n.cluster.State, n.id, n.propose, time.Now)
	if err := reg.Register(n.grants.waits); err != nil {
		return fmt.Errorf("register quota metrics: %w", err)
	}
	n.owned = newOwned(n.cfg.Name, n.peered(), n.cluster, n.queue, n.grants, opt.Log)
	if n.peered() {
		n.owned.formed = n.cfg.bootstrapped
	}
	n.mirrors = newMirrors(n.owned)
	n.handover = &handover{owned: n.owned, wait: quiesceWait}
	n.forwards = newForwards(n.owned)
	n.returns = newReturns(n.owned)
	n.controller = newController(n.cfg.Name, n.cluster, opt.Log, cmp.Or(opt.HomeAfter, homeAfter))
	n.notifier = newNotifier(n.cfg.Name, n.cfg.Hostname, n.cluster, n.seal, opt.Log)
	if err := reg.Register(n.notifier.gaveUp); err != nil {
		return fmt.Errorf("register notice metrics: %w", err)
	}
	if n.ages, err = newAges(n.cluster.State, n.queue, reg, opt.Log); err != nil {
		return err
	}
	n.uses = newUses(n.cfg.Name, n.cluster, opt.Log)
	n.uses.adopted = func(t tenant.ID) bool { return n.owned.epoch(t) != 0 }
	n.uses.flush = func(t tenant.ID) (int, error) { return n.queue.Flush(queue.Filter{Tenant: t}) }
	n.heard = newHeard(n.cfg.Name, n.cluster, n.seal.references, opt.Log)
	n.listTold = newListTold(n.cfg.Name, n.cluster, n.seal.references, opt.Log)
	n.wrote = newWrote(n.cfg.Name, n.cluster, n.seal.references, opt.Log)
	n.sentAs = newSentAs(n.cfg.Name, n.cluster, opt.Log)
	n.linked = newLinked(n.cfg.Name, n.cluster, n.queue.Body, opt.Log)
	resolvers, err := n.cfg.resolvers()
	if err != nil {
		return err
	}
	n.sender, err = delivery.New(delivery.Config{
		Node: n.id, State: n.cluster.State, Watch: n.cluster.Watch, Queue: n.queue, MayDot: n.owned.MayDot,
		Hostname: n.cfg.Hostname, Returns: n.seal.references, Resolvers: resolvers, Port: n.cfg.Delivery.Port, Retry: n.cfg.Delivery.Retry,
		AllowLoopback: n.cfg.Delivery.AllowLoopback, Before: n.linked.before, Observe: func(e delivery.Event) { n.uses.settled(e); n.heard.settled(e); n.wrote.settled(e); n.sentAs.settled(e) },
		Log: opt.Log, Registerer: reg,
	})
	if err != nil {
		return fmt.Errorf("prepare delivery: %w", err)
	}
	n.archive = newArchive(n.cfg.Name, filepath.Join(n.cfg.Dir, "journal"), n.cluster.State, opt.Log)
	n.kept = newKeptReports(filepath.Join(n.cfg.Dir, "intake"))
	if n.expiry, err = newExpiry(n.cfg.Name, n.cluster.State, n.queue, n.kept, n.archive, reg, opt.Log); err != nil {
		return err
	}
	n.erasing = newErasing(n, opt.Log)
	n.denials = newDenials(n.cfg.Name, n.cluster, n.sender.Evidence, opt.Log)
	if n.watcher, err = n.newWatcher(reg, opt.Log); err != nil {
		return err
	}
	sub := submission.Config{
		Hostname: n.cfg.Hostname, State: n.cluster.State, Node: n.id, Queue: n.queue, Quota: n.grants,
		MayAnswer: n.owned.MayAct, Ready: n.mayGreet, Signer: n.seal.signer(n.cluster.State),
		Peers: n.submissionPeers(), Reference: n.seal.references, LoggedIn: n.heard.loggedIn,
		Log: opt.Log, Registerer: reg,
	}
	sub.Alike = func(username string) uint64 {
		m := n.seal.marks.Mark(tenant.MarkAddress, "login "+username) // no address, so no ban's mark
		return binary.BigEndian.Uint64(m.Hash[:8])
	}
	if sub.ProxyFrom, err = n.cfg.proxies(); err != nil {
		return err
	}
	if n.cfg.TLS.Cert != "" {
		c, err := n.openCerts(n.cfg.TLS.Dir)
		if err != nil {
			return err
		}
		sub.TLS = c.TLS
	}
	if n.submission, err = submission.New(sub); err != nil {
		return fmt.Errorf("prepare submission: %w", err)
	}
	if err := n.prepareLate(reg); err != nil {
		return err
	}
	return n.prepareIntake(sub.TLS, reg)
}

func (n *Node) listen(*prometheus.Registry, Options) error {
	for _, p := range []struct {
		addrs    []string
		implicit bool
	}{{n.cfg.Submission, false}, {n.cfg.SubmissionTLS, true}} {
		for _, addr := range p.addrs {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return fmt.Errorf("listen for submission: %w", err)
			}
			n.ports = append(n.ports, submission.Listener{Listener: l, Implicit: p.implicit})
		}
	}
	for _, addr := range n.cfg.Intake.Listen {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("listen for intake: %w", err)
		}
		n.intakePorts = append(n.intakePorts, l)
	}
	return nil
}

// id is this node's number in the state; 0 until it is registered.
func (n *Node) id() tenant.NodeID {
	if me := n.cluster.State().NodeByName(n.cfg.Name); me != nil {
		return me.ID
	}
	return 0
}

func (n *Node) propose(ctx context.Context, op tenant.Op) ([]tenant.Event, error) {
	events, _, err := n.cluster.Propose(ctx, tenant.RequestID{}, op)
	return events, err
}

// leaseWait is how long a client, or a dot, waits for the node's right to act.
const leaseWait = 20 * time.Second

var errStarting = errors.New("node is starting")

// mayGreet says whether a client that connects now will be served.
func (n *Node) mayGreet() error {
	select {
	case <-n.cluster.Ready():
	default:
		return errStarting
	}
	// Of several nodes another may own the client's tenant, and a session waits
	// at MAIL for an owner that is taking over.
	if !n.peered() && !n.owned.Settled() {
		return errStarting
	}
	return nil
}
