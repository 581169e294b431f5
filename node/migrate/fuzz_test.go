package migrate

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"

	"postern/tenant"
)

// The files of the hoster that are fuzzed, in the order of the arguments.
var fuzzed = [...]string{"etc/postfix/main.cf", "etc/postfix/master.cf", "etc/postfix/sender_login", "etc/postfix/transport", "etc/dovecot/users",
	"etc/opendkim.conf", "etc/opendkim/key.table", "etc/opendkim/signing.table"}

// FuzzPostfix reads the hoster's server with other texts in its files: there is a
// plan or an error, no login is declared twice, every password is one that is
// accepted here, and what is shown has none of them.
func FuzzPostfix(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "hoster.txtar"))
	if err != nil {
		f.Fatal(err)
	}
	all := map[string]string{}
	for _, x := range txtar.Parse(text).Files {
		all[x.Name] = string(x.Data)
	}
	at := func(i int) string {
		if all[fuzzed[i]] == "" {
			f.Fatalf("the hoster has no %s", fuzzed[i])
		}
		return all[fuzzed[i]]
	}
	f.Add(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7))
	f.Add("a=$b\nb=${a?x}\n", "smtp unix - - n - - smtp\n  -o {smtp_bind_address=192.0.2.1}\n", "a@x.test b", "x.test relay:[y.test]:26", "b:{PLAIN}x", "Mode s", "k x.test:s:/k", "*@x.test k")
	f.Add("default_transport=${{a}=={b}?{c}:{d}}", "a", "@", "*", ":::", "KeyTable refile:/k", "%", "refile")
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g, h, i string) {
		files := fstest.MapFS{}
		for name, text := range all {
			files[name] = &fstest.MapFile{Data: []byte(text)}
		}
		for k, text := range []string{a, b, c, d, e, g, h, i} {
			files[fuzzed[k]] = &fstest.MapFile{Data: []byte(text)}
		}
		o := hoster(files)
		o.Routes = true
		p, err := Postfix(o)
		if err != nil {
			return
		}
		told, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, x := range *p.Declaration.Tenants {
			for _, account := range *x.Accounts {
				if seen[account.Address] {
					t.Errorf("%q twice", account.Address)
				}
				seen[account.Address] = true
				if account.PasswordHash == "" {
					continue
				}
				hash, err := tenant.ParseHash(account.PasswordHash)
				if err != nil {
					t.Errorf("%q: %v", account.PasswordHash, err)
				} else if strings.Contains(string(told), hash.Text) {
					t.Error("the plan shows a password's hash")
				}
			}
		}
	})
}
