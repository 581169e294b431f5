package tenant

import "testing"

// FuzzDays: what is read is written as it was.
func FuzzDays(f *testing.F) {
	for _, s := range []string{"30d", "forever", "0d", "1", "d", "030d", "99999999999d", "-1d", "1 d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseDays(s); err == nil && DaysText(n) != s {
			t.Fatalf("%q is read as %d", s, n)
		} else if err != nil && len(err.Error()) > 200 {
			t.Fatalf("%q: %v", s, err)
		}
	})
}

// FuzzTraces: texts of any kind are looked through, and a name stands out in each.
func FuzzTraces(f *testing.F) {
	for _, s := range []string{"", "a=b=c@d.e", "tenant", "x..y@@", "\xff\xfe <\x00>", "======="} {
		f.Add(s)
	}
	x := &Traces{&traces{name: "shoes", marks: []traceMark{markTrace("news@shoes.test")}}}
	f.Fuzz(func(t *testing.T, s string) {
		x.In(s)
		if !x.In(s+" <News@Shoes.test>") || !x.In("to:news@shoes.test "+s) || !x.In(s+" tenant shoes.") {
			t.Fatalf("not found beside %q", s)
		}
	})
}
