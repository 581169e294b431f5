package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// count writes 1234567 as 1,234,567.
func count[N int | int64 | uint64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// some is "1 tenant", "3 tenants" or "2 addresses".
func some(n int, one string) string {
	switch {
	case n == 1:
		return "1 " + one
	case strings.HasSuffix(one, "s"):
		return count(n) + " " + one + "es"
	}
	return count(n) + " " + one + "s"
}

// bytesText is a size for people: 1 MB is 1,000 KB.
func bytesText(n uint64) string {
	units := []string{"B", "KB", "MB", "GB", "TB", "PB"}
	v, u := float64(n), 0
	for v >= 999.5 && u < len(units)-1 {
		v /= 1000
		u++
	}
	if u == 0 || v >= 9.95 {
		return fmt.Sprintf("%.0f %s", v, units[u])
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + units[u]
}

// sizeFlag reads a size as people write it: 5000, 90MB, "1.5 GB".
type sizeFlag struct{ n *uint64 }

var _ pflag.Value = sizeFlag{}

func (f sizeFlag) String() string {
	if f.n == nil || *f.n == 0 {
		return ""
	}
	return bytesText(*f.n)
}

func (f sizeFlag) Type() string { return "size" }

func (f sizeFlag) Set(s string) error {
	number := strings.TrimRight(s, "KMGTPBkmgtpb ")
	unit := strings.ToUpper(strings.TrimSpace(s[len(number):]))
	power, ok := map[string]float64{"": 1, "B": 1, "K": 1e3, "KB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "T": 1e12, "TB": 1e12, "P": 1e15, "PB": 1e15}[unit]
	v, err := strconv.ParseFloat(strings.ReplaceAll(number, ",", ""), 64)
	if err != nil || !ok || !(v >= 0) || v*power > 9e18 {
		return fmt.Errorf("write a size such as 500MB")
	}
	*f.n = uint64(v*power + 0.5)
	return nil
}

// at is a moment for people, UTC.
func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// from says how far t is away: "in 4m", "12s ago", "now".
func (a *app) from(t time.Time) string {
	d := t.Sub(a.now()).Round(time.Second)
	switch {
	case t.IsZero():
		return ""
	case d > 0:
		return "in " + span(d)
	case d < -time.Second:
		return span(-d) + " ago"
	}
	return "now"
}

// span is a duration in its one or two largest units.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d >= time.Second:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// millis is a duration the API gives in milliseconds.
func millis(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
