package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/tenant"
)

// judge looks at what the file says by itself.
func (c *Config) judge(at lines) []Finding {
	j := &judgement{at: at}
	if !tenant.ValidName(c.Name) {
		j.bad("name", "write a-z, 0-9 and hyphens, 63 at most", "%q is no node name", c.Name)
	}
	if c.Dir == "" {
		j.bad("dir", "write where the node keeps its state", "is empty")
	}
	switch {
	case c.Hostname == "":
		j.bad("hostname", "write the name clients see, such as smtp.example.net", "is missing")
	case !tenant.ValidHost(c.Hostname):
		j.bad("hostname", "write a lower-case name such as smtp.example.net", "%q is no host name", c.Hostname)
	}
	c.judgePorts(j)
	for i, text := range c.ProxyFrom {
		if _, err := proxyNetwork(text); err != nil {
			j.bad(fmt.Sprintf("proxy_from[%d]", i), errNoProxy.Error(), "%q names no balancer", text)
		}
	}
	for i, d := range c.Intake.Domains {
		if !tenant.ValidHost(d) {
			j.bad(fmt.Sprintf("intake.domains[%d]", i), "write a lower-case name such as bounces.example.net", "%q is no domain", d)
		}
	}
	for i, a := range c.Intake.Traps {
		if !tenant.ValidAddress(a) {
			j.bad(fmt.Sprintf("intake.traps[%d]", i), "write a lower-case address such as jane@old.example.net", "%q is no address", a)
		}
	}
	c.judgePeer(j)
	c.judgeTLS(j)
	for i, r := range c.Resolvers {
		if _, err := resolverAddr(r); err != nil {
			j.bad(fmt.Sprintf("resolvers[%d]", i), errNoResolver.Error(), "%q is no resolver", r)
		}
	}
	for i, r := range c.DNSBL.Resolvers {
		if _, err := resolverAddr(r); err != nil {
			j.bad(fmt.Sprintf("dnsbl.resolvers[%d]", i), errNoResolver.Error(), "%q is no resolver", r)
		}
	}
	if len(c.Resolvers) == 0 {
		j.bad("resolvers", "name at least one", "no resolver: no mail could leave")
	}
	if c.Delivery.Port == 0 {
		j.bad("delivery.port", "25 is what mail servers listen on", "0 is no port")
	}
	if c.Delivery.AllowLoopback {
		j.doubt("delivery.allow_loopback", "set it to false on a node that sends real mail", "recipients' domains may name services of this machine")
	}
	for i, d := range c.Delivery.Retry {
		if d < time.Second || d > 7*24*time.Hour {
			j.bad(fmt.Sprintf("delivery.retry[%d]", i), "write a time from 1s to 168h", "%s is no wait", d)
		}
	}
	if g := c.Queue.Grace; g < time.Second || g > 24*time.Hour {
		j.bad("queue.grace", "write a time from 1s to 24h", "%s is no wait", g)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		j.bad("log.level", "write debug, info, warn or error", "%q is no level", c.Log.Level)
	}
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		j.bad("log.format", "write text or json", "%q is no format", c.Log.Format)
	}
	return j.found
}

type judgement struct {
	at    lines
	found []Finding
}

func (j *judgement) bad(key, mend, format string, args ...any) {
	j.found = append(j.found, Finding{Line: j.line(key), Key: key, Text: fmt.Sprintf(format, args...), Mend: mend})
}

func (j *judgement) doubt(key, mend, format string, args ...any) {
	j.bad(key, mend, format, args...)
	j.found[len(j.found)-1].Warning = true
}

