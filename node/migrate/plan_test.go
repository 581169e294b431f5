package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var rewrite = flag.Bool("rewrite", false, "write the plans anew")

// unpack writes an archive's files and gives their directory.
func unpack(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range txtar.Parse(text).Files {
		file := filepath.Join(dir, f.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, f.Data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// hoster are the options for one customer of the hoster.
func hoster(files fs.FS, only ...string) Options {
	return Options{Files: files, Config: "/etc/postfix", Users: "/etc/dovecot/users", DKIM: "/etc/opendkim", Tenant: "shoes", Hostname: "shoes.relay.example",
		Only: only, Node: "n1", Backup: "n2", WarmSince: "2023-04-01"}
}

// The plans of real trees, as people read them and as they are declared.
func TestPlans(t *testing.T) {
	all := os.DirFS(unpack(t, "hoster"))
	for name, o := range map[string]Options{
		"shoes": func() Options {
			o := hoster(all, "shoes.example")
			o.Suppression = "/etc/postfix/dead"
			o.Account.BytesPerMonth = 500_000_000
			return o
		}(),
		"bakery": hoster(all, "@bakery.example"),
		"flowers": func() Options {
			o := hoster(all, "web7", "web8")
			o.Realm, o.Routes = "flowers.example", true
			return o
		}(),
		"whole": func() Options { o := hoster(all); o.Users, o.DKIM, o.Node, o.Backup = "", "", "", ""; return o }(),
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Postfix(o)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			for _, v := range []any{p, p.Declaration, p.Addresses} {
				text, err := json.MarshalIndent(v, "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				b.Write(append(text, '\n'))
			}
			told, _ := json.Marshal(p)
			for _, secret := range []string{"$2y$", "$6$", "$argon2", "PRIVATE", "horse", "MC4C"} {
				if strings.Contains(string(told), secret) {
					t.Errorf("the plan shows %s", secret)
				}
			}
			file := filepath.Join("testdata", name+".plan")
			if *rewrite {
				if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), want) {
				t.Errorf("another plan than %s (-rewrite writes it):\n%s", file, b.String())
			}
		})
	}
}
