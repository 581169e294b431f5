package tenant

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"
)

// TestListings runs testdata/listing/*.txt: what nodes are told, round by round,
// and what that comes to.
//
//	zones      NAME [heavy] [every=D] [group=G] CODE=WEIGHT|POLICY..., a line each
//	groups     NAME=CAP...
//	nodes      N: how many observe
//	round      after=D; then NODE.. ZONE ANSWER.. lines, ANSWER a code, "clean"
//	           or a reason
//	judge      [evidence] [faulty=ZONE]
//	worldwide  [firstseen] [of=N]; each source's listings since, of node a or of
//	           the nodes named: SOURCE ZONE=AGE[@NODE,...]...
func TestListings(t *testing.T) {
	datadriven.Walk(t, "testdata/listing", func(t *testing.T, path string) {
		d := &listingDesk{rule: DefaultListingRule(), now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), nodes: 3}
		datadriven.RunTest(t, path, d.run)
	})
}

type listingDesk struct {
	rule      ListingRule
	now       time.Time
	zones     []Zone
	groups    []ZoneGroup
	nodes     int
	sightings []Sighting
}

func (d *listingDesk) run(t *testing.T, td *datadriven.TestData) string {
	switch td.Cmd {
	case "zones":
		d.zones = nil
		for line := range strings.Lines(td.Input) {
			d.zones = append(d.zones, readZone(t, strings.Fields(line)))
		}
	case "groups":
		for _, a := range td.CmdArgs {
			n, err := strconv.Atoi(a.Vals[0])
			if err != nil {
				t.Fatal(err)
			}
			d.groups = append(d.groups, ZoneGroup{Name: a.Key, Cap: uint16(n)})
		}
	case "nodes":
		td.MaybeScanArgs(t, "n", &d.nodes)
		d.sightings = nil
	case "round":
		d.round(t, td)
	case "judge":
		var faulty string
		td.MaybeScanArgs(t, "faulty", &faulty)
		return verdictText(d.rule.Judge(ListingCase{Zones: d.zones, Groups: d.groups, Nodes: d.nodes, Sightings: d.sightings,
			Evidence: td.HasArg("evidence"), Faulty: strings.Fields(faulty), Now: d.now}))
	case "worldwide":
		return d.worldwide(t, td)
	default:
		t.Fatalf("%s: no such command", td.Cmd)
	}
	return ""
}

