package migrate

import (
	"fmt"
	"strings"

	"postern/tenant"
)

// user is a login as a Dovecot passwd-file has it.
type user struct {
	name  string // in lower case
	hash  string // as it is kept, with its scheme
	extra string // fields behind the seventh colon
}

// parsePasswd reads user:password:uid:gid:gecos:home:shell:extra. Of a user that
// is there twice the first counts, as for Dovecot.
func parsePasswd(text string) ([]user, error) {
	var all []user
	seen := map[string]bool{}
	number := 0
	for raw := range strings.Lines(text) {
		number++
		s := strings.TrimRight(raw, "\r\n")
		if bare := strings.TrimSpace(s); bare == "" || bare[0] == '#' {
			continue
		}
		if len(s) > 4096 {
			return nil, fmt.Errorf("line %d: longer than 4096 octets", number)
		}
		fields := strings.SplitN(s, ":", 8)
		name := strings.ToLower(strings.TrimSpace(fields[0]))
		if name == "" || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("line %d: no user name before the first colon", number)
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		u := user{name: name}
		if len(fields) > 1 {
			u.hash = fields[1]
		}
		if len(fields) == 8 {
			u.extra = fields[7]
		}
		if len(all) == maxEntries {
			return nil, fmt.Errorf("more than %d users", maxEntries)
		}
		all = append(all, u)
	}
	return all, nil
}

// locked says whether nobody can log in as this user.
func (u *user) locked() bool {
	_, bare := schemeOf(u.hash)
	for _, field := range words(u.extra) {
		if field == "nologin" || strings.HasPrefix(field, "nologin=") {
			return true
		}
	}
	return bare != "" && (bare[0] == '!' || bare[0] == '*')
}

// schemeOf parts {SCHEME} from what is behind it.
func schemeOf(hash string) (scheme, bare string) {
	if rest, ok := strings.CutPrefix(hash, "{"); ok {
		if scheme, bare, ok = strings.Cut(rest, "}"); ok {
			return strings.ToUpper(scheme), bare
		}
	}
	return "", hash
}

// hashWhy says why a password is not taken over, or "" when it is. It shows
// nothing of the hash.
func (u *user) hashWhy() string {
	scheme, bare := schemeOf(u.hash)
	if bare == "" {
		return "it has no password"
	}
	if _, err := tenant.ParseHash(u.hash); err == nil {
		return ""
	} else if scheme == "" {
		scheme = "CRYPT"
	}
	switch scheme {
	case "PLAIN", "CLEAR", "CLEARTEXT", "PLAIN-TRUNC":
		return "{" + scheme + "} is the password in clear: whoever copied that file knows it"
	case "MD5", "MD5-CRYPT", "PLAIN-MD5", "LDAP-MD5", "SMD5", "LANMAN", "NTLM", "RPA", "SHA", "SHA1", "SSHA", "SHA256", "SSHA256", "SHA512", "SSHA512", "DIGEST-MD5", "CRAM-MD5", "DES-CRYPT":
		return "{" + scheme + "} is soon found once the file is known"
	case "CRYPT":
		switch {
		case strings.HasPrefix(bare, "$1$"):
			return "it is hashed with MD5, which is soon found once the file is known"
		case !strings.HasPrefix(bare, "$"):
			return "it is hashed with DES, or in clear: soon found once the file is known"
		case strings.HasPrefix(bare, "$y$"), strings.HasPrefix(bare, "$7$"):
			return "it is hashed with yescrypt or scrypt, which is not read here"
		}
	}
	if _, known := map[string]bool{"CRYPT": true, "BLF-CRYPT": true, "SHA256-CRYPT": true, "SHA512-CRYPT": true, "ARGON2I": true, "ARGON2ID": true}[scheme]; known {
		return "its hash is damaged, or costs more than is computed here"
	}
	return "{" + clip(scheme) + "} is not read here"
}
