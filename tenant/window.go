package tenant

import "time"

// WindowAt is the window of a kind that t lies in. The zero Window comes back
// for an unknown kind.
func WindowAt(k WindowKind, t time.Time) Window {
	t = t.UTC()
	if k == Month {
		return Window{Kind: k, Start: time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC).Unix()}
	}
	n := k.seconds()
	if n == 0 {
		return Window{}
	}
	s := t.Unix()
	return Window{Kind: k, Start: s - ((s%n)+n)%n}
}

// seconds is the length of the kinds that have a fixed one.
func (k WindowKind) seconds() int64 {
	switch k {
	case Minute:
		return 60
	case Hour:
		return 3600
	case HalfDay:
		return 12 * 3600
	case Day:
		return 24 * 3600
	}
	return 0
}

// End is when the window has passed: the start of the next one.
func (w Window) End() time.Time {
	t := time.Unix(w.Start, 0).UTC()
	if w.Kind == Month {
		return t.AddDate(0, 1, 0)
	}
	return t.Add(time.Duration(w.Kind.seconds()) * time.Second)
}

// Next is the window after w.
func (w Window) Next() Window { return WindowAt(w.Kind, w.End()) }

// Valid reports whether w starts where a window of its kind starts.
func (w Window) Valid() bool {
	t := time.Unix(w.Start, 0)
	return w.Kind != 0 && w.Start >= 0 && inRange(t) && WindowAt(w.Kind, t) == w
}

// less orders windows by start, then kind.
func (w Window) compare(v Window) int {
	switch {
	case w.Start != v.Start:
		if w.Start < v.Start {
			return -1
		}
		return 1
	default:
		return int(w.Kind) - int(v.Kind)
	}
}

// short reports whether windows of the kind are for caution, not for selling:
// they leave no history.
func (k WindowKind) short() bool { return k.seconds() > 0 }

// counted lists the kinds of windows an account's quota is counted in.
func (a *Account) counted() []WindowKind {
	kinds := make([]WindowKind, 1, 1+len(a.Limits))
	kinds[0] = Month
	for _, l := range a.Limits {
		kinds = append(kinds, l.Kind)
	}
	return kinds
}

// Plus adds, staying at the largest number instead of overflowing.
func (a Amount) Plus(b Amount) Amount {
	return Amount{Mails: plus(a.Mails, b.Mails), Bytes: plus(a.Bytes, b.Bytes)}
}

// Minus subtracts, staying at 0.
func (a Amount) Minus(b Amount) Amount {
	return Amount{Mails: minus(a.Mails, b.Mails), Bytes: minus(a.Bytes, b.Bytes)}
}

// Max takes the larger of each number.
func (a Amount) Max(b Amount) Amount {
	return Amount{Mails: max(a.Mails, b.Mails), Bytes: max(a.Bytes, b.Bytes)}
}

// Covers reports whether neither number of b is larger than that of a.
func (a Amount) Covers(b Amount) bool { return a.Mails >= b.Mails && a.Bytes >= b.Bytes }

// IsZero reports whether nothing is in it.
func (a Amount) IsZero() bool { return a == Amount{} }

// upTo is the amount cut to a limit of which used is gone; a limit of 0 cuts nothing.
func (a Amount) upTo(limit, used Amount) Amount {
	if limit.Mails != 0 {
		a.Mails = min(a.Mails, minus(limit.Mails, used.Mails))
	}
	if limit.Bytes != 0 {
		a.Bytes = min(a.Bytes, minus(limit.Bytes, used.Bytes))
	}
	return a
}

func plus(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}

func minus(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}
