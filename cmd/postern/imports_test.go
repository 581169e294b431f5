package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// The house's rules of who may know whom. A package may import what its rule
// lists of this module and nothing else of it.
var mayImport = map[string][]string{
	"tenant":          {},
	"cluster":         {"tenant"},
	"node/bounce":     {"tenant"},
	"node/trouble":    {},
	"node/queue":      {"tenant", "node/trouble"},
	"node/admin":      {"tenant"},
	"node/submission": {"tenant", "node/queue", "node/bounce", "node/trouble"},
	"node/delivery":   {"tenant", "node/queue", "node/bounce", "node/trouble"},
	"node/dnsbl":      {"tenant"},
	"node/doctor":     {"tenant"},
	"node/links":      {},
	"node/report":     {"tenant"},
	"node":            {"tenant", "cluster", "node/queue", "node/bounce", "node/submission", "node/delivery", "node/admin", "node/dnsbl", "node/doctor", "node/links", "node/report", "node/trouble"},
	"node/lab":        {"tenant", "node/admin"},
	"node/lab/bench":  {"node/admin", "node/lab"},
	"deploy/grafana":  {},
	// It has only a test, of the playbooks beside it.
	"ansible": {},
	// What an operator writes becomes what the client sends.
	"node/declare": {"tenant", "node/admin"},
	// What another server's files say becomes what the client sends.
	"node/migrate": {"tenant", "node/admin"},
	// observe works beside any relay, without a node: it asks node/dnsbl itself.
	"cmd/postern": {"node", "node/admin", "node/declare", "node/migrate", "node/dnsbl", "node/lab", "tenant"},
}

// Tests may import node/lab, and what their package may.
var testsMayImport = []string{"node/lab"}

// What the pure core may use of the standard library.
var pure = []string{
	"bytes", "cmp", "encoding", "encoding/binary", "encoding/hex", "encoding/base32", "encoding/base64", "encoding/json",
	"errors", "fmt", "hash", "hash/crc32", "hash/fnv", "crypto/sha256", "iter", "maps", "math", "math/bits",
	"net/netip", "slices", "strconv", "strings", "time", "unicode", "unicode/utf8",
}

// A library has one home.
var homes = map[string][]string{
	"github.com/hashicorp/raft":       {"cluster"},
	"github.com/pires/go-proxyproto":  {"node/submission"},
	"github.com/hashicorp/memberlist": {"cluster"},
	"github.com/go-crypt/crypt":       {"node/submission"},
	"golang.org/x/crypto":             {"node/submission"},
	"github.com/emersion/go-smtp":     {"node/submission", "node/lab"},
	"github.com/cockroachdb/pebble":   {"node/queue", "cluster"},
	"github.com/miekg/dns":            {"node/delivery", "node/dnsbl", "node/lab"},
	"github.com/danielgtaylor/huma":   {"node/admin"},
	"blitiri.com.ar/go/spf":           {"node/doctor"},
	"github.com/spf13/cobra":          {"cmd/postern"},
}

const module = "postern/"

type goPackage struct {
	ImportPath, Doc                    string
	Imports, TestImports, XTestImports []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Doc,Imports,TestImports,XTestImports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	var all []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestHouse(t *testing.T) {
	packages := listPackages(t)
	if len(packages) < len(mayImport) {
		t.Fatalf("found %d packages, the house has %d", len(packages), len(mayImport))
	}
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		rule, known := mayImport[name]
		if !known {
			t.Errorf("%s: a package the house does not know; give it a rule or another home", name)
			continue
		}
		if p.Doc == "" {
			t.Errorf("%s: has no package comment", name)
		}
		for _, imp := range p.Imports {
			checkImport(t, name, imp, rule)
		}
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			if own, ok := strings.CutPrefix(imp, module); ok && own != name && !slices.Contains(rule, own) && !slices.Contains(testsMayImport, own) {
				t.Errorf("%s: its tests may not import %s", name, own)
			}
		}
	}
}

func checkImport(t *testing.T, name, imp string, rule []string) {
	t.Helper()
	if own, ok := strings.CutPrefix(imp, module); ok {
		if !slices.Contains(rule, own) {
			t.Errorf("%s may not import %s", name, own)
		}
		return
	}
	for lib, at := range homes {
		if (imp == lib || strings.HasPrefix(imp, lib+"/")) && !slices.Contains(at, name) {
			// The seam of the crash tests is part of the stores' Config, and the
			// node passes it on.
			if path.Base(imp) == "vfs" {
				continue
			}
			t.Errorf("%s may not import %s: its home is %v", name, imp, at)
		}
	}
	if name == "tenant" && !slices.Contains(pure, imp) {
		t.Errorf("tenant is pure and may not import %s", imp)
	}
}
