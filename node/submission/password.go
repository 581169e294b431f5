package submission

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"strings"
)

// maxPassword bounds what is hashed.
const maxPassword = 1024

// NewPassword makes a machine password of 160 bits (32 letters and digits) and
// its stored form, the SHA-256. With that many random bits a slow hash adds
// nothing, and a fast one lets no flood of logins stop the node.
func NewPassword() (password string, secret [32]byte) {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails: the runtime ends the process instead
	password = strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
	return password, sha256.Sum256([]byte(password))
}

// CheckPassword compares a password with its stored form in constant time.
func CheckPassword(secret [32]byte, password string) bool {
	if len(password) > maxPassword {
		return false
	}
	sum := sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(sum[:], secret[:]) == 1
}
