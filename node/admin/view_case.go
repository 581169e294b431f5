package admin

import "time"

// Case is one listing, or drill, and what followed.
type Case struct {
	ID       uint64        `json:"id"`
	Source   string        `json:"source"`
	Node     string        `json:"node"`
	Drill    bool          `json:"drill" doc:"The listing was pretended"`
	Mode     string        `json:"mode" enum:"on,shadow" doc:"shadow: what would have followed; nothing was done"`
	Seen     time.Time     `json:"seen" doc:"The first answer that counted"`
	Raised   time.Time     `json:"raised" doc:"The verdict"`
	Ended    *time.Time    `json:"ended,omitempty" doc:"The source may be used again since then"`
	Why      string        `json:"why,omitempty" doc:"Why it ended"`
	Score    int           `json:"score" doc:"The sum of the verdict"`
	Inputs   []CaseInput   `json:"inputs" nullable:"false"`
	Culprit  string        `json:"culprit,omitempty" doc:"The account that is surely the cause"`
	Suspects []CaseSuspect `json:"suspects" nullable:"false" doc:"The accounts that used the source, the worst first"`
	Tenants  []CaseTenant  `json:"tenants" nullable:"false"`
}

// CaseInput is one zone's part in the verdict when it was made.
type CaseInput struct {
	Zone   string   `json:"zone"`
	Listed int      `json:"listed"`
	Clean  int      `json:"clean"`
	Blind  int      `json:"blind"`
	Counts int      `json:"counts"`
	Codes  []string `json:"codes" nullable:"false"`
}

// CaseSuspect is an account with what speaks against it.
type CaseSuspect struct {
	Account string `json:"account"`
	Tenant  string `json:"tenant"`
	Score   int    `json:"score" doc:"60, and twice the next one's, makes the culprit"`
	Sum     string `json:"sum"`
	Held    bool   `json:"held"`
	// Throttled is 0 for who is not.
	Throttled uint64            `json:"throttled,omitempty" doc:"Recipients it may send to in an hour now: a strong suspect sends a tenth until the case has ended"`
	Terms     []CaseSuspectTerm `json:"terms" nullable:"false"`
}

// CaseSuspectTerm is one thing that may speak against an account.
type CaseSuspectTerm struct {
	Name   string `json:"name"`
	Points int    `json:"points"`
	NoData bool   `json:"no_data" doc:"Nothing is known: it counts 0"`
	Text   string `json:"text,omitempty"`
}

// CaseTenant is what became of one tenant.
type CaseTenant struct {
	Tenant        string     `json:"tenant"`
	Fate          string     `json:"fate" enum:"moves,stays,waits,held"`
	Why           string     `json:"why"`
	To            *Place     `json:"to,omitempty"`
	Until         *time.Time `json:"until,omitempty" doc:"When it is decided anew"`
	LastDot       *time.Time `json:"last_dot,omitempty" doc:"The last message that left by the source"`
	Owned         *time.Time `json:"owned,omitempty" doc:"Its new node had taken over"`
	FirstDelivery *time.Time `json:"first_delivery,omitempty" doc:"From the new place"`
}

// DrillListing pretends a listing.
type DrillListing struct {
	Tenant string `json:"tenant,omitempty" maxLength:"63" doc:"For this tenant alone"`
}

// EndListing ends a case.
type EndListing struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500"`
}

// Automation is what may follow from listings.
type Automation struct {
	Mode      string `json:"mode,omitempty" enum:"on,shadow,off" doc:"Absent in a change: as it is"`
	OnListing string `json:"on_listing,omitempty" enum:"move,wait,stay" doc:"What becomes of tenants without a setting of their own; absent in a change: as it is"`
}

// Evidence speaks against an account by name.
type Evidence struct {
	Note   string `json:"note" minLength:"1" maxLength:"500" doc:"Who said what"`
	Source string `json:"source,omitempty" maxLength:"45" doc:"The IP it was said of; of any without it"`
}
