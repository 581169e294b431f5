package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"postern/node/admin"
)

// limitsFlag reads caution limits: minute=300, hour=5000, day=20000/500MB. One
// flag a window; none ends all of them.
type limitsFlag struct {
	limits []admin.Limit
	set    bool
}

func (f *limitsFlag) Type() string { return "WINDOW=MAILS[/SIZE]" }

func (f *limitsFlag) String() string {
	var all []string
	for _, l := range f.limits {
		all = append(all, limitText(l))
	}
	return strings.Join(all, ",")
}

func (f *limitsFlag) Set(s string) error {
	f.set = true
	for part := range strings.SplitSeq(s, ",") {
		if part == "none" {
			f.limits = []admin.Limit{}
			continue
		}
		window, amount, ok := strings.Cut(part, "=")
		mails, size, _ := strings.Cut(amount, "/")
		l := admin.Limit{Window: window}
		var err error
		if mails != "" {
			l.Mails, err = strconv.ParseUint(mails, 10, 63)
		}
		if err == nil && size != "" {
			err = sizeFlag{&l.Bytes}.Set(size)
		}
		switch window {
		case "minute", "hour", "half-day", "day":
		default:
			ok = false
		}
		if !ok || err != nil || amount == "" {
			return fmt.Errorf("write minute=300, hour=5000, half-day=MAILS or day=20000/500MB, or none")
		}
		f.limits = append(f.limits, l)
	}
	return nil
}

func limitText(l admin.Limit) string {
	text := count(l.Mails) + " e-mails"
	switch {
	case l.Mails == 0:
		text = bytesText(l.Bytes)
	case l.Bytes > 0:
		text += ", " + bytesText(l.Bytes)
	}
	return text + " a " + l.Window
}

func limitsText(x admin.Account) string {
	var all []string
	for _, l := range x.Limits {
		all = append(all, limitText(l))
	}
	if x.GapMS > 0 {
		all = append(all, span(time.Duration(x.GapMS*float64(time.Millisecond)))+" between messages")
	}
	return strings.Join(all, "; ")
}
