package tenant

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// HashKind is how a password was hashed.
type HashKind uint8

const (
	HashBcrypt HashKind = iota + 1
	HashSHA256Crypt
	HashSHA512Crypt
	HashArgon2i
	HashArgon2id
)

var hashNames = [...]string{"", "bcrypt", "SHA-256-crypt", "SHA-512-crypt", "argon2i", "argon2id"}

func (k HashKind) String() string { return hashNames[k] }

// Hash is a stored password as another mail server kept it. Its cost is bounded,
// for anybody can make a node compute it.
type Hash struct {
	Kind HashKind
	Text string // its canonical form, $KIND$…
	// Of argon2 only.
	Memory uint32 // KiB
	Passes uint32
	Lanes  uint8
	Salt   []byte
	Key    []byte
}

// Bounds of what one try may cost: about a second of one core, and 128 MiB.
const (
	maxHash      = 512 // octets
	maxBcrypt    = 14  // the binary logarithm of its rounds
	maxSHARounds = 1_000_000
	maxArgonKiB  = 128 << 10
	maxArgonWork = 512 << 10 // KiB times passes
	maxLanes     = 8
)

// schemes are the kinds that a name in front, as Dovecot writes it, may stand for.
var schemes = map[string][]HashKind{
	"CRYPT":        {HashBcrypt, HashSHA256Crypt, HashSHA512Crypt, HashArgon2i, HashArgon2id},
	"BLF-CRYPT":    {HashBcrypt},
	"SHA256-CRYPT": {HashSHA256Crypt},
	"SHA512-CRYPT": {HashSHA512Crypt},
	"ARGON2I":      {HashArgon2i},
	"ARGON2ID":     {HashArgon2id},
}

// ParseHash reads a password's hash: bcrypt ($2a$, $2b$, $2y$), SHA-crypt ($5$,
// $6$), argon2 ($argon2id$, $argon2i$), each also behind Dovecot's {SCHEME}. What
// is kept in clear, or hashed so that the passwords are soon found once the hashes
// are known, is refused: such an account gets a new password.
func ParseHash(text string) (Hash, error) {
	if len(text) > maxHash {
		return Hash{}, refuse("a password's hash has at most %d octets", maxHash)
	}
	scheme := ""
	if rest, ok := strings.CutPrefix(text, "{"); ok {
		if scheme, text, ok = strings.Cut(rest, "}"); !ok {
			return Hash{}, refuse("the hash's scheme has no end")
		}
	}
	h, err := parseCrypt(text)
	kinds, known := schemes[strings.ToUpper(scheme)]
	switch {
	case scheme == "":
		return h, err
	case !known:
		return Hash{}, refuse("passwords of scheme {%s} are not taken: give the account a new one", clip(scheme))
	case err != nil:
		return Hash{}, err
	}
	for _, k := range kinds {
		if k == h.Kind {
			return h, nil
		}
	}
	return Hash{}, refuse("scheme {%s} does not fit its hash, which is %s", clip(scheme), h.Kind)
}

func parseCrypt(text string) (Hash, error) {
	parts := strings.Split(text, "$")
	if len(parts) < 4 || parts[0] != "" {
		return Hash{}, refuse("this is no hash of a known kind: bcrypt ($2y$), SHA-crypt ($5$, $6$) or argon2 ($argon2id$)")
	}
	switch parts[1] {
	case "2a", "2b", "2y":
		return parseBcrypt(text, parts)
	case "5":
		return parseSHACrypt(text, parts, HashSHA256Crypt, 43)
	case "6":
		return parseSHACrypt(text, parts, HashSHA512Crypt, 86)
	case "argon2i":
		return parseArgon2(text, parts, HashArgon2i)
	case "argon2id":
		return parseArgon2(text, parts, HashArgon2id)
	}
	return Hash{}, refuse("hashes $%s$ are not taken: give the account a new password", clip(parts[1]))
}

// parseBcrypt reads $2y$COST$ and 22 letters of salt with 31 of the hash.
func parseBcrypt(text string, parts []string) (Hash, error) {
	cost, ok := decimal(strings.TrimPrefix(parts[2], "0"), maxBcrypt)
	if len(parts) != 4 || len(parts[2]) != 2 || !ok || cost < 4 || len(parts[3]) != 53 || !crypt64(parts[3]) {
		return Hash{}, refuse("this is no bcrypt hash, or its cost is not within 4 to %d", maxBcrypt)
	}
	return Hash{Kind: HashBcrypt, Text: text}, nil
}

// parseSHACrypt reads $6$[rounds=N$]SALT$HASH.
func parseSHACrypt(text string, parts []string, kind HashKind, size int) (Hash, error) {
	rest := parts[2:]
	if n, ok := strings.CutPrefix(rest[0], "rounds="); ok {
		if r, ok := decimal(n, maxSHARounds); !ok || r < 1000 {
			return Hash{}, refuse("the rounds of a %s hash are 1000 to %d", kind, maxSHARounds)
		}
		rest = rest[1:]
	}
	if len(rest) != 2 || rest[0] == "" || len(rest[0]) > 16 || !printable(rest[0]) || len(rest[1]) != size || !crypt64(rest[1]) {
		return Hash{}, refuse("this is no %s hash", kind)
	}
	return Hash{Kind: kind, Text: text}, nil
}

// parseArgon2 reads $argon2id$v=19$m=65536,t=3,p=1$SALT$HASH.
func parseArgon2(text string, parts []string, kind HashKind) (Hash, error) {
	bad := refuse("this is no %s hash of version 19", kind)
	if len(parts) != 6 || parts[2] != "v=19" {
		return Hash{}, bad
	}
	var of [3]uint64
	params := strings.Split(parts[3], ",")
	if len(params) != len(of) {
		return Hash{}, bad
	}
	for i, p := range params {
		n, named := strings.CutPrefix(p, [...]string{"m=", "t=", "p="}[i])
		value, ok := decimal(n, 1<<31)
		if !named || !ok || value == 0 {
			return Hash{}, bad
		}
		of[i] = value
	}
	m, t, lanes := of[0], of[1], of[2]
	if m > maxArgonKiB || m*t > maxArgonWork || lanes > maxLanes || m < 8*lanes {
		return Hash{}, refuse("%s hashes are computed with at most %d MiB, %d MiB times passes and %d lanes",
			kind, maxArgonKiB>>10, maxArgonWork>>10, maxLanes)
	}
	salt, err := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	if err != nil || len(salt) < 8 || len(salt) > 64 {
		return Hash{}, bad
	}
	key, err := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err != nil || len(key) < 16 || len(key) > 64 {
		return Hash{}, bad
	}
	if strings.ContainsAny(text, "\r\n") { // base64 passes over them
		return Hash{}, bad
	}
	return Hash{Kind: kind, Text: text, Memory: uint32(m), Passes: uint32(t), Lanes: uint8(lanes), Salt: salt, Key: key}, nil
}

// decimal reads a number without sign or leading zero, most at most.
func decimal(s string, most uint64) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n <= most && (s == "0" || s[0] != '0') && s[0] != '+'
}

// crypt64 says whether all of s is of crypt's alphabet.
func crypt64(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '.' || c == '/') {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return true
}
