package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config of a Lab. Zero ports are chosen free; zero values mean the default in
// brackets.
type Config struct {
	World   World
	Addr    netip.Addr // of the DNS server and the API [127.78.0.1]
	DNSPort uint16
	// Views are more resolvers of the same Internet, by the name of who asks
	// them: DNS lists may tell each something else. They have the DNS server's
	// port.
	Views map[string]netip.Addr
	// Forwards are zones that other servers answer, each view asking one of them.
	Forwards map[string][]netip.AddrPort
	APIPort  uint16
	MXPort   uint16 // one port for all exchangers, each on its own IP
	Keep     int    // mails remembered [10,000]
	// Taken, if set, is told of each mail before the exchanger says 250. It is
	// called from many goroutines and must be quick.
	Taken func(*Mail)
	// Spam, if set, has one of the customers send spam from now on, for a while.
	Spam func(username string) error
	Log  *slog.Logger
}

// Lab is a running pretend Internet. New takes the ports, Run serves them.
type Lab struct {
	cfg   Config
	zones *zones
	dns   *nameserver
	views map[string]*nameserver
	mxs   []*exchanger
	api   net.Listener
	ring  *ring
	port  uint16
}

// New takes every port; Close gives them back if Run is never called.
func New(cfg Config) (*Lab, error) {
	if !cfg.Addr.IsValid() {
		cfg.Addr = netip.AddrFrom4([4]byte{127, 78, 0, 1})
	}
	if cfg.Keep <= 0 {
		cfg.Keep = 10_000
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &Lab{cfg: cfg, zones: newZones(), ring: newRing(cfg.Keep)}
	for name, n := range cfg.World.Names {
		if err := l.zones.set(name, &n); err != nil {
			return nil, err
		}
	}
	if err := checkForwards(cfg.Forwards); err != nil {
		return nil, err
	}
	if err := l.zones.addLists(cfg.World.Lists, cfg.World.DomainLists); err != nil {
		return nil, err
	}
	if err := l.listen(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Lab) listen() error {
	err := l.listenViews()
	if err != nil {
		return err
	}
	if l.api, err = net.Listen("tcp", netip.AddrPortFrom(l.cfg.Addr, l.cfg.APIPort).String()); err != nil {
		return fmt.Errorf("listen lab api: %w", err)
	}
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	t := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	return l.listenExchangers(t)
}

// listenViews finds a port that is free at every resolver's address.
func (l *Lab) listenViews() error {
	var last error
	for range 20 {
		l.closeViews()
		if l.dns, last = listenDNS(l.cfg.Addr, l.cfg.DNSPort, l.zones, ""); last != nil {
			return last
		}
		l.dns.forwards = l.cfg.Forwards
		port := netip.MustParseAddrPort(l.dns.addr()).Port()
		for i, view := range slices.Sorted(maps.Keys(l.cfg.Views)) {
			var n *nameserver
			if n, last = listenDNS(l.cfg.Views[view], port, l.zones, view); last != nil {
				break
			}
			n.number, n.forwards = i, l.cfg.Forwards
			l.views[view] = n
		}
		if last == nil || l.cfg.DNSPort != 0 {
			break
		}
	}
	return last
}

func (l *Lab) closeViews() {
	if l.dns != nil {
		l.dns.close()
	}
	for _, n := range l.views {
		n.close()
	}
	l.views = map[string]*nameserver{}
}

// listenExchangers finds a port that is free on every exchanger's IP.
func (l *Lab) listenExchangers(t *tls.Config) error {
	var last error
	for range 20 {
		port := l.cfg.MXPort
		last = nil
		for _, x := range l.cfg.World.Exchangers {
			e, err := listenExchanger(x, port, t, l.taken)
			if err != nil {
				last = err
				break
			}
			if a, ok := e.ln.Addr().(*net.TCPAddr); ok {
				port = uint16(a.Port)
			}
			l.mxs = append(l.mxs, e)
		}
		if last == nil {
			l.port = port
			return nil
		}
		for _, e := range l.mxs {
			e.close()
		}
		l.mxs = nil
		if l.cfg.MXPort != 0 {
			break
		}
	}
	return last
}

func (l *Lab) taken(m *Mail) {
	l.ring.add(m)
	if l.cfg.Taken != nil {
		l.cfg.Taken(m)
	}
}

// Close gives back the ports.
func (l *Lab) Close() {
	l.closeViews()
	if l.api != nil {
		_ = l.api.Close()
	}
	for _, e := range l.mxs {
		e.close()
	}
}

// DNS is the resolver's host:port.
func (l *Lab) DNS() string { return l.dns.addr() }

// View is the host:port of a view's resolver; the DNS server's for a view
// that is not there.
func (l *Lab) View(name string) string {
	if n := l.views[name]; n != nil {
		return n.addr()
	}
	return l.DNS()
}

// API is the host:port of the lab's HTTP API.
func (l *Lab) API() string { return l.api.Addr().String() }

// MXPort is the port of every exchanger.
func (l *Lab) MXPort() uint16 { return l.port }

// Run serves until ctx ends.
func (l *Lab) Run(ctx context.Context) error {
	defer l.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.dns.run(ctx) })
	for _, n := range l.views {
		g.Go(func() error { return n.run(ctx) })
	}
	g.Go(func() error { return l.serveAPI(ctx) })
	for _, e := range l.mxs {
		g.Go(func() error { return e.run(ctx) })
	}
	return g.Wait()
}

// ErrNoExchanger is the error of a mood for a host that is not in the lab.
var ErrNoExchanger = errors.New("no such mail exchanger")

// SetMood changes an exchanger by its name, its IP, or a domain it serves
// under the name mx.DOMAIN.
func (l *Lab) SetMood(mx string, m Mood) error {
	e := l.exchanger(mx)
	if e == nil {
		return fmt.Errorf("set mood of %q: %w", mx, ErrNoExchanger)
	}
	e.mood.Store(&m)
	return nil
}

func (l *Lab) exchanger(mx string) *exchanger {
	for _, e := range l.mxs {
		host, _, _ := net.SplitHostPort(e.ln.Addr().String())
		if strings.EqualFold(e.name, mx) || host == mx || strings.EqualFold(e.name, "mx."+mx) {
			return e
		}
	}
	return nil
}

// SetName changes what the DNS says of a name; nil makes it unknown.
func (l *Lab) SetName(name string, n *Name) error { return l.zones.set(name, n) }

// Messages lists mails and how many there were in all.
func (l *Lab) Messages(f Filter) ([]Mail, uint64) { return l.ring.list(f) }

// Tallies gives each exchanger's counts by name.
func (l *Lab) Tallies() map[string]Tally {
	t := make(map[string]Tally, len(l.mxs))
	for _, e := range l.mxs {
		t[e.name] = e.tally()
	}
	return t
}

// selfSigned makes the certificate the exchangers show.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate: %w", err)
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "mx.lab.test"},
		DNSNames: []string{"mx.lab.test"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
