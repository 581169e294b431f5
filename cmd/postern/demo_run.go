package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"postern/node/admin"
	"postern/node/lab"
)

// demo is one running demo.
type demo struct {
	opt    demoOptions
	dir    *demoDir
	routes []demoRoute
	nets   []netip.Prefix
	lists  []demoList
	screen *screen
	facts  io.Writer // of --json; nil: none

	lab     *lab.Lab
	ledger  *lab.Ledger
	watched watched
	spam    spamming
	mark    lab.RunID // of the background traffic
	roots   *tls.Config
	nodes   []*member
	token   string
	api     *admin.Client // of the first node

	mu     sync.Mutex // guards what follows, and each node's process
	broken *breakdown // the last node that died, until its tenants send again
	led    string     // who led last
	// The account with the small plan: what it had used before, and what of it
	// arrived since.
	small        string
	usedBefore   int
	arrivedSmall int
	places       map[string]demoPlace // by tenant
	stale        bool                 // demo.json says something else
	inQueue      map[string]int       // recipients in the queue by tenant, background included
	queued       int64                // recipients of people's mail in the queue
}

// demoPlace is where a tenant is now.
type demoPlace struct {
	home, backup, owner, source string
}

// remembered recipients for finding doubles: two to four hundred thousand.
const ledgerMemory = 200_000

func (d *demo) run(ctx context.Context) error {
	if err := d.prepare(d.taken); err != nil {
		return err
	}
	// The lab outlives ctx: the node's last dots still need their replies.
	labCtx, endLab := context.WithCancel(context.WithoutCancel(ctx))
	var labErr error
	labDone := make(chan struct{})
	go func() {
		defer close(labDone)
		labErr = d.lab.Run(labCtx)
	}()
	err := d.live(ctx, labDone)
	endLab()
	<-labDone
	err = errors.Join(err, labErr)
	d.screen.end(d.counts())
	d.screen.say("The demo has ended. Its state stays in %s", d.dir.path)
	d.screen.say("Again: postern demo --dir %s", d.dir.path)
	return err
}

