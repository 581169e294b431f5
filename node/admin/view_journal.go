package admin

import "time"

// JournalEntry is one decision.
type JournalEntry struct {
	Seq     uint64    `json:"seq"`
	At      time.Time `json:"at"`
	Index   uint64    `json:"index" doc:"The log entry that made it"`
	Actor   string    `json:"actor" doc:"automation, operator with the name it gave, or tenant"`
	Act     string    `json:"act"`
	Subject string    `json:"subject"`
	Why     string    `json:"why,omitempty"`
	Case    uint64    `json:"case,omitempty" doc:"The listing it belongs to, which has the evidence"`
	Hash    string    `json:"hash" doc:"SHA-256 over the hash of the entry before and this one"`
}

// JournalCheck is what a node found when it computed its journal's chain anew.
type JournalCheck struct {
	Node    string       `json:"node"`
	OK      bool         `json:"ok"`
	Entries int          `json:"entries" doc:"How many hold, from the oldest one kept"`
	First   uint64       `json:"first" doc:"The oldest entry kept"`
	Last    uint64       `json:"last" doc:"The newest"`
	Head    string       `json:"head" doc:"The newest one's hash: noted elsewhere, it shows a journal that was written anew"`
	Broken  *JournalFlaw `json:"broken,omitempty"`
	// Files is absent when the node writes none.
	Files *JournalFiles `json:"files,omitempty"`
}

// JournalFiles is what a node found in its files, which have also the entries
// that the state keeps no more.
type JournalFiles struct {
	Entries uint64       `json:"entries" doc:"How many hold"`
	First   uint64       `json:"first"`
	Last    uint64       `json:"last"`
	Missing uint64       `json:"missing" doc:"Entries made while this node was away: others have them"`
	Broken  *JournalFlaw `json:"broken,omitempty"`
}

// JournalFlaw is the first entry that is not what was noted.
type JournalFlaw struct {
	Seq  uint64 `json:"seq"`
	Want string `json:"want" doc:"The hash by the chain"`
	Have string `json:"have" doc:"The hash that is noted"`
}

// Incident is a case for people.
type Incident struct {
	Timeline []Moment `json:"timeline" nullable:"false"`
	Answer   string   `json:"answer,omitempty" doc:"What to answer to whoever reported it; names no tenant"`
	Next     []string `json:"next" nullable:"false" doc:"What to do next"`
}

// Moment is one thing of an incident: a decision, or what was measured.
type Moment struct {
	At      time.Time `json:"at"`
	Seq     uint64    `json:"seq,omitempty" doc:"Of the journal; measured things have none"`
	Actor   string    `json:"actor,omitempty"`
	Act     string    `json:"act"`
	Subject string    `json:"subject"`
	Why     string    `json:"why,omitempty"`
}
