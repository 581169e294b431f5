package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/node/lab"
)

// An account of the demo that sends spam does what spammers do: half of its
// recipients do not exist, some are the list's traps, and people complain. Of
// enough mail in its traps the lab's lists name the IP, and what is advertised.
const (
	trapDomain = "trap.test"
	// advertised is where the links of spam lead.
	advertised = "pills.test"
	// trapsList is how many messages to traps list the IP they came from.
	trapsList = 15

	spamMessages = 1000
	spamRate     = 40 // a second
	spamMost     = 30 * time.Second
	// complainOf is of how many messages that arrive one is complained about.
	complainOf = 8
)

func spamDomains() []string {
	return []string{
		"nobody.test", "inbox.test", "nobody.test", "secure.test", "nobody.test",
		trapDomain, "nobody.test", "inbox.test", "nobody.test", "secure.test",
	}
}

// spamming is what the demo's spammer does and what comes of it.
type spamming struct {
	who        chan demoTenant
	complaints chan *lab.Mail

	mu      sync.Mutex     // guards what follows
	senders []demoTenant   // who may be named; nobody before the demo has begun
	running string         // the address that sends spam now
	arrived int            // of its messages
	traps   map[string]int // mails in traps by source
	runs    []lab.RunID    // marks of what was sent so far
}

func newSpamming() spamming {
	return spamming{who: make(chan demoTenant, 1), complaints: make(chan *lab.Mail, 16), traps: map[string]int{}}
}

// inviteSpam says how to see the cause of a listing found.
func (d *demo) inviteSpam() {
	i := len(d.dir.state.Tenants) - 2
	if len(d.lists) > 0 || len(d.nodes) == 1 || i < 0 {
		return
	}
	say := d.screen.say
	say("Or let one customer's second account send spam, and see who is held for it:")
	say("  curl -X PUT http://%s/spam/%s", d.lab.API(), d.dir.state.Tenants[min(i, 4)].Daily)
	say("")
}

// startSpam has an account of the background send spam.
func (d *demo) startSpam(username string) error {
	d.spam.mu.Lock()
	defer d.spam.mu.Unlock()
	all := d.spam.senders
	if len(all) == 0 {
		return errors.New("the demo has not begun yet")
	}
	i := slices.IndexFunc(all, func(t demoTenant) bool { return strings.EqualFold(t.Daily, username) })
	if i < 0 {
		return fmt.Errorf("%s is none of the accounts that can: daily@ and a tenant's domain, such as %s", username, all[0].Daily)
	}
	if d.spam.running != "" {
		return fmt.Errorf("%s sends spam just now", d.spam.running)
	}
	d.spam.running, d.spam.arrived = all[i].Daily, 0
	clear(d.spam.traps)  // who was cleaned since may be listed again
	d.spam.who <- all[i] // there is room: nobody is running
	return nil
}

// sendSpam sends for whoever was named, until ctx ends.
func (d *demo) sendSpam(ctx context.Context) error {
	d.spam.mu.Lock()
	d.spam.senders = slices.Clone(d.dir.state.Tenants)
	d.spam.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-d.spam.who:
			if err := d.spamOf(ctx, t); err != nil {
				return err
			}
			d.spam.mu.Lock()
			d.spam.running = ""
			d.spam.mu.Unlock()
		}
	}
}

func (d *demo) spamOf(parent context.Context, t demoTenant) error {
	ctx, cancel := context.WithTimeout(parent, spamMost)
	defer cancel()
	d.screen.say("%s sends spam, half of it to people who do not exist.", t.Daily)
	var addrs []string
	for _, m := range d.nodes {
		addrs = append(addrs, hostPort(m.ports.Submission))
	}
	spammer := lab.Sender{Username: t.Daily, Password: t.DailyKey, From: t.Daily}
	for _, addr := range addrs { // some may be dead
		if r, err := lab.Probe(ctx, addr, d.roots, spammer); err == nil && r.Code/100 == 5 {
			d.sayFolded("%s is refused: %d %s", t.Daily, r.Code, r.Text)
			return nil
		}
	}
	refused := ""
	load := lab.Load{
		Addrs: addrs, TLS: d.roots, Mailbox: "victim", Line: "https://" + advertised + "/cheap", Senders: []lab.Sender{spammer},
		Domains: spamDomains(), Size: 2000, Count: spamMessages, Rate: spamRate,
		Timeout: 10 * time.Second, Backoff: time.Second,
		Sent: func(s *lab.Submission) {
			d.sent(s)
			if s.Reply.Code/100 == 5 {
				refused = fmt.Sprintf("%d %s", s.Reply.Code, s.Reply.Text)
				cancel()
			}
		},
	}
	if err := d.sendMarked(ctx, &load); err != nil || refused == "" {
		return err
	}
	d.sayFolded("%s is refused now: %s", t.Daily, refused)
	return d.sendOn(parent, t, load)
}

