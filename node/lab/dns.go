package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Name is what the lab's DNS says of one name. The zero value is an empty
// answer for a name that exists.
type Name struct {
	// Records without owner and class: "MX 10 mx.inbox.test.", "A 127.78.0.10".
	Records []string `json:"records,omitempty"`
	// RCode instead of an answer: NXDOMAIN, SERVFAIL, REFUSED.
	RCode string `json:"rcode,omitempty"`
	// TTL in seconds; 0 means 5.
	TTL uint32 `json:"ttl,omitempty"`
	// Silent leaves queries without any answer.
	Silent bool `json:"silent,omitempty"`
	// Truncated sends askers over UDP away to TCP.
	Truncated bool `json:"truncated,omitempty"`
}

const (
	defaultTTL = 5
	maxNames   = 200_000
	maxRecords = 200 // of one name
	maxChain   = 8   // CNAMEs followed for one answer
)

// parsedName is a Name ready to answer.
type parsedName struct {
	rrs       []dns.RR
	rcode     int
	silent    bool
	truncated bool
}

// zones is the whole DNS of the lab. What it does not know does not exist.
type zones struct {
	mu    sync.RWMutex // guards what follows
	names map[string]parsedName
	below map[string]int // how many names lie under this one: empty non-terminals
	lists lists
}

func newZones() *zones {
	return &zones{names: map[string]parsedName{}, below: map[string]int{}}
}

func canonical(name string) string { return dns.CanonicalName(strings.TrimSpace(name)) }

// set replaces what is said of a name; nil removes it.
func (z *zones) set(name string, n *Name) error {
	key := canonical(name)
	if _, ok := dns.IsDomainName(key); !ok {
		return fmt.Errorf("set name: %q is no domain name", name)
	}
	var p parsedName
	if n != nil {
		var err error
		if p, err = parseName(key, *n); err != nil {
			return err
		}
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	_, had := z.names[key]
	switch {
	case n == nil && had:
		delete(z.names, key)
		z.count(key, -1)
	case n != nil:
		if !had && len(z.names) >= maxNames {
			return errors.New("set name: too many names")
		}
		if !had {
			z.count(key, +1)
		}
		z.names[key] = p
	}
	return nil
}

// count keeps below for every parent of name. The caller holds mu.
func (z *zones) count(name string, d int) {
	for off, end := dns.NextLabel(name, 0); !end; off, end = dns.NextLabel(name, off) {
		up := name[off:]
		if z.below[up] += d; z.below[up] == 0 {
			delete(z.below, up)
		}
	}
}

func parseName(key string, n Name) (parsedName, error) {
	p := parsedName{silent: n.Silent, truncated: n.Truncated}
	if n.RCode != "" {
		code, ok := dns.StringToRcode[strings.ToUpper(n.RCode)]
		if !ok {
			return p, fmt.Errorf("set name %s: unknown rcode %q", key, n.RCode)
		}
		p.rcode = code
	}
	if len(n.Records) > maxRecords {
		return p, fmt.Errorf("set name %s: more than %d records", key, maxRecords)
	}
	ttl := n.TTL
	if ttl == 0 {
		ttl = defaultTTL
	}
	for _, rec := range n.Records {
		rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s", key, ttl, rec))
		if err != nil || rr == nil {
			return p, fmt.Errorf("set name %s: read record %q: %v", key, rec, err)
		}
		p.rrs = append(p.rrs, rr)
	}
	return p, nil
}

// answer makes the reply to q as a view hears it, or nil for silence.
func (z *zones) answer(q *dns.Msg, udp bool, view string) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		m.Rcode = dns.RcodeNotImplemented
		return m
	}
	size := dns.MinMsgSize
	if o := q.IsEdns0(); o != nil {
		size = max(size, min(int(o.UDPSize()), 4096))
		m.SetEdns0(1232, false)
	}
	qu := q.Question[0]
	name := canonical(qu.Name)
	z.mu.RLock()
	defer z.mu.RUnlock()
	for range maxChain {
		p, known := z.lookList(view, name)
		if !known {
			p, known = z.look(name)
		}
		if p.silent {
			return nil
		}
		if p.truncated && udp {
			m.Truncated, m.Answer = true, nil
			return m
		}
		if p.rcode != 0 || !known {
			m.Rcode = p.rcode
			break
		}
		next := ""
		for _, rr := range p.rrs {
			h := rr.Header()
			if h.Rrtype == qu.Qtype || qu.Qtype == dns.TypeANY || h.Rrtype == dns.TypeCNAME {
				rr = dns.Copy(rr)
				rr.Header().Name = dns.Fqdn(name)
				m.Answer = append(m.Answer, rr)
			}
			if c, ok := rr.(*dns.CNAME); ok && qu.Qtype != dns.TypeCNAME && qu.Qtype != dns.TypeANY {
				next = canonical(c.Target)
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	if len(m.Answer) == 0 && (m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError) {
		m.Ns = []dns.RR{negative()}
	}
	if udp {
		m.Truncate(size)
	}
	return m
}

// look finds a name, or the wildcard above it. The caller holds mu.
func (z *zones) look(name string) (parsedName, bool) {
	if p, ok := z.names[name]; ok {
		return p, true
	}
	if z.below[name] > 0 {
		return parsedName{}, true
	}
	for off, end := dns.NextLabel(name, 0); !end; off, end = dns.NextLabel(name, off) {
		if p, ok := z.names["*."+name[off:]]; ok {
			return p, true
		}
		if _, ok := z.names[name[off:]]; ok || z.below[name[off:]] > 0 {
			break // the closest encloser ends the search (RFC 4592 §3.3.1)
		}
	}
	return parsedName{rcode: dns.RcodeNameError}, false
}

func negative() dns.RR {
	return &dns.SOA{
		Hdr:  dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: defaultTTL},
		Ns:   "ns.lab.test.",
		Mbox: "dns.lab.test.", Serial: 1, Refresh: 60, Retry: 60, Expire: 600, Minttl: defaultTTL,
	}
}

// nameserver answers from zones over UDP and TCP on one port.
type nameserver struct {
	z    *zones
	view string // who asks here
	tcp  net.Listener
	udp  net.PacketConn

	number   int                         // of the view
	forwards map[string][]netip.AddrPort // zones that others answer
}

// listenDNS takes one port for both transports; port 0 picks a free one.
func listenDNS(ip netip.Addr, port uint16, z *zones, view string) (*nameserver, error) {
	var last error
	for range 20 {
		l, err := net.Listen("tcp", netip.AddrPortFrom(ip, port).String())
		if err != nil {
			return nil, fmt.Errorf("listen dns: %w", err)
		}
		u, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return &nameserver{z: z, view: view, tcp: l, udp: u}, nil
		}
		last = err
		_ = l.Close()
		if port != 0 {
			break
		}
	}
	return nil, fmt.Errorf("listen dns: %w", last)
}

