package lab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Mood is how a mail exchanger behaves.
type Mood struct {
	Kind MoodKind
	// Wait is the greylisting time, or the tarpit's pause before each reply.
	Wait time.Duration
	// TLS offers STARTTLS with a self-signed certificate.
	TLS bool
	// List is the DNS list that a blocked client is told of.
	List string
}

// MoodKind is the kind of a mood, by the word the API uses.
type MoodKind string

// The moods.
const (
	Fine      MoodKind = "fine"
	Greylist  MoodKind = "greylist"  // the first try of a sender and recipient gets 451
	TempFail  MoodKind = "tempfail"  // 451 to every recipient
	Reject    MoodKind = "reject"    // 550 5.1.1 to every recipient
	Full      MoodKind = "full"      // 452 4.2.2 to every recipient
	Blocked   MoodKind = "blocked"   // 550 5.7.1 at MAIL: the client's address is refused
	Tarpit    MoodKind = "tarpit"    // every reply comes late
	HangUp    MoodKind = "hangup"    // takes nothing and closes after the dot, the first time
	Forgetful MoodKind = "forgetful" // keeps the message and closes after the dot, the first time
	BlackHole MoodKind = "blackhole" // connects and never says a word
)

// moodTLS is the API's word for a fine exchanger with STARTTLS.
const moodTLS MoodKind = "tls"

// Moods lists every kind.
func Moods() []MoodKind {
	return []MoodKind{Fine, Greylist, TempFail, Reject, Full, Blocked, Tarpit, HangUp, Forgetful, BlackHole}
}

// moodJSON is the wire form; waits are written as "5s".
type moodJSON struct {
	Mood MoodKind `json:"mood"`
	Wait string   `json:"wait,omitempty"`
	TLS  bool     `json:"tls,omitempty"`
	List string   `json:"list,omitempty"`
}

// MarshalJSON writes the API's form.
func (m Mood) MarshalJSON() ([]byte, error) {
	j := moodJSON{Mood: m.Kind, TLS: m.TLS, List: m.List}
	if m.Wait > 0 {
		j.Wait = m.Wait.String()
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads the API's form.
func (m *Mood) UnmarshalJSON(b []byte) error {
	var j moodJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	wait := time.Duration(0)
	if j.Wait != "" {
		d, err := time.ParseDuration(j.Wait)
		if err != nil || d < 0 || d > time.Hour {
			return fmt.Errorf("read mood: bad wait %q", j.Wait)
		}
		wait = d
	}
	n, err := ParseMood(string(j.Mood))
	if err != nil {
		return err
	}
	n.TLS = n.TLS || j.TLS
	if n.List = j.List; len(n.List) > 200 || strings.ContainsAny(n.List, "\r\n") {
		return fmt.Errorf("read mood: bad list %.40q", n.List)
	}
	if wait > 0 {
		n.Wait = wait
	}
	*m = n
	return nil
}

// ParseMood reads a mood's word and gives it its usual wait.
func ParseMood(s string) (Mood, error) {
	k := MoodKind(strings.ToLower(strings.TrimSpace(s)))
	switch {
	case k == moodTLS:
		return Mood{Kind: Fine, TLS: true}, nil
	case !slices.Contains(Moods(), k):
		return Mood{}, fmt.Errorf("read mood: no mood %q; there are tls and %v", s, Moods())
	}
	m := Mood{Kind: k}
	switch k {
	case Greylist:
		m.Wait = 5 * time.Second
	case Tarpit:
		m.Wait = time.Second
	}
	return m, nil
}