// prepare makes everything that needs no process: certificates, configuration
// and the pretend Internet's ports. taken is told of every mail that arrives.
func (d *demo) prepare(taken func(*lab.Mail)) error {
	d.places, d.inQueue = map[string]demoPlace{}, map[string]int{}
	d.watched.mails = map[lab.Key]sentMail{}
	d.mark = lab.NewRunID()
	d.spam = newSpamming()
	d.ledger = lab.NewLedger(ledgerMemory)
	p := d.dir.state.Ports
	var err error
	cfg := lab.Config{
		World: demoWorld(len(d.dir.state.Nodes)), Addr: demoLab, DNSPort: p.DNS, APIPort: p.LabAPI, MXPort: p.MX, Taken: taken, Spam: d.startSpam,
		Log: slog.New(slog.DiscardHandler),
	}
	d.addLists(&cfg)
	if d.lab, err = lab.New(cfg); err != nil {
		return fmt.Errorf("start lab: %w (the ports of a demo stay; is another one running?)", err)
	}
	if err := d.makeMembers(); err != nil {
		return errors.Join(err, d.closeLab())
	}
	pem, err := os.ReadFile(d.dir.file("ca.pem"))
	if err != nil {
		return errors.Join(fmt.Errorf("read CA: %w", err), d.closeLab())
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	d.roots = &tls.Config{RootCAs: pool, ServerName: demoHost.String(), MinVersion: tls.VersionTLS12}
	return nil
}

func (d *demo) closeLab() error {
	d.lab.Close()
	return nil
}

// live runs from the nodes' start to their end.
func (d *demo) live(ctx context.Context, labDone <-chan struct{}) error {
	defer func() {
		for _, m := range d.nodes {
			m.api.Close()
		}
	}()
	watch, err := d.newMailWatch()
	if err != nil {
		return err
	}
	defer watch.close()
	defer d.stopAll()
	if err := d.open(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	d.welcome(ctx)
	if err := d.tellFacts(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		select {
		case <-labDone:
			return errors.New("run lab: it ended")
		case <-ctx.Done():
			return nil
		}
	})
	for _, m := range d.nodes {
		g.Go(func() error { return d.supervise(ctx, m) })
	}
	for _, part := range []func(context.Context) error{d.sendTraffic, watch.run, d.audit, d.sendSpam, d.complain, d.follow, d.foot, d.watchBreakdown, d.watchListings} {
		g.Go(func() error { return part(ctx) })
	}
	err = g.Wait()
	d.screen.say("Ending %s ...", some(len(d.nodes), "node"))
	return err
}

// open starts the nodes, waits until each takes mail of every tenant, and
// tells the world.
func (d *demo) open(ctx context.Context) error {
	if err := d.startAll(ctx); err != nil {
		return err
	}
	if err := d.provision(ctx); err != nil {
		return err
	}
	for _, m := range d.nodes {
		for _, t := range d.dir.state.Tenants {
			if err := d.waitAccepting(ctx, m, t); err != nil {
				return err
			}
		}
	}
	d.noteUse(ctx)
	return d.writeJSON(ctx)
}

// waitAccepting waits until a node answers for a tenant. A hold or a quota
// that is used up is an answer, too.
func (d *demo) waitAccepting(ctx context.Context, m *member, t demoTenant) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	from := lab.Sender{Username: t.Daily, Password: t.DailyKey, From: t.Daily}
	for {
		r, err := lab.Probe(ctx, hostPort(m.ports.Submission), d.roots, from)
		if err == nil && r.Code != 421 && r.Code != 451 && r.Code != 454 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s may send at %s: %d %s %w", t.Name, m.name, r.Code, r.Text, errors.Join(err, ctx.Err()))
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// supervise reports a node that died and starts it again where that is wanted.
func (d *demo) supervise(ctx context.Context, m *member) error {
	for {
		n := d.current(m)
		select {
		case <-ctx.Done():
			return nil
		case <-n.ended:
		}
		died := time.Now()
		how := "exit status 0"
		if n.err != nil {
			how = n.err.Error()
		}
		d.screen.say("node %s (pid %d) has ended: %s", m.name, n.pid, how)
		d.setNode(m, nil)
		d.noteBreakdown(m, died)
		if err := d.writeJSON(ctx); err != nil {
			return err
		}
		if d.opt.restart == 0 {
			if len(d.nodes) == 1 {
				d.screen.say("It stays so (no --restart). To start it again: end the demo and run")
				d.screen.say("  postern demo --dir %s", d.dir.path)
			} else { // ended by hand; it is a node like any other
				d.screen.say("It stays so (no --restart). To start it again:")
				d.screen.say("  postern serve --config %s", m.config)
			}
			<-ctx.Done()
			return nil
		}
		again, err := d.revive(ctx, m)
		if err != nil || again == nil {
			return err
		}
	}
}

// revive starts a node anew after --restart, and once more if it dies before
// it is ready. nil without an error means that ctx ended.
func (d *demo) revive(ctx context.Context, m *member) (*nodeProcess, error) {
	for range 10 {
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(d.opt.restart):
		}
		n, err := startNode(m.config, m.logFile)
		if err != nil {
			return nil, err
		}
		d.setNode(m, n)
		err = n.waitReady(ctx, hostPort(m.ports.Admin))
		if err == nil {
			d.screen.say("node %s runs again, pid %d", m.name, n.pid)
			return n, d.writeJSON(ctx)
		}
		if ctx.Err() != nil {
			return nil, nil
		}
		d.screen.say("%v", err)
		select {
		case <-n.ended:
		default:
			_ = n.stop()
		}
	}
	return nil, fmt.Errorf("restart node %s: it died ten times before it was ready", m.name)
}