// line is where a key stands, or the list or section it would stand in.
func (j *judgement) line(key string) int {
	for key != "" {
		if n, ok := j.at[key]; ok {
			return n
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return 0
}

// port is one address the node listens on.
type port struct{ key, addr string }

func (c *Config) ports() []port {
	var all []port
	for i, a := range c.Submission {
		all = append(all, port{fmt.Sprintf("submission[%d]", i), a})
	}
	for i, a := range c.SubmissionTLS {
		all = append(all, port{fmt.Sprintf("submission_tls[%d]", i), a})
	}
	for i, a := range c.Intake.Listen {
		all = append(all, port{fmt.Sprintf("intake.listen[%d]", i), a})
	}
	all = append(all, port{"admin", c.Admin})
	if c.Metrics != "" {
		all = append(all, port{"metrics", c.Metrics})
	}
	if c.Peer.Listen != "" {
		all = append(all, port{"peer.listen", c.Peer.Listen})
	}
	if c.Peer.Gossip != "" {
		all = append(all, port{"peer.gossip", c.Peer.Gossip})
	}
	return all
}

// judgePeer looks at what the node's place among others needs.
func (c *Config) judgePeer(j *judgement) {
	p := c.Peer
	if p.Listen == "" {
		for _, x := range []port{{"peer.advertise", p.Advertise}, {"peer.gossip", p.Gossip}} {
			if x.addr != "" {
				j.bad(x.key, "set peer.listen, or leave the whole of peer out for a cluster of one", "there is no peer port")
			}
		}
		return
	}
	if c.Bootstrap {
		j.bad("bootstrap", "leave it out: postern init forms the cluster, postern join brings in the other nodes", "does not go with peer.listen")
	}
	if err := isReachable(p.Advertise); err != nil {
		j.bad("peer.advertise", "write the HOST:PORT the other nodes dial, such as 192.0.2.1:8472", "%q is no address others can dial: %s", p.Advertise, err)
	}
}

// isReachable judges an address that others are told: a name or an address of
// one machine, and a port.
func isReachable(addr string) error {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("no port in it")
	}
	if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q is no port", p)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("%s is not one machine", host)
		}
	}
	if tenant.ValidPeer(addr) { // what the cluster's state takes
		return nil
	}
	return errors.New("it is neither a host name nor an IP address without a zone, with a port behind it")
}

func (c *Config) judgePorts(j *judgement) {
	if len(c.Submission)+len(c.SubmissionTLS) == 0 {
		j.bad("submission", "name at least one address", "no port for tenants")
	}
	seen := map[string]string{}
	for _, p := range c.ports() {
		if err := isListen(p.addr); err != nil {
			j.bad(p.key, "write HOST:PORT or :PORT; HOST is an address of this machine", "%q is no address: %s", p.addr, err)
			continue
		}
		if other, twice := seen[p.addr]; twice && !strings.HasSuffix(p.addr, ":0") {
			j.bad(p.key, "choose another port", "%s is taken by %s already", p.addr, other)
		}
		seen[p.addr] = p.key
	}
}

func (c *Config) judgeTLS(j *judgement) {
	if c.TLS.Dir != "" && c.TLS.Cert == "" {
		j.bad("tls.dir", "set tls.cert and tls.key: clients that ask for no name of the directory's get it", "there is no certificate of the node's own")
	}
	switch {
	case c.TLS.Cert == "" && c.TLS.Key == "":
		if len(c.SubmissionTLS) > 0 {
			j.bad("tls", "set tls.cert and tls.key, or submission_tls: []", "no certificate for submission_tls")
		} else {
			j.doubt("tls", "set tls.cert and tls.key", "no certificate: clients cannot log in, only allowed networks can send")
		}
		if c.AdminTLS {
			j.bad("admin_tls", "set tls.cert and tls.key", "no certificate for it")
		}
	case c.TLS.Cert == "":
		j.bad("tls.cert", "name the PEM file of the certificate", "is missing beside tls.key")
	case c.TLS.Key == "":
		j.bad("tls.key", "name the PEM file of the key", "is missing beside tls.cert")
	}
	if host, _, err := net.SplitHostPort(c.Admin); err == nil && !c.AdminTLS {
		if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
			j.doubt("admin", "set admin_tls: true, or listen on 127.0.0.1", "tokens would cross the network unencrypted")
		}
	}
}

func isListen(addr string) error {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("no port in it")
	}
	if n, err := strconv.ParseUint(p, 10, 16); err != nil || n > 65535 {
		return fmt.Errorf("%q is no port", p)
	}
	if host == "" || host == "localhost" {
		return nil
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return fmt.Errorf("%q is no IP address", host)
	}
	return nil
}
