package migrate

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// dkimKey is one of a KeyTable.
type dkimKey struct {
	domain, selector string // domain may be %: the sender's own
	data             string // a file's name, or the key itself
}

// signing is one line of a SigningTable.
type signing struct{ pattern, key string }

// signer is how OpenDKIM signs.
type signer struct {
	base     string // where relative names begin
	keys     map[string]dkimKey
	lines    []signing
	patterns bool     // refile: the lines have wildcards
	read     []string // the files it was read from
}

// parseConf reads opendkim.conf: a name and its value on a line.
func parseConf(text string) map[string]string {
	all := map[string]string{}
	for s := range strings.Lines(text) {
		s = strings.TrimSpace(s)
		if s == "" || s[0] == '#' {
			continue
		}
		name, value, _ := strings.Cut(strings.ReplaceAll(s, "\t", " "), " ")
		value, _, _ = strings.Cut(value, " #")
		if all[strings.ToLower(name)] == "" {
			all[strings.ToLower(name)] = strings.TrimSpace(value)
		}
	}
	return all
}

// parseKeys reads a KeyTable: NAME DOMAIN:SELECTOR:KEY.
func parseKeys(text string) (map[string]dkimKey, error) {
	all := map[string]dkimKey{}
	number := 0
	for s := range strings.Lines(text) {
		number++
		fields := tableFields(s)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("KeyTable: line %d: %q is no NAME DOMAIN:SELECTOR:KEY", number, clip(fields[0]))
		}
		of := strings.SplitN(fields[1], ":", 3)
		if len(of) != 3 || of[0] == "" || of[1] == "" || of[2] == "" {
			return nil, fmt.Errorf("KeyTable: line %d: key %q has no DOMAIN:SELECTOR:KEY", number, clip(fields[0]))
		}
		if len(all) == maxEntries {
			return nil, fmt.Errorf("KeyTable: more than %d keys", maxEntries)
		}
		if _, twice := all[fields[0]]; !twice {
			all[fields[0]] = dkimKey{domain: strings.ToLower(of[0]), selector: of[1], data: of[2]}
		}
	}
	return all, nil
}

// parseSigning reads a SigningTable: PATTERN NAME.
func parseSigning(text string) ([]signing, error) {
	var all []signing
	number := 0
	for s := range strings.Lines(text) {
		number++
		fields := tableFields(s)
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 2 || len(all) == maxEntries {
			return nil, fmt.Errorf("SigningTable: line %d: %q is no PATTERN NAME", number, clip(fields[0]))
		}
		all = append(all, signing{strings.ToLower(fields[0]), fields[1]})
	}
	return all, nil
}

func tableFields(s string) []string {
	s, _, _ = strings.Cut(s, "#")
	return strings.Fields(s)
}

// readSigner reads OpenDKIM's configuration: name is its file, or the directory
// that its tables lie in.
func (t *tree) readSigner(name string) (*signer, error) {
	name = inTree("", name)
	info, err := fs.Stat(t.files, name)
	if err != nil {
		_, err = t.open(name)
		return nil, err
	}
	var candidates []string
	base := path.Dir(name)
	if info.IsDir() {
		base = name
		candidates = []string{path.Join(name, "opendkim.conf"), path.Join(path.Dir(name), "opendkim.conf")}
	} else {
		candidates = []string{name}
	}
	conf := map[string]string{}
	s := &signer{base: base, keys: map[string]dkimKey{}}
	for _, c := range candidates {
		if _, err := fs.Stat(t.files, c); err != nil {
			continue
		}
		text, err := t.read(c, maxFile)
		if err != nil {
			return nil, err
		}
		conf, s.read = parseConf(text), append(s.read, c)
		break
	}
	if conf["keytable"] == "" && conf["keyfile"] == "" && info.IsDir() {
		conf["keytable"] = t.first(name, "KeyTable", "key.table", "keytable", "key_table")
		conf["signingtable"] = t.first(name, "SigningTable", "signing.table", "signingtable", "signing_table")
	}
	if err := t.signerTables(s, conf); err != nil {
		return nil, err
	}
	if len(s.lines) == 0 {
		return nil, fmt.Errorf("read /%s: no KeyTable and SigningTable in it, nor a KeyFile", name)
	}
	return s, nil
}

