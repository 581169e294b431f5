package tenant

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Classes lists the classes of mail, most urgent first.
func Classes() []Class { return []Class{Transactional, Bulk} }

func (c Class) valid() bool { return c <= Bulk }

func (c Class) String() string {
	switch c {
	case Transactional:
		return "transactional"
	case Bulk:
		return "bulk"
	}
	return "class " + strconv.Itoa(int(c))
}

// ParseClass reads what String writes.
func ParseClass(s string) (Class, error) {
	for _, c := range Classes() {
		if c.String() == s {
			return c, nil
		}
	}
	return 0, fmt.Errorf("parse class: %q is neither transactional nor bulk", clip(s))
}

// MarshalText makes a class a word in JSON.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (c *Class) UnmarshalText(b []byte) error {
	v, err := ParseClass(string(b))
	if err == nil {
		*c = v
	}
	return err
}

// String is "NODE/SOURCE" with a dedicated source, "NODE/pool" with the pool,
// "none" for the zero place.
func (p Place) String() string {
	switch {
	case p == Place{}:
		return "none"
	case p.Source == 0:
		return strconv.FormatUint(uint64(p.Node), 10) + "/pool"
	}
	return strconv.FormatUint(uint64(p.Node), 10) + "/" + strconv.FormatUint(uint64(p.Source), 10)
}

// ParsePlace reads what String writes.
func ParsePlace(s string) (Place, error) {
	if s == "none" {
		return Place{}, nil
	}
	n, src, ok := strings.Cut(s, "/")
	node, err := strconv.ParseUint(n, 10, 64)
	if !ok || err != nil || node == 0 {
		return Place{}, fmt.Errorf("parse place: %q is not NODE/SOURCE, NODE/pool or none", clip(s))
	}
	p := Place{Node: NodeID(node)}
	if src == "pool" {
		return p, nil
	}
	id, err := strconv.ParseUint(src, 10, 64)
	if err != nil || id == 0 {
		return Place{}, fmt.Errorf("parse place: %q is not NODE/SOURCE, NODE/pool or none", clip(s))
	}
	p.Source = SourceID(id)
	return p, nil
}

// MarshalText makes a place a word in JSON.
func (p Place) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (p *Place) UnmarshalText(b []byte) error {
	v, err := ParsePlace(string(b))
	if err == nil {
		*p = v
	}
	return err
}

func (k WindowKind) String() string {
	switch k {
	case Month:
		return "month"
	case Minute:
		return "minute"
	case Hour:
		return "hour"
	case HalfDay:
		return "half day"
	case Day:
		return "day"
	}
	return "window kind " + strconv.Itoa(int(k))
}

// String is "month 2026-11", or the kind with the start.
func (w Window) String() string {
	t := time.Unix(w.Start, 0).UTC()
	if w.Kind == Month {
		return "month " + t.Format("2006-01")
	}
	return w.Kind.String() + " " + t.Format(time.RFC3339)
}

func (a Amount) String() string {
	return fmt.Sprintf("%d mails, %d bytes", a.Mails, a.Bytes)
}

// String is the id in hexadecimal.
func (id RequestID) String() string { return hex.EncodeToString(id[:]) }
