package dnsbl

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

func TestDefaultBook(t *testing.T) {
	b, err := DefaultBook()
	if err != nil {
		t.Fatal(err)
	}
	zones := map[string]Zone{}
	heavy := 0
	for _, z := range b.Zones {
		zones[z.Name] = z
		if z.Keyed() {
			t.Errorf("%s is keyed: the built-in file must work without a key", z.Name)
		}
		if z.Heavy {
			heavy++
			if z.Every > 10*time.Minute && z.Asks(tenant.SpaceIPv4) {
				t.Errorf("%s is heavy and asked every %v only", z.Name, z.Every)
			}
		}
		if z.Delist == "" {
			t.Errorf("%s: no link for removal", z.Name)
		}
	}
	if heavy < 3 {
		t.Errorf("%d heavy zones", heavy)
	}
	zen := zones["zen.spamhaus.org"]
	if zen.Every != 5*time.Minute || !zen.Asks(tenant.SpaceIPv6) || zen.Asks(tenant.SpaceDomain) || zen.Rate != 20 {
		t.Errorf("%+v", zen)
	}
	for code, want := range map[string]string{"127.0.0.2": "listed 100", "127.0.0.5": "listed 100", "127.0.0.10": "listed 0 hold", "127.0.0.99": "unknown 0"} {
		a := zen.Read(addrs(code))
		text := fmt.Sprintf("%s %d", a.Kind, a.Weight())
		if a.Holds() {
			text += " hold"
		}
		if text != want {
			t.Errorf("%s: %s, want %s", code, text, want)
		}
	}
	// Lists of whole networks must never move anyone.
	for _, name := range []string{"dnsbl-2.uceprotect.net", "dnsbl-3.uceprotect.net"} {
		if a := zones[name]; a.Read(addrs("127.0.0.2")).Weight() != 0 {
			t.Errorf("%s has a weight", name)
		}
	}
	// No set of small lists may come near the sum that moves.
	for _, g := range b.Groups {
		if g.Name == "small" && g.Cap > 20 {
			t.Errorf("small lists add up to %d", g.Cap)
		}
	}
}

const oneZone = `
zones:
  - name: bl.test
    asks: [ipv4]
    every: 5m
    codes: [{code: 127.0.0.2, weight: 100, means: spam}]
`

