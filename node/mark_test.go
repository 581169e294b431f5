package node

import (
	"testing"

	"postern/tenant"
)

// Nodes with the same secret make the same marks, others do not, and a text is
// another mark as another thing.
func TestMarks(t *testing.T) {
	make32 := func(b byte) *marker {
		t.Helper()
		secret := make([]byte, secretSize)
		secret[0] = b
		s, err := newSealer(secret)
		if err != nil {
			t.Fatal(err)
		}
		return s.marks
	}
	a, same, other := make32(1), make32(1), make32(2)
	m := a.Mark(tenant.MarkDomain, "shoes.test")
	if m != same.Mark(tenant.MarkDomain, "shoes.test") || m.Kind != tenant.MarkDomain {
		t.Error("two nodes with one secret make different marks")
	}
	if m.Hash == other.Mark(tenant.MarkDomain, "shoes.test").Hash {
		t.Error("the mark does not depend on the secret")
	}
	if m.Hash == a.Mark(tenant.MarkName, "shoes.test").Hash || m.Hash == a.Mark(tenant.MarkDomain, "shoes.tes").Hash {
		t.Error("two things have one mark")
	}
}