func readZone(t *testing.T, words []string) Zone {
	z := Zone{Name: words[0], Every: 10 * time.Minute, Spaces: []Space{SpaceIPv4}}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		var err error
		switch key {
		case "heavy":
			z.Heavy = true
		case "every":
			z.Every, err = time.ParseDuration(value)
		case "group":
			z.Group = value
		default:
			c := code(key, 0, PolicyMove)
			if n, bad := strconv.Atoi(value); bad == nil {
				c.Weight = uint16(n)
			} else {
				c.Policy, err = ParsePolicy(value)
			}
			z.Codes = append(z.Codes, c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return z
}

func (d *listingDesk) round(t *testing.T, td *datadriven.TestData) {
	after := 2 * time.Minute
	if td.HasArg("after") {
		var text string
		td.ScanArgs(t, "after", &text)
		var err error
		if after, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	d.now = d.now.Add(after)
	for line := range strings.Lines(td.Input) {
		words := strings.Fields(line)
		nodes := strings.Split(words[0], ",")
		z := slices.IndexFunc(d.zones, func(z Zone) bool { return z.Name == words[1] })
		a := Answer{Why: Why(strings.Join(words[2:], " "))}
		if words[2] == "clean" {
			a = d.zones[z].Read(nil)
		} else if _, err := netip.ParseAddr(words[2]); err == nil {
			var values []netip.Addr
			for _, w := range words[2:] {
				values = append(values, netip.MustParseAddr(w))
			}
			a = d.zones[z].Read(values)
		}
		for _, n := range nodes {
			d.observe(Observation{Node: n, Zone: words[1], At: d.now, Answer: a})
		}
	}
}

func (d *listingDesk) observe(o Observation) {
	for i, s := range d.sightings {
		if s.Node == o.Node && s.Zone == o.Zone {
			d.sightings[i] = d.rule.Fold(s, o)
			return
		}
	}
	d.sightings = append(d.sightings, d.rule.Fold(Sighting{}, o))
}

func (d *listingDesk) worldwide(t *testing.T, td *datadriven.TestData) string {
	var all [][]Sighting
	for line := range strings.Lines(td.Input) {
		var of []Sighting
		for _, w := range strings.Fields(line)[1:] {
			zone, age, _ := strings.Cut(w, "=")
			age, by, named := strings.Cut(age, "@")
			if !named {
				by = "a"
			}
			since, err := time.ParseDuration(age)
			if err != nil {
				t.Fatal(err)
			}
			for _, node := range strings.Split(by, ",") {
				of = append(of, Sighting{Node: node, Zone: zone, Rounds: 1, Turned: !td.HasArg("firstseen"), Since: d.now.Add(-since), Last: d.now,
					Answer: Answer{Kind: AnswerListed, Hits: []Hit{{Weight: 100, Policy: PolicyMove}}}})
			}
		}
		all = append(all, of)
	}
	nodes := 1
	td.MaybeScanArgs(t, "of", &nodes)
	return fmt.Sprintln("faulty:", d.rule.Worldwide(all, nodes))
}

func verdictText(v ListingVerdict) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, sum %d, soon %d", v.Level, v.Score, v.Soon)
	if v.Evidence > 0 {
		fmt.Fprintf(&b, ", evidence %d", v.Evidence)
	}
	if v.Hold {
		b.WriteString(", hold")
	}
	if v.Usable < v.Heavy {
		fmt.Fprintf(&b, ", blind: %d of %d heavy zones usable", v.Usable, v.Heavy)
	}
	b.WriteByte('\n')
	for _, t := range v.Terms {
		fmt.Fprintf(&b, "  %s: %s, %d listed %d clean %d blind, weight %d\n", t.Zone, t.State, t.Listed, t.Clean, t.Blind, t.Counts)
	}
	for _, n := range v.Needs {
		fmt.Fprintf(&b, "  needs: %s\n", n)
	}
	return b.String()
}

// Whatever nodes are told: silence and refusals never add to a sum, what one
// node of several says never moves anyone, and nothing unseen is called clean.
func TestListingProperties(t *testing.T) {
	zones := []Zone{readZone(t, []string{"zen", "heavy", "127.0.0.2=100"}), readZone(t, []string{"cop", "heavy", "127.0.0.2=50"}),
		readZone(t, []string{"tiny", "127.0.0.2=20"})}
	rule := DefaultListingRule()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 7).Draw(t, "nodes")
		liar := rapid.IntRange(0, n-1).Draw(t, "liar")
		honest := rapid.SampledFrom([]string{"clean", "unknown", "refused", "mixed"}).Draw(t, "honest")
		now := time.Unix(1e9, 0)
		c := ListingCase{Zones: zones, Nodes: n, Evidence: rapid.Bool().Draw(t, "evidence")}
		for node := range n {
			for i := range zones {
				s := Sighting{}
				for round := range rapid.IntRange(0, 5).Draw(t, "rounds") {
					at := now.Add(time.Duration(round) * 3 * time.Minute)
					kind := honest
					if kind == "mixed" {
						kind = rapid.SampledFrom([]string{"clean", "unknown", "refused"}).Draw(t, "kind")
					}
					a := map[string]Answer{"clean": zones[i].Read(nil), "unknown": {Why: WhyTimeout}, "refused": {Kind: AnswerRefused, Why: WhyOverLimit}}[kind]
					if node == liar {
						a = zones[i].Read([]netip.Addr{netip.MustParseAddr("127.0.0.2")})
					}
					s = rule.Fold(s, Observation{Node: fmt.Sprint(node), Zone: zones[i].Name, At: at, Answer: a})
				}
				c.Sightings = append(c.Sightings, s)
			}
		}
		c.Now = now.Add(15 * time.Minute)
		v := rule.Judge(c)
		if n > 1 && (v.Level == LevelMove || v.Score != v.Evidence) {
			t.Fatalf("one liar of %d: %+v", n, v)
		}
		if n == 1 && v.Level == LevelMove && !c.Evidence {
			t.Fatalf("a single node moved: %+v", v)
		}
		if v.Level == LevelClear && v.Usable < v.Heavy {
			t.Fatalf("clear though blind: %+v", v)
		}
	})
}
