package dnsbl

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"postern/tenant"
)

// WriteLists writes what the state keeps of a zones file as such a file. ok is
// false when a file cannot say it, because its times were scaled for a trial.
func WriteLists(l tenant.SetLists) (text string, ok bool) {
	w := &strings.Builder{}
	if len(l.Groups) > 0 {
		fmt.Fprintf(w, "groups:\n")
		for _, g := range l.Groups {
			fmt.Fprintf(w, "  - {name: %s, cap: %d}\n", quoted(g.Name), g.Cap)
		}
	}
	writeRule(w, l.Rule)
	fmt.Fprintf(w, "zones:\n")
	for i := range l.Zones {
		writeZone(w, &l.Zones[i])
	}
	b, faults := ParseZones([]byte(w.String()))
	if len(faults) > 0 {
		return "", false
	}
	again := b.Lists()
	return w.String(), again.Rule == l.Rule && reflect.DeepEqual(again.Zones, l.Zones) && (len(again.Groups)+len(l.Groups) == 0 || reflect.DeepEqual(again.Groups, l.Groups))
}

func writeRule(w *strings.Builder, r tenant.ListingRule) {
	fmt.Fprintf(w, "rule:\n")
	for _, x := range []struct {
		key   string
		value any
	}{{"nodes", r.Nodes}, {"rounds", r.Rounds}, {"alone", r.Alone}, {"apart", r.Apart}, {"fresh", r.Fresh}, {"move", r.Move}, {"warn", r.Warn}, {"evidence", r.Evidence},
		{"world_least", r.WorldLeast}, {"world_percent", r.WorldPercent}, {"world_window", r.WorldWindow}, {"calm", r.Calm}} {
		fmt.Fprintf(w, "  %s: %v\n", x.key, x.value)
	}
}

func writeZone(w *strings.Builder, z *tenant.Zone) {
	spaces := make([]string, len(z.Spaces))
	for i, s := range z.Spaces {
		spaces[i] = s.String()
	}
	fmt.Fprintf(w, "  - name: %s\n    asks: [%s]\n    every: %s\n    rate: %d\n    test: %s\n", quoted(z.Name), strings.Join(spaces, ", "), z.Every, z.Rate, quoted(z.Test))
	for _, flag := range []struct {
		key string
		set bool
	}{{"heavy", z.Heavy}, {"bits", z.Bits}} {
		if flag.set {
			fmt.Fprintf(w, "    %s: true\n", flag.key)
		}
	}
	for _, text := range [][2]string{{"group", z.Group}, {"delist", z.Delist}, {"key_file", z.KeyFile}, {"key_credential", z.KeyCredential}} {
		if text[1] != "" {
			fmt.Fprintf(w, "    %s: %s\n", text[0], quoted(text[1]))
		}
	}
	fmt.Fprintf(w, "    codes:\n")
	for _, c := range z.Codes {
		code := c.First.String()
		if c.Last != c.First {
			code += fmt.Sprintf("-%d", c.Last.As4()[3])
		}
		fmt.Fprintf(w, "      - {code: %s, weight: %d, policy: %s, means: %s}\n", quoted(code), c.Weight, c.Policy, quoted(c.Means))
	}
}

// quoted is a text as YAML reads it whatever is in it.
func quoted(s string) string {
	b, _ := json.Marshal(s) // a string always has a JSON form
	return string(b)
}