// first finds the first of the names that is in a directory.
func (t *tree) first(dir string, names ...string) string {
	for _, n := range names {
		if _, err := fs.Stat(t.files, path.Join(dir, n)); err == nil {
			return "/" + path.Join(dir, n)
		}
	}
	return ""
}

func (t *tree) signerTables(s *signer, conf map[string]string) error {
	if keys := conf["keytable"]; keys != "" {
		text, _, err := t.dataset(s, keys)
		if err == nil {
			s.keys, err = parseKeys(text)
		}
		if err != nil {
			return err
		}
		lines := conf["signingtable"]
		if lines == "" {
			return errors.New("read opendkim: a KeyTable without a SigningTable signs nothing")
		}
		text, refile, err := t.dataset(s, lines)
		if err == nil {
			s.lines, err = parseSigning(text)
		}
		// A table that was found by its name alone says by its stars what it is.
		s.patterns = refile || !strings.Contains(lines, ":") && strings.Contains(text, "*")
		return err
	}
	if conf["keyfile"] != "" && conf["selector"] != "" {
		for i, d := range words(conf["domain"]) {
			name := fmt.Sprint("domain ", i)
			s.keys[name] = dkimKey{domain: strings.ToLower(d), selector: conf["selector"], data: conf["keyfile"]}
			s.lines = append(s.lines, signing{strings.ToLower(d), name})
		}
	}
	return nil
}

// dataset reads a table that is a file: NAME, file:NAME or refile:NAME.
func (t *tree) dataset(s *signer, ref string) (text string, refile bool, err error) {
	kind, name, ok := strings.Cut(ref, ":")
	if !ok {
		kind, name = "file", ref
	}
	if kind != "file" && kind != "refile" {
		return "", false, fmt.Errorf("read opendkim: %q is no file; write its entries into one", clip(ref))
	}
	name = inTree(s.base, name)
	s.read = append(s.read, name)
	text, err = t.read(name, maxFile)
	return text, kind == "refile", err
}

// keyFor finds how mail from all of a domain is signed.
func (s *signer) keyFor(domain string) (k dkimKey, name string, found bool) {
	for _, try := range s.ways(domain) {
		for _, l := range s.lines {
			if try(l.pattern) {
				k, found = s.keys[l.key]
				if k.domain == "%" {
					k.domain = domain
				}
				return k, l.key, found
			}
		}
	}
	return k, "", false
}

// ways are the kinds of lines that are about all of a domain, in the order in
// which they count.
func (s *signer) ways(domain string) []func(string) bool {
	if s.patterns {
		return []func(string) bool{func(p string) bool {
			local, host, ok := strings.Cut(p, "@")
			if !ok { // all of it may be one star
				return p == "*"
			}
			return local == "*" && wild(host, domain)
		}}
	}
	ways := []func(string) bool{func(p string) bool { return p == domain || p == "*@"+domain }}
	for parent := domain; ; {
		_, rest, ok := strings.Cut(parent, ".")
		if !ok {
			break
		}
		parent = rest
		ways = append(ways, func(p string) bool { return p == "."+parent })
	}
	return append(ways, func(p string) bool { return p == "*" })
}

// alone lists the addresses of a domain that have another key than all of it.
func (s *signer) alone(domain, key string) (all []string) {
	for _, l := range s.lines {
		if local, host, ok := strings.Cut(l.pattern, "@"); ok && host == domain && local != "*" && l.key != key {
			all = append(all, l.pattern)
		}
	}
	return all
}

// wild matches a pattern in which a star stands for any text. It takes no longer
// than the product of the two lengths.
func wild(pattern, text string) bool {
	p, at, star, mark := 0, 0, -1, 0
	for at < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, at
			p++
		case p < len(pattern) && pattern[p] == text[at]:
			p, at = p+1, at+1
		case star >= 0:
			mark++
			p, at = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// pemOf reads a private key: a file's name, PEM, or its base64.
func (t *tree) pemOf(s *signer, k dkimKey) (string, error) {
	text := k.data
	if strings.HasPrefix(text, "/") || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") || path.Ext(text) != "" {
		var err error
		if text, err = t.read(inTree(s.base, text), maxKey); err != nil {
			return "", err
		}
	}
	if block, _ := pem.Decode([]byte(text)); block != nil {
		return text, nil
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil || len(der) == 0 {
		return "", errors.New("it is no private key: neither PEM nor base64")
	}
	kind := "PRIVATE KEY"
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		kind = "RSA PRIVATE KEY"
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})), nil
}
