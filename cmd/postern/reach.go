package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"

	"postern/node"
	"postern/node/admin"
)

const standardConfig = "/etc/postern/postern.yaml"

// maxTokenFile bounds what is read of a token's file, in bytes.
const maxTokenFile = 4096

// client finds the node and the token: flags, then environment, then what the
// configuration file on this machine says.
func (a *app) client() (*admin.Client, error) {
	api, tokenFile := first(a.api, a.env("POSTERN_API")), first(a.tokenFile, a.env("POSTERN_TOKEN_FILE"))
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if api == "" || tokenFile == "" {
		cfg, err := node.ReadConfig(a.configFile())
		switch {
		case errors.Is(err, fs.ErrNotExist) && a.config == "":
			return nil, errors.New("no node named: give --api URL and --token-file FILE (or set POSTERN_API and POSTERN_TOKEN_FILE)")
		case err != nil:
			return nil, err
		}
		tokenFile = first(tokenFile, cfg.OperatorTokenFile)
		if api == "" {
			if api, err = localAPI(cfg, trust); err != nil {
				return nil, err
			}
		}
	}
	if a.caFile != "" {
		if err := trustFile(trust, a.caFile); err != nil {
			return nil, err
		}
	}
	token, err := readToken(tokenFile)
	if err != nil {
		return nil, err
	}
	c, err := admin.NewClient(api, token, trust)
	if err != nil {
		return nil, usagef("--api: %s", err)
	}
	c.As(first(a.env("POSTERN_OPERATOR"), a.env("SUDO_USER"), a.env("USER")))
	return c, nil
}

func (a *app) configFile() string { return first(a.config, a.env("POSTERN_CONFIG"), standardConfig) }

// localAPI is the API's address as this machine reaches it.
func localAPI(cfg node.Config, trust *tls.Config) (string, error) {
	host, port, err := net.SplitHostPort(cfg.Admin)
	if err != nil {
		return "", fmt.Errorf("read admin address: %w", err)
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	if !cfg.AdminTLS {
		return "http://" + net.JoinHostPort(host, port), nil
	}
	trust.ServerName = cfg.Hostname
	return "https://" + net.JoinHostPort(host, port), trustFile(trust, cfg.TLS.Cert)
}

func trustFile(trust *tls.Config, name string) error {
	pem, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read authority: %w", err)
	}
	if trust.RootCAs == nil {
		if trust.RootCAs, err = x509.SystemCertPool(); err != nil {
			trust.RootCAs = x509.NewCertPool()
		}
	}
	if !trust.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("read authority: no PEM certificate in %s", name)
	}
	return nil
}

func readToken(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsAny(token, " \r\n\t") {
		return "", fmt.Errorf("read token: %s does not hold one token on one line", name)
	}
	return token, nil
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