// sendOn sends some messages of the customer's other account.
func (d *demo) sendOn(ctx context.Context, t demoTenant, load lab.Load) error {
	d.screen.say("%s of the same customer sends on:", t.Username)
	load.Senders = []lab.Sender{{Username: t.Username, Password: t.Password, From: t.Username}}
	load.Line, load.Mailbox, load.Domains, load.Count, load.Rate, load.PerConn, load.Sent = "", "friend", []string{"inbox.test"}, 3, 1, 1, d.sent
	return d.sendMarked(ctx, &load)
}

// sendMarked sends a load whose mail the ledger will know again.
func (d *demo) sendMarked(ctx context.Context, load *lab.Load) error {
	load.Run = lab.NewRunID()
	load.Mailbox += fmt.Sprintf("-%x-", load.Run[:2]) // no list of earlier runs has them
	d.spam.mu.Lock()
	d.spam.runs = append(d.spam.runs, load.Run)
	d.spam.mu.Unlock()
	if _, err := load.Send(ctx); err != nil {
		return fmt.Errorf("send spam: %w", err)
	}
	return nil
}

// booked enters mail of a spammer's into the ledger; false when it is not.
func (d *demo) booked(m *lab.Mail) bool {
	d.spam.mu.Lock()
	runs := slices.Clone(d.spam.runs)
	d.spam.mu.Unlock()
	return slices.ContainsFunc(runs, func(r lab.RunID) bool { return lab.Book(d.ledger, r, m) })
}

// noteSpam is told of each mail that arrives: traps count for the list, and some
// of whoever gets spam complain.
func (d *demo) noteSpam(m *lab.Mail) {
	trapped := slices.ContainsFunc(m.Rcpts, func(r string) bool { return strings.HasSuffix(r, "@"+trapDomain) })
	d.spam.mu.Lock()
	list := false
	if trapped {
		d.spam.traps[m.Source]++
		list = d.spam.traps[m.Source] == trapsList
	}
	complain := false
	if !trapped && strings.EqualFold(m.From, d.spam.running) {
		d.spam.arrived++
		complain = d.spam.arrived%complainOf == 0
	}
	d.spam.mu.Unlock()
	if list {
		d.listTrapped(m.Source)
	}
	if complain {
		select {
		case d.spam.complaints <- m:
		default: // enough of them wait
		}
	}
}

// listTrapped has the lab's lists name an IP, and what its mail advertises. The
// last node's resolver is refused by the IP's list, as public ones are: its word
// is not counted.
func (d *demo) listTrapped(source string) {
	if len(d.lists) > 0 {
		return
	}
	l := lab.Listing{Zone: demoHeavyList}
	if n := len(d.nodes); n >= 3 {
		l.Views = map[string]string{nodeNamed(n - 1): "127.255.255.254"}
	}
	if err := errors.Join(d.lab.SetListing(source, l), d.lab.SetListing(advertised, lab.Listing{})); err != nil {
		d.screen.say("%v", err)
		return
	}
	d.sayFolded("%s brought %d messages into traps: %s lists it, and %s lists %s, which they advertise.",
		source, trapsList, demoHeavyList, demoDomainList, advertised)
	d.screen.say("  all of it: bin/postern listing show %s", source)
	d.screen.say("  cleaned by: curl -X DELETE http://%s/listing/%s", d.lab.API(), source)
}

// complain brings complaints to a node that takes them, until ctx ends. What no
// node takes is lost: providers do not ask again.
func (d *demo) complain(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-d.spam.complaints:
			for _, n := range d.nodes {
				if lab.Complain(ctx, hostPort(n.ports.Intake), "abuse@smtp."+demoDomain, m) == nil {
					break
				}
			}
		}
	}
}
