package node

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Config is one node's configuration file: YAML, strict.
type Config struct {
	// Name is the node's name in the cluster [the machine's host name].
	Name string `yaml:"name"`
	// Dir holds the raft log, the queue and the operator's token; 0700
	// [/var/lib/postern].
	Dir string `yaml:"dir"`
	// Hostname greets submission clients; neutral. Required.
	Hostname string `yaml:"hostname"`
	// Bootstrap forms a cluster of one in an empty Dir. Nodes with a peer port
	// are formed by postern init and postern join instead.
	Bootstrap bool `yaml:"bootstrap"`

	// Peer is how the nodes of a cluster reach each other; without Listen the
	// node is a cluster of one. Certificates lie in DIR/pki.
	Peer struct {
		Listen    string `yaml:"listen"`    // host:port of the peer port
		Advertise string `yaml:"advertise"` // host:port the other nodes dial
		Gossip    string `yaml:"gossip"`    // host:port, TCP and UDP; "": no hints
	} `yaml:"peer"`

	Submission    []string `yaml:"submission"`     // host:port with STARTTLS [:587, :2525]
	SubmissionTLS []string `yaml:"submission_tls"` // host:port with TLS from the start [:465]
	// ProxyFrom are the addresses and networks of balancers, whose connections to
	// the submission ports begin with a PROXY header, version 1 or 2.
	ProxyFrom []string `yaml:"proxy_from"`
	// Intake takes reports about mail long sent, on port 25: late bounces,
	// complaints, abuse@. Without Listen none are taken.
	Intake struct {
		Listen  []string `yaml:"listen"`  // host:port
		Domains []string `yaml:"domains"` // of ours besides hostname, for return paths, abuse@ and fbl@
		Traps   []string `yaml:"traps"`   // spam traps: mail of a tenant that comes there speaks against its account
	} `yaml:"intake"`
	Admin    string `yaml:"admin"`     // host:port of the API [127.0.0.1:8470]
	AdminTLS bool   `yaml:"admin_tls"` // serve the API over TLS, with the certificate below
	Metrics  string `yaml:"metrics"`   // host:port of /metrics alone; "" serves it on admin

	TLS struct {
		Cert string `yaml:"cert"` // PEM file, reloaded when it changes
		Key  string `yaml:"key"`
		Dir  string `yaml:"dir"` // pairs for tenants' host names, chosen by the name a client asks for
	} `yaml:"tls"`

	// OperatorTokenFile holds the operator's API token; made when it does not
	// exist [DIR/operator.token].
	OperatorTokenFile string `yaml:"operator_token_file"`
	// SecretKeyFile holds 32 bytes (hex) that seal keys in the replicated
	// state; made when it does not exist [DIR/secret.key].
	SecretKeyFile string `yaml:"secret_key_file"`

	Resolvers []string `yaml:"resolvers"` // host:port of own recursive resolvers [127.0.0.1:53]

	// DNSBL is how this node asks DNS lists about the cluster's sources; which
	// lists, the cluster's state says (postern zones apply).
	DNSBL struct {
		Resolvers []string `yaml:"resolvers"` // host:port of own recursive resolvers [resolvers]
	} `yaml:"dnsbl"`

	Delivery struct {
		Port  uint16          `yaml:"port"`  // of MX hosts [25]
		Retry []time.Duration `yaml:"retry"` // waits after each attempt; the last one repeats
		// AllowLoopback lets MX hosts live on this machine's loopback: for the lab.
		AllowLoopback bool `yaml:"allow_loopback"`
	} `yaml:"delivery"`

	Queue struct {
		FreeFloor uint64 `yaml:"free_floor"` // bytes [1 GB or 5 % of the disk, the smaller]
		// Grace is how much later than the rest mail in doubt is tried again [60s].
		Grace time.Duration `yaml:"grace"`
	} `yaml:"queue"`

	Log struct {
		Level  string `yaml:"level"`  // debug, info, warn, error [info]
		Format string `yaml:"format"` // text or json [text]
	} `yaml:"log"`
}

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 1 << 20

