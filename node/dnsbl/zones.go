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

// Zone is one list: what a verdict needs of it and how it is asked.
type Zone struct {
	tenant.Zone
	Rate          int    // questions a second at most
	Test          string // a domain the list must list
	KeyFile       string // the key is in this file
	KeyCredential string // or in this systemd credential

	key secret
}

// Keyed says whether the zone is asked with a key.
func (z *Zone) Keyed() bool { return z.KeyFile != "" || z.KeyCredential != "" }

// Book is a zones file.
type Book struct {
	Zones  []Zone
	Groups []tenant.ZoneGroup
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