func (n *nameserver) addr() string { return n.tcp.Addr().String() }

func (n *nameserver) close() {
	_ = n.tcp.Close()
	_ = n.udp.Close()
}

// run serves until ctx ends.
func (n *nameserver) run(ctx context.Context) error {
	serve := func(w dns.ResponseWriter, q *dns.Msg) {
		_, udp := w.RemoteAddr().(*net.UDPAddr)
		if server, ok := n.serverFor(q); ok {
			_ = w.WriteMsg(forward(ctx, q, server))
			return
		}
		if m := n.z.answer(q, udp, n.view); m != nil {
			_ = w.WriteMsg(m)
		}
	}
	servers := []*dns.Server{
		{Listener: n.tcp, Handler: dns.HandlerFunc(serve), ReadTimeout: 10 * time.Second, WriteTimeout: 5 * time.Second},
		{PacketConn: n.udp, Handler: dns.HandlerFunc(serve)},
	}
	errs := make(chan error, len(servers))
	started := make(chan struct{}, len(servers))
	for _, s := range servers {
		s.NotifyStartedFunc = func() { started <- struct{}{} }
		go func() { errs <- s.ActivateAndServe() }()
	}
	// Shutting down a server that has not started yet is an error of the
	// library and would leave it running.
	var first error
	pending := len(servers)
	for up := 0; up < len(servers) && pending == len(servers); {
		select {
		case <-started:
			up++
		case first = <-errs:
			pending--
		}
	}
	if pending == len(servers) {
		select {
		case <-ctx.Done():
		case first = <-errs:
			pending--
		}
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	for _, s := range servers {
		_ = s.ShutdownContext(stop)
	}
	n.close()
	for ; pending > 0; pending-- {
		if err := <-errs; first == nil && ctx.Err() == nil {
			first = err
		}
	}
	if first != nil && ctx.Err() == nil {
		return fmt.Errorf("serve dns: %w", first)
	}
	return nil
}

// ReverseName is the name under which an address has its PTR.
func ReverseName(ip netip.Addr) string {
	s, err := dns.ReverseAddr(ip.String())
	if err != nil {
		return ""
	}
	return s
}
