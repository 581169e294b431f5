package dnsbl

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"postern/tenant"
)

// Bounds of a zones file.
const (
	maxZonesFile = 256 << 10
	maxZones     = 64
	maxCodes     = 64
	maxGroups    = 16
	maxText      = 200
	maxKeyFile   = 4 << 10
)

// Zone is one list and the key it is asked with.
type Zone struct {
	tenant.Zone

	key secret
}

// Book is a zones file.
type Book struct {
	Zones  []Zone
	Groups []tenant.ZoneGroup
	Rule   tenant.ListingRule // [tenant.DefaultListingRule]
}

// Lists is what the cluster's state keeps of the book: all but the keys.
func (b *Book) Lists() tenant.SetLists {
	op := tenant.SetLists{Groups: b.Groups, Rule: b.Rule}
	for i := range b.Zones {
		op.Zones = append(op.Zones, b.Zones[i].Zone)
	}
	return op
}

// BookOf is the book of what the state keeps, with this node's keys: beside is
// where relative key files are, credentials the directory of systemd
// credentials. A zone whose key cannot be read is left out, and told.
func BookOf(l *tenant.Lists, beside, credentials string) (*Book, []error) {
	b := &Book{Groups: l.Groups, Rule: l.Rule}
	var failed []error
	for i := range l.Zones {
		z := Zone{Zone: l.Zones[i]}
		if err := z.readKey(beside, credentials); err != nil {
			failed = append(failed, fmt.Errorf("read key of zone %s: %w", z.Name, err))
			continue
		}
		b.Zones = append(b.Zones, z)
	}
	return b, failed
}

// For gives the zones that may be asked about things of a space.
func (b *Book) For(s tenant.Space) (zones []tenant.Zone) {
	for i := range b.Zones {
		if b.Zones[i].Asks(s) {
			zones = append(zones, b.Zones[i].Zone)
		}
	}
	return zones
}

//go:embed zones.yaml
var defaultText string

// DefaultText is the built-in zones file.
func DefaultText() string { return defaultText }

// Fault is one thing wrong in a zones file.
type Fault struct {
	Line int    `json:"line,omitempty"` // 0 when it is about the whole file
	Key  string `json:"key,omitempty"`
	Text string `json:"text"`
	Mend string `json:"mend,omitempty"`
}

func (f Fault) String() string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", f.Line)
	}
	if f.Key != "" {
		fmt.Fprintf(&b, "%s: ", f.Key)
	}
	b.WriteString(f.Text)
	if f.Mend != "" {
		fmt.Fprintf(&b, "; %s", f.Mend)
	}
	return b.String()
}

// ZonesError is a zones file that cannot be used, with all its faults.
type ZonesError struct {
	File   string
	Faults []Fault
}

func (e *ZonesError) Error() string {
	texts := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		texts[i] = f.String()
	}
	return e.File + ": " + strings.Join(texts, "\n"+e.File+": ")
}

// DefaultBook is the built-in zones file, read.
func DefaultBook() (*Book, error) {
	b, faults := ParseZones([]byte(defaultText))
	if len(faults) > 0 {
		return nil, &ZonesError{File: "built-in zones", Faults: faults}
	}
	return b, nil
}

// ReadZones reads a zones file and the keys it names. credentials is the
// directory of systemd credentials, "" without one. A file with faults is a
// *ZonesError.
func ReadZones(name, credentials string) (*Book, error) {
	text, err := readBounded(name, maxZonesFile)
	if err != nil {
		return nil, fmt.Errorf("read zones: %w", err)
	}
	b, faults := ParseZones(text)
	if len(faults) > 0 {
		return nil, &ZonesError{File: name, Faults: faults}
	}
	for i := range b.Zones {
		if err := b.Zones[i].readKey(filepath.Dir(name), credentials); err != nil {
			return nil, fmt.Errorf("read key of zone %s: %w", b.Zones[i].Name, err)
		}
	}
	return b, nil
}

func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("%s is larger than %d KB", name, most>>10)
	}
	return text, nil
}

// ParseZones reads the text of a zones file; every fault is told at once. Keys
// are not read.
func ParseZones(text []byte) (*Book, []Fault) {
	if len(text) > maxZonesFile {
		return nil, []Fault{{Text: fmt.Sprintf("the file is larger than %d KB", maxZonesFile>>10)}}
	}
	p := &zonesParser{}
	b := p.file(text)
	if len(p.faults) > 0 {
		slices.SortStableFunc(p.faults, func(a, b Fault) int { return a.Line - b.Line })
		return nil, p.faults
	}
	return b, nil
}
