package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"postern/tenant"
)

// joinPatience bounds a Join whose caller set no deadline; joinPause is
// between two rounds of asking.
const (
	joinPatience = time.Minute
	joinPause    = time.Second
)

// ErrJoin is the cluster's no to a node that asks to come in.
var ErrJoin = errors.New("the cluster does not let this node in")

// Joined is what a node that joined was given.
type Joined struct {
	Secret []byte   // the cluster's sealing key
	Peers  []string // host:port of the other nodes' peer ports
}

// JoinRequest is how a node asks to come in.
type JoinRequest struct {
	Token     string
	Name      string
	Advertise string
	PKI       string   // its keys and certificate are written here
	Addrs     []string // instead of the addresses in the token
}

// Join asks the nodes a token names for a certificate and writes it to r.PKI.
// Asking again is harmless: it makes a new key, and the old one is refused from
// then on. What was in r.PKI of another cluster stays and is an error.
func Join(ctx context.Context, r JoinRequest) (Joined, error) {
	j, err := join(ctx, r, time.Now)
	if err != nil {
		return j, fmt.Errorf("join cluster: %w", err)
	}
	return j, nil
}

func join(ctx context.Context, r JoinRequest, now func() time.Time) (Joined, error) {
	t, err := parseToken(r.Token)
	if err != nil {
		return Joined{}, err
	}
	if len(r.Addrs) > 0 {
		t.addrs = r.Addrs
	}
	switch {
	case !tenant.ValidName(r.Name):
		return Joined{}, fmt.Errorf("%q is no node name: write 1 to 63 of a-z, 0-9 and hyphens", r.Name)
	case !tenant.ValidPeer(r.Advertise):
		return Joined{}, fmt.Errorf("%q is no address others can dial: write host:port", r.Advertise)
	case len(t.addrs) == 0:
		return Joined{}, errors.New("the token names no address: say which node to ask")
	}
	pki := openPKI(r.PKI)
	if err := pki.vacant(t.authority, r.Name); err != nil {
		return Joined{}, err
	}
	key, keyDER, err := newKey()
	if err != nil {
		return Joined{}, err
	}
	request, err := newRequest(key, r.Name)
	if err != nil {
		return Joined{}, err
	}
	body, err := json.Marshal(joinRequest{
		Secret: t.secret[:], Name: r.Name, Advertise: r.Advertise, Request: request, Version: tenant.NewestVersion,
	})
	if err != nil {
		return Joined{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	a, err := askAround(ctx, t, body, now)
	if err != nil {
		return Joined{}, err
	}
	if len(a.Chain) != 2 || sha256.Sum256(a.Chain[1]) != t.authority {
		return Joined{}, errors.New("the answer's certificate is not of the token's authority")
	}
	id, err := newIdentity(keyDER, a.Chain)
	if err != nil {
		return Joined{}, fmt.Errorf("check the answer: %w", err)
	}
	if id.name != r.Name {
		return Joined{}, fmt.Errorf("the answer's certificate is for node %q", id.name)
	}
	return Joined{Secret: a.Secret, Peers: slices.Sorted(maps.Values(a.Peers))}, pki.settle(id, a)
}

// settle writes down what a joining node was given. The certificate comes
// last: with it the node is one.
func (d pkiDir) settle(id *identity, a joinAnswer) error {
	if err := d.make(); err != nil {
		return err
	}
	if err := d.writeJSON(filePeers, pages{Index: a.Index, Peers: a.Peers}); err != nil {
		return err
	}
	if err := d.write(fileAuthority, putBlocks(nil, id.authority.cert.Raw)); err != nil {
		return err
	}
	return d.save(id)
}

// vacant makes sure that the directory is not another node's or cluster's.
func (d pkiDir) vacant(authority [32]byte, name string) error {
	b, err := d.read(fileNode)
	if err != nil {
		return nil // none, or none that could be used
	}
	_, certs, err := getBlocks(b)
	if err != nil || len(certs) != 2 {
		return nil
	}
	leaf, err := x509.ParseCertificate(certs[0])
	if err != nil {
		return nil
	}
	if p, err := credentialOf(leaf); err == nil && (p.name != name || sha256.Sum256(certs[1]) != authority) {
		return fmt.Errorf("%s has the certificate of node %s of cluster %x; move it away first: %w", d.dir, p.name, p.cluster, ErrForeign)
	}
	return nil
}

// askAround asks one node after the other, again and again until ctx ends,
// for as long as nobody says no.
func askAround(ctx context.Context, t token, body []byte, now func() time.Time) (joinAnswer, error) {
	for {
		var problems []string
		for _, addr := range t.addrs {
			a, err := askToJoin(ctx, addr, t.authority, body, now)
			switch {
			case err != nil:
				problems = append(problems, addr+": "+err.Error())
			case a.Refused != "":
				return a, fmt.Errorf("%w: %s", ErrJoin, a.Refused)
			case a.Later != "":
				problems = append(problems, addr+": "+a.Later)
			default:
				return a, nil
			}
		}
		if !sleep(ctx, joinPause) {
			return joinAnswer{}, fmt.Errorf("no node answered at %s: %w", strings.Join(problems, "; "), context.Cause(ctx))
		}
	}
}

// askToJoin asks one node. The token's hash of the authority's certificate is
// all that is believed: the secret is shown to nobody else.
func askToJoin(ctx context.Context, addr string, authority [32]byte, body []byte, now func() time.Time) (joinAnswer, error) {
	var a joinAnswer
	dial, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(dial, "tcp", addr)
	if err != nil {
		return a, err
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c := tls.Client(raw, &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{protoJoin},
		Time:               now,
		InsecureSkipVerify: true, // the pinned authority is verified below
		VerifyConnection:   func(s tls.ConnectionState) error { return pinned(s, authority, now()) },
	})
	if err := c.HandshakeContext(dial); err != nil {
		return a, fmt.Errorf("handshake: %w", err)
	}
	if ctx.Err() == nil {
		if err := raw.SetDeadline(time.Now().Add(joinTime + handshakeTime)); err != nil {
			return a, err
		}
	}
	if ctx.Err() != nil { // it may have ended before that deadline was set
		return a, context.Cause(ctx)
	}
	if _, err := c.Write(sealed(body)); err != nil {
		return a, fmt.Errorf("ask: %w", err)
	}
	b, err := readRecord(c, maxJoined)
	if err != nil {
		return a, fmt.Errorf("wait for the answer: %w", noEOF(err))
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("read the answer: %w", err)
	}
	if a.Refused == "" && a.Later == "" && len(a.Chain) == 0 {
		return a, errors.New("the answer is empty")
	}
	return a, nil
}

// pinned checks that a node of the token's cluster answers.
func pinned(s tls.ConnectionState, hash [32]byte, now time.Time) error {
	i := slices.IndexFunc(s.PeerCertificates, func(c *x509.Certificate) bool { return sha256.Sum256(c.Raw) == hash })
	if i < 0 || s.NegotiatedProtocol != protoJoin {
		return errors.New("the node there is not of the token's cluster")
	}
	a, err := readAuthority(bytes.Clone(s.PeerCertificates[i].Raw), nil)
	if err != nil {
		return err
	}
	_, err = a.verify(s.PeerCertificates[0], now, x509ServerAuth)
	return err
}