func TestZonesFaults(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing":       {"", "zones: no zone at all"},
		"not a mapping": {"- a", "line 1: is no mapping"},
		"syntax":        {"zones:\n  - {name: [", "line 2: "},
		"unknown key":   {strings.Replace(oneZone, "every", "evry", 1), "line 5: zones[0].evry: unknown key; there is asks, bits, codes"},
		"no interval":   {strings.Replace(oneZone, "    every: 5m\n", "", 1), "line 3: zones[0]: bl.test: it is not said how often"},
		"interval":      {strings.Replace(oneZone, "5m", "5s", 1), `line 5: zones[0].every: "5s" does not fit; write 1m to 24h`},
		"no name":       {strings.Replace(oneZone, "name: bl.test", "heavy: true", 1), "a zone without a name"},
		"name":          {strings.Replace(oneZone, "bl.test", "bl test", 1), "line 3: zones[0].name: no domain name"},
		"empty":         {strings.Replace(oneZone, "5m", "", 1), "line 5: zones[0].every: no value"},
		"asks":          {strings.Replace(oneZone, "[ipv4]", "[ip]", 1), `zones[0].asks[0]: a zone cannot be asked for "ip"; there is ipv4, ipv6 and domain`},
		"asks text":     {strings.Replace(oneZone, "[ipv4]", "ipv4", 1), "zones[0].asks: is no list"},
		"mixed":         {strings.Replace(oneZone, "[ipv4]", "[ipv4, domain]", 1), "make two zones of it"},
		"code":          {strings.Replace(oneZone, "127.0.0.2", "10.0.0.2", 1), "zones[0].codes[0].code: \"10.0.0.2\": codes are in 127.0.0.0/8"},
		"error code":    {strings.Replace(oneZone, "127.0.0.2", "127.255.255.254", 1), "127.255.255.0/24 is kept for errors"},
		"range":         {strings.Replace(oneZone, "127.0.0.2", "127.0.0.9-3", 1), "the range ends before it begins"},
		"v6 code":       {strings.Replace(oneZone, "127.0.0.2", "'::1'", 1), "no IPv4 address"},
		"weight":        {strings.Replace(oneZone, "weight: 100", "weight: 101", 1), `codes[0].weight: "101" does not fit; write 0 to 100`},
		"no weight":     {strings.Replace(oneZone, "weight: 100, ", "", 1), "no weight; write weight: 0 to 100, or another policy"},
		"idle weight":   {strings.Replace(oneZone, "means", "policy: log, means", 1), "a weight that never counts"},
		"policy":        {strings.Replace(oneZone, "means", "policy: block, means", 1), "there is move, hold, log, clean and refuse"},
		"no meaning":    {strings.Replace(oneZone, ", means: spam", "", 1), "the code has no meaning"},
		"no codes":      {strings.Replace(oneZone, "[{code: 127.0.0.2, weight: 100, means: spam}]", "[]", 1), "no codes"},
		"code twice":    {strings.Replace(oneZone, "codes: [", "codes: [{code: 127.0.0.1-4, weight: 1, means: x}, ", 1), "127.0.0.2 is in two codes"},
		"group":         {strings.Replace(oneZone, "every", "group: g\n    every", 1), `no group "g"`},
		"flag":          {strings.Replace(oneZone, "every", "heavy: 1\n    every", 1), "neither true nor false"},
		"rate":          {strings.Replace(oneZone, "every", "rate: 0\n    every", 1), "write 1 to 1000"},
		"two keys":      {strings.Replace(oneZone, "every", "key_file: a\n    key_credential: b\n    every", 1), "key_file and key_credential"},
		"credential":    {strings.Replace(oneZone, "every", "key_credential: ../../etc/shadow\n    every", 1), "no name of a credential"},
		"anchor":        {strings.Replace(oneZone, "bl.test", "&a bl.test", 1), "is not one value"},
		"control":       {strings.Replace(oneZone, "means: spam", `means: "a\eb"`, 1), "control characters"},
		"long":          {strings.Replace(oneZone, "spam", strings.Repeat("x", 201), 1), "too long"},
		"twice":         {oneZone + strings.TrimPrefix(oneZone, "\nzones:\n"), "line 7: zones[1]: a second zone bl.test"},
		"two documents": {oneZone + "---\n" + oneZone, "a second document"},
		"huge":          {oneZone + strings.Repeat("#", maxZonesFile), "the file is larger than 256 KB"},
	} {
		b, faults := ParseZones([]byte(c.text))
		if b != nil || len(faults) == 0 {
			t.Errorf("%s: was read", name)
			continue
		}
		if text := (&ZonesError{"f", faults}).Error(); !strings.Contains(text, c.want) {
			t.Errorf("%s: %s\nwant %s", name, text, c.want)
		}
	}
	if _, faults := ParseZones([]byte(oneZone)); len(faults) > 0 {
		t.Errorf("%v", faults)
	}
	// All at once, by lines.
	text := strings.Replace(strings.Replace(oneZone, "5m", "5s", 1), "weight: 100", "weight: -1", 1)
	if _, faults := ParseZones([]byte(text)); len(faults) != 2 || faults[0].Line != 5 || faults[1].Line != 6 {
		t.Errorf("%v", faults)
	}
}

const theKey = "abcdefghijklmnopqrstuvwxyz"

