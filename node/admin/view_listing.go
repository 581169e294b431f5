package admin

import "time"

// SetLists replaces the DNS lists that the cluster believes.
type SetLists struct {
	Zones string `json:"zones" maxLength:"262144" doc:"Text of a zones file"`
	Round string `json:"round,omitempty" maxLength:"16" doc:"How long a round is, such as 2s, instead of 2 minutes; every other length of time changes with it. For trials"`
}

// Lists is what the cluster believes.
type Lists struct {
	Zones []ListZone `json:"zones" nullable:"false"`
	Apart string     `json:"apart" doc:"Rounds closer together count as one"`
	Calm  string     `json:"calm" doc:"How long a listed source must be clean until it counts as clean"`
}

// ListZone is one DNS list.
type ListZone struct {
	Name  string `json:"name"`
	Heavy bool   `json:"heavy" doc:"A verdict without it is blind"`
	Every string `json:"every"`
	Keyed bool   `json:"keyed"`
	Aside bool   `json:"aside" doc:"It began to list the world, and counts nothing"`
}

// Listing is how a source stands with the DNS lists.
type Listing struct {
	Addr   string     `json:"addr"`
	Node   string     `json:"node"`
	Level  string     `json:"level" enum:"unheard,blind,clear,info,notice,warning,move" doc:"unheard: nobody was asked yet; blind: not enough of the heavy zones can be seen"`
	Since  *time.Time `json:"since,omitempty"`
	Score  int        `json:"score" doc:"The sum; 100 moves tenants"`
	Listed *time.Time `json:"listed,omitempty" doc:"Since when it counts as listed"`
	Calm   *time.Time `json:"calm,omitempty" doc:"Since when nothing speaks against it"`
	Heavy  int        `json:"heavy" doc:"Heavy zones"`
	Usable int        `json:"heavy_usable" doc:"Those that enough nodes have an answer from"`
}

// ListingDetail is a listing with its arithmetic and what it rests on.
type ListingDetail struct {
	Listing
	Soon  int           `json:"soon" doc:"The sum, once no round is missing"`
	Needs []string      `json:"needs" nullable:"false" doc:"What keeps a source that looks bad from moving anyone"`
	Zones []ListingZone `json:"zones" nullable:"false"`
	// Refusals is there when something was refused lately.
	// Written is there when operators of lists wrote lately.
	Written  []ListWord `json:"written,omitempty" doc:"What operators of lists wrote of it, as far as they signed it. It is asked at once, and that proves nothing"`
	Refusals *Refusals  `json:"refusals,omitempty" doc:"What mail hosts refused because of the address, measured while delivering"`
	Case     *Case      `json:"case,omitempty" doc:"What followed from its last listing or drill"`
	// Incident is there when Case is.
	Incident *Incident `json:"incident,omitempty" doc:"The case told as an incident"`
}

// ListWord is what one list's operator wrote about a source.
type ListWord struct {
	Zone  string    `json:"zone"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	Count uint64    `json:"count" doc:"Notices"`
}

// Refusals are what mail hosts refused a source because of its address.
type Refusals struct {
	At        time.Time         `json:"at" doc:"It was counted up to then, for as long as answers of lists count"`
	Attempts  uint64            `json:"attempts"`
	Refused   uint64            `json:"refused" doc:"By hosts of known providers, with what waits because of it"`
	Messages  uint64            `json:"messages" doc:"To 64 a provider"`
	Providers []RefusalProvider `json:"providers" nullable:"false"`
	Named     []string          `json:"named" nullable:"false" doc:"Lists that refusals named, whoever said so: they are asked at once, and that proves nothing"`
	Counts    int               `json:"counts" doc:"What of it is in the sum: nothing below 5 % of the attempts, 20 messages and 3 providers"`
}

// RefusalProvider is one provider's part of them.
type RefusalProvider struct {
	Provider string `json:"provider"`
	Refused  uint64 `json:"refused"`
}

// ListingZone is one zone's part.
type ListingZone struct {
	Zone    string          `json:"zone"`
	Heavy   bool            `json:"heavy"`
	State   string          `json:"state" enum:"blind,clean,counts,early,alone,faulty,no weight"`
	Listed  int             `json:"listed" doc:"Nodes that say listed"`
	Clean   int             `json:"clean"`
	Blind   int             `json:"blind"`
	Weight  int             `json:"weight" doc:"What enough nodes agree on"`
	Counts  int             `json:"counts" doc:"What of it is in the sum"`
	Delist  string          `json:"delist,omitempty" doc:"Where to ask for removal; only where it is listed"`
	Answers []ListingAnswer `json:"answers" nullable:"false"`
	// Delisting is there where it is listed, or a request was noted.
	Delisting *Delist `json:"delisting,omitempty" doc:"How it takes the source off, and what it was asked"`
}

// ListingAnswer is what one node was told.
type ListingAnswer struct {
	Node   string     `json:"node"`
	Says   string     `json:"says" enum:"unknown,clean,listed,refused"`
	Why    string     `json:"why,omitempty" doc:"Why it is neither listed nor clean"`
	Codes  []string   `json:"codes" nullable:"false"`
	Means  []string   `json:"means" nullable:"false"`
	Text   string     `json:"text,omitempty" doc:"The list's own words"`
	Since  *time.Time `json:"since,omitempty"`
	Last   *time.Time `json:"last,omitempty"`
	Rounds int        `json:"rounds"`
}