// DefaultConfig is what a file that says nothing means. Hostname has no default.
func DefaultConfig() Config {
	name, _ := os.Hostname()
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	c := Config{
		Name: name, Dir: "/var/lib/postern",
		Submission: []string{":587", ":2525"}, SubmissionTLS: []string{":465"}, Admin: "127.0.0.1:8470",
		Resolvers: []string{"127.0.0.1:53"},
	}
	c.Delivery.Port = 25
	c.Queue.Grace = time.Minute
	c.Log.Level, c.Log.Format = "info", "text"
	return c
}

// ReadConfig reads a configuration file. Every problem that can be seen in the
// file alone is in the error, a *ConfigError; CheckConfig also tries ports,
// files and resolvers.
func ReadConfig(name string) (Config, error) {
	c, _, found, err := readConfig(name)
	if err != nil {
		return Config{}, err
	}
	if bad := faults(found); len(bad) > 0 {
		return Config{}, &ConfigError{File: name, Findings: bad}
	}
	return c, nil
}

func readConfig(name string) (Config, lines, []Finding, error) {
	f, err := os.Open(name)
	if err != nil {
		return Config{}, nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return Config{}, nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > maxConfig {
		return Config{}, nil, nil, fmt.Errorf("read configuration: %s is larger than 1 MB", name)
	}
	c, at, found := parseConfig(text)
	whole, err := filepath.Abs(name)
	if err != nil {
		return Config{}, nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	c.locate(filepath.Dir(whole))
	found = append(found, c.judge(at)...)
	return c, at, found, nil
}

// locate makes file names whole: relative ones are beside the file.
func (c *Config) locate(beside string) {
	whole := func(name *string, standard string) {
		if *name == "" {
			*name = standard
		}
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(beside, *name)
		}
	}
	whole(&c.Dir, "")
	whole(&c.TLS.Cert, "")
	whole(&c.TLS.Key, "")
	whole(&c.TLS.Dir, "")
	if c.Dir != "" {
		whole(&c.OperatorTokenFile, filepath.Join(c.Dir, "operator.token"))
		whole(&c.SecretKeyFile, filepath.Join(c.Dir, "secret.key"))
	}
}

// proxies gives the networks of the balancers.
func (c *Config) proxies() ([]netip.Prefix, error) {
	all := make([]netip.Prefix, 0, len(c.ProxyFrom))
	for _, text := range c.ProxyFrom {
		p, err := proxyNetwork(text)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

var errNoProxy = errors.New("write an IP address or a network such as 192.0.2.0/28, no wider than /16 (IPv6: /32)")

// proxyNetwork reads one of proxy_from. Whoever is in it can say that he
// connects for anybody, so it cannot be half of the Internet.
func proxyNetwork(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("read balancer %q: %w", text, errNoProxy)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if least := 32; p.Addr().Is4In6() || p.Addr().Is6() && p.Bits() < least || p.Addr().Is4() && p.Bits() < least/2 {
		return netip.Prefix{}, fmt.Errorf("read balancer %q: %w", text, errNoProxy)
	}
	return p.Masked(), nil
}

// resolvers gives the configured resolvers as addresses.
func (c *Config) resolvers() ([]netip.AddrPort, error) { return resolverAddrs(c.Resolvers) }

// listResolvers gives those that DNS lists are asked through.
func (c *Config) listResolvers() ([]netip.AddrPort, error) {
	if len(c.DNSBL.Resolvers) == 0 {
		return c.resolvers()
	}
	return resolverAddrs(c.DNSBL.Resolvers)
}

func resolverAddrs(texts []string) ([]netip.AddrPort, error) {
	all := make([]netip.AddrPort, 0, len(texts))
	for _, text := range texts {
		a, err := resolverAddr(text)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

var errNoResolver = errors.New("write an IP address, with :PORT when it is not 53")

func resolverAddr(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	a, err := netip.ParseAddrPort(text)
	if err != nil || a.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("read resolver %q: %w", text, errNoResolver)
	}
	return a, nil
}
