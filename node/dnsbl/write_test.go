package dnsbl

import (
	"testing"
	"time"
)

// What is written of the built-in lists reads as the same lists; what a trial
// scaled cannot be written, and says so.
func TestWriteLists(t *testing.T) {
	b, err := DefaultBook()
	if err != nil {
		t.Fatal(err)
	}
	text, ok := WriteLists(b.Lists())
	if !ok {
		t.Fatalf("not the same lists:\n%s", text)
	}
	if _, ok := WriteLists(b.Lists().Scaled(2 * time.Second)); ok {
		t.Fatal("scaled lists were written")
	}
}
