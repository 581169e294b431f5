package tenant

import (
	"net/netip"
	"strings"
	"testing"
)

const (
	bcryptU    = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	argonSmall = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$cHBwcHBwcHBwcHBwcHBwcA"
)

func TestParseHash(t *testing.T) {
	sha512 := strings.Repeat("a", 86)
	for text, want := range map[string]HashKind{
		bcryptU:                                     HashBcrypt,
		"{CRYPT}" + bcryptU:                         HashBcrypt,
		"{blf-crypt}" + bcryptU:                     HashBcrypt,
		"$6$salt$" + sha512:                         HashSHA512Crypt,
		"$6$rounds=656000$salt$" + sha512:           HashSHA512Crypt,
		"{SHA512-CRYPT}$6$salt$" + sha512:           HashSHA512Crypt,
		"{SHA256-CRYPT}$5$salt$" + sha512[:43]:      HashSHA256Crypt,
		argonSmall:                                  HashArgon2id,
		"{ARGON2ID}" + argonSmall:                   HashArgon2id,
		strings.Replace(argonSmall, "2id", "2i", 1): HashArgon2i,
	} {
		h, err := ParseHash(text)
		if err != nil || h.Kind != want || !strings.HasSuffix(text, h.Text) || h.Text[0] != '$' {
			t.Errorf("%s: %+v %v", text, h, err)
		}
	}
	for _, text := range []string{
		"", "x", "secret", "{PLAIN}secret", "{CLEARTEXT}secret", "{SSHA}abc", "{SSHA512}abc", "{MD5-CRYPT}$1$a$b", "$1$a$0123456789012345678901",
		"$y$j9T$abc$def", "{CRYPT", "{}" + "x", "$2x$05$" + bcryptU[7:], "$2a$03$" + bcryptU[7:], "$2a$15$" + bcryptU[7:], "$2a$5$" + bcryptU[7:],
		bcryptU + "a", bcryptU[:59], bcryptU[:59] + "$", "$6$salt$" + sha512[1:], "$6$$" + sha512, "$6$saltsaltsaltsalts$" + sha512, "$6$rounds=999$s$" + sha512,
		"$6$rounds=1000001$s$" + sha512, "$6$rounds=05000$s$" + sha512, "$6$rounds=5000$" + sha512, "$6$a:b$" + sha512, "$6$a\n$" + sha512,
		strings.Replace(argonSmall, "v=19", "v=16", 1), strings.Replace(argonSmall, "m=64", "m=131073", 1), strings.Replace(argonSmall, "m=64,t=1", "m=131072,t=5", 1),
		strings.Replace(argonSmall, "t=1", "t=0", 1), strings.Replace(argonSmall, "p=1", "p=9", 1), strings.Replace(argonSmall, "p=1", "p=1,x=2", 1),
		strings.Replace(argonSmall, "c29tZXNhbHQ", "c29t", 1), argonSmall + "=", argonSmall + "\n", strings.Replace(argonSmall, "$c", "$\nc", 1),
		strings.Replace(argonSmall, "m=64", "m=18446744073709551615", 1), "{BLF-CRYPT}" + argonSmall, "{BLF-CRYPT.b64}" + bcryptU, strings.Repeat("a", 10_000),
	} {
		if h, err := ParseHash(text); err == nil {
			t.Errorf("%.80q was taken: %+v", text, h)
		}
	}
}

// A login under a name that is nobody's costs what one of the accounts costs, in
// proportion, and always the same one for a number.
func TestSomeHash(t *testing.T) {
	w, version := newTown(), uint32(NewestVersion)
	w.must(t, AddNode{Name: "one"}, AddSource{Node: 1, Addr: netip.MustParseAddr("127.77.1.1"), EHLO: "out.test"}, SetNode{Node: 1, Version: &version},
		AddTenant{Name: "a", Hostname: "a.test", Home: Place{Node: 1, Source: 1}})
	if got := w.s.SomeHash(7); got != "" {
		t.Errorf("nobody's hash: %s", got)
	}
	w.must(t, AddAccount{Tenant: 1, Username: "1@a.test"}, AddHashed{AddAccount{Tenant: 1, Username: "2@a.test"}, bcryptU},
		AddAccount{Tenant: 1, Username: "3@a.test"}, AddHashed{AddAccount{Tenant: 1, Username: "4@a.test"}, argonSmall})
	count := map[string]int{}
	for n := range uint64(400) {
		count[w.s.SomeHash(n)]++
	}
	if count[""] != 200 || count[bcryptU] != 100 || count[argonSmall] != 100 {
		t.Errorf("%v", count)
	}
}

// FuzzHash: whatever is read is bounded, and read again it is the same.
func FuzzHash(f *testing.F) {
	f.Add("{BLF-CRYPT}" + bcryptU)
	f.Add("$6$rounds=5000$salt$" + strings.Repeat("a", 86))
	f.Add("{argon2id}" + argonSmall)
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHash(text)
		if err != nil {
			return
		}
		again, err := ParseHash(h.Text)
		if err != nil || again.Text != h.Text || again.Kind != h.Kind || !validText(h.Text, maxHash) {
			t.Fatalf("%q: %+v, %v", text, again, err)
		}
		if h.Memory > maxArgonKiB || uint64(h.Memory)*uint64(h.Passes) > maxArgonWork || len(h.Key) > 64 || len(h.Salt) > 64 {
			t.Fatalf("%q: too dear", text)
		}
	})
}
