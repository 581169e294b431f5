package node

import "testing"

// FuzzDataPlace: a place in a body is read as it was written, or refused.
func FuzzDataPlace(f *testing.F) {
	for _, s := range []string{"", "1-2-3 0", "1-2-3 -5", "1-2-3", "x 4", "1-2-3 99999999999999999999", "1-2-3 4 5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, n, err := dataOffset(s); err == nil && (n < 0 || id.IsZero()) {
			t.Fatalf("%q is read as %s %d", s, id, n)
		}
	})
}
