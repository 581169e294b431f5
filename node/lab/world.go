package lab

import (
	"fmt"
	"net/netip"
)

// World is what a pretend Internet holds at its start.
type World struct {
	Exchangers []Exchanger
	Names      map[string]Name
	// Zones of DNS lists, of addresses and of domains, see Lab.SetListing.
	Lists, DomainLists []string
}

// Usual is the world of the demo: one exchanger a mood, on 127.78.0.10 and up.
func Usual() World { return UsualAt(netip.AddrFrom4([4]byte{127, 78, 0, 10})) }

// UsualAt is the usual world with its exchangers at other addresses: first and
// the fourteen behind it, of which the last stays dead.
//
//	inbox.test      takes everything
//	secure.test     takes everything, over TLS
//	implicit.test   has no MX, only an address
//	sixfirst.test   its IPv6 address is dead, its IPv4 address works
//	spare.test      its first MX is dead, its second works
//	grey.test       greylists: 451 at first, taken after 5 s
//	slow.test       a tarpit: every reply takes a second
//	hangup.test     hangs up after the dot at first, takes nothing then
//	forgetful.test  takes the message and hangs up after the dot at first
//	busy.test       451 to everything
//	full.test       452 4.2.2 mailbox full
//	nobody.test     550 5.1.1 no such user
//	blocked.test    550 5.7.1 refuses our address
//	blackhole.test  connects and never says a word
//	nullmx.test     takes no mail at all (null MX)
//	servfail.test   its DNS fails
//	gone.test       does not exist
func UsualAt(first netip.Addr) World {
	w := World{Names: map[string]Name{}}
	next := first
	add := func(domain, mood string) {
		m, err := ParseMood(mood)
		if err != nil {
			return
		}
		w.Add(domain, next, m)
		next = next.Next()
	}
	add("inbox.test", "fine")
	add("secure.test", "tls")
	add("implicit.test", "fine")
	add("sixfirst.test", "fine")
	add("spare.test", "fine")
	add("grey.test", "greylist")
	add("slow.test", "tarpit")
	add("hangup.test", "hangup")
	add("forgetful.test", "forgetful")
	add("busy.test", "tempfail")
	add("full.test", "full")
	add("nobody.test", "reject")
	add("blocked.test", "blocked")
	add("blackhole.test", "blackhole")

	host := w.Names["mx.implicit.test"]
	delete(w.Names, "mx.implicit.test")
	w.Names["implicit.test"] = host
	six := w.Names["mx.sixfirst.test"]
	six.Records = append(six.Records, "AAAA ::1") // nobody listens there
	w.Names["mx.sixfirst.test"] = six
	w.Names["spare.test"] = Name{Records: []string{"MX 10 dead.spare.test.", "MX 20 mx.spare.test."}}
	w.Names["dead.spare.test"] = Name{Records: []string{"A " + next.String()}} // nobody listens there
	w.Names["nullmx.test"] = Name{Records: []string{"MX 0 ."}}
	w.Names["servfail.test"] = Name{RCode: "SERVFAIL"}
	w.Names["gone.test"] = Name{RCode: "NXDOMAIN"}
	return w
}

// Add gives domain an exchanger of its own at addr.
func (w *World) Add(domain string, addr netip.Addr, m Mood) {
	host := "mx." + domain
	w.Exchangers = append(w.Exchangers, Exchanger{Name: host, Addr: addr, Mood: m})
	w.Names[domain] = Name{Records: []string{"MX 10 " + host + "."}}
	w.Names[host] = Name{Records: []string{"A " + addr.String()}}
}

// AddSource gives an outbound IP its name forth and back.
func (w *World) AddSource(ip netip.Addr, ehlo string) {
	w.Names[ReverseName(ip)] = Name{Records: []string{"PTR " + ehlo + "."}}
	kind := "A"
	if ip.Is6() {
		kind = "AAAA"
	}
	n := w.Names[ehlo]
	n.Records = append(n.Records, kind+" "+ip.String())
	w.Names[ehlo] = n
}

// AddSender makes a tenant's domain: its mailboxes lie at host, SPF names the
// networks it sends from, and it has a DMARC record.
func (w *World) AddSender(domain, host string, networks ...netip.Prefix) {
	spf := `TXT "v=spf1`
	for _, n := range networks {
		spf += fmt.Sprintf(" ip%d:%s", map[bool]int{true: 4, false: 6}[n.Addr().Is4()], n)
	}
	w.Names[domain] = Name{Records: []string{"MX 10 " + host + ".", spf + ` -all"`}}
	w.Names["_dmarc."+domain] = Name{Records: []string{`TXT "v=DMARC1; p=none"`}}
}