// The key is part of each question and of nothing else.
func TestKeyIsNeverShown(t *testing.T) {
	dir := t.TempDir()
	keyed := strings.Replace(oneZone, "every", "key_file: dqs.key\n    every", 1)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("zones.yaml", keyed)
	write("dqs.key", strings.ToUpper(theKey)+"\n")
	b, err := ReadZones(file, "")
	if err != nil {
		t.Fatal(err)
	}
	z := &b.Zones[0]
	if q := z.question("2.0.0.127"); q != "2.0.0.127."+theKey+".bl.test." {
		t.Errorf("asks %s", q)
	}
	asJSON, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s %v %s", b, *z, z.key, z.key, &z.key, asJSON)
	if strings.Contains(strings.ToLower(shown), theKey[:8]) {
		t.Errorf("shows the key: %s", shown)
	}
	for text, want := range map[string]string{
		"see https://x/?q=2.0.0.127." + theKey + ".bl.test": "see https://x/?q=2.0.0.127.[key].bl.test",
		strings.ToUpper(theKey) + theKey:                    "[key][key]",
		"nothing":                                           "nothing",
	} {
		if got := z.key.hide(text); got != want {
			t.Errorf("%q", got)
		}
	}

	// A credential, and keys that cannot be one.
	write("cred.yaml", strings.Replace(keyed, "key_file: dqs.key", "key_credential: dqs.key", 1))
	if b, err := ReadZones(filepath.Join(dir, "cred.yaml"), dir); err != nil || b.Zones[0].key.text() != theKey {
		t.Errorf("credential: %v", err)
	}
	if _, err := ReadZones(filepath.Join(dir, "cred.yaml"), ""); !errors.Is(err, errNoCredentials) {
		t.Errorf("without credentials: %v", err)
	}
	for _, bad := range []string{"", "short", theKey + "." + theKey, theKey + " x", strings.Repeat("a", 64), theKey + "\n" + theKey} {
		write("dqs.key", bad)
		_, err := ReadZones(file, "")
		if !errors.Is(err, errKeyForm) || strings.Contains(err.Error(), "abcdefgh") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	write("dqs.key", strings.Repeat("a", maxKeyFile+1))
	if _, err := ReadZones(file, ""); err == nil || !strings.Contains(err.Error(), "larger than 4 KB") {
		t.Errorf("%v", err)
	}
	if err := os.Remove(filepath.Join(dir, "dqs.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadZones(file, ""); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "read key of zone bl.test") {
		t.Errorf("%v", err)
	}
}

// Whatever a file holds, reading it ends, and every fault has its place.
func FuzzZones(f *testing.F) {
	f.Add([]byte(oneZone))
	f.Add([]byte(defaultText[len(defaultText)-3000:]))
	f.Add([]byte("groups: &a [*a]\n<<: *a\n? [x]: y\nzones: !!str\n"))
	f.Add([]byte("zones: [{name: a.b, asks: [domain], every: 1e3, codes: [{code: 127.0.0.1-255, policy: clean, means: |\n x}]}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4096 {
			return
		}
		b, faults := ParseZones(text)
		if (b == nil) != (len(faults) > 0) {
			t.Fatalf("%v, %v", b, faults)
		}
		lines := strings.Count(string(text), "\n") + strings.Count(string(text), "\r") + 1
		for _, x := range faults {
			if x.Line < 0 || x.Line > lines || x.Text == "" {
				t.Fatalf("%+v in a file of %d lines", x, lines)
			}
		}
		if b == nil {
			return
		}
		for _, z := range b.Zones {
			if z.Name == "" || z.Every < time.Minute || z.Rate < 1 || len(z.Spaces) == 0 || len(z.Codes) == 0 || len(z.question(mapped(2).label())) > 255 {
				t.Fatalf("%+v", z)
			}
			for _, c := range z.Codes {
				if !c.First.Is4() || c.Last.Less(c.First) || c.Means == "" || c.Weight > tenant.MaxWeight {
					t.Fatalf("%+v", c)
				}
			}
		}
	})
}
