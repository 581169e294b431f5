package admin

import "time"

// Cluster answers "is the cluster fine".
type Cluster struct {
	Node     string  `json:"node" doc:"That was asked"`
	Alone    bool    `json:"alone" doc:"A cluster of one without a peer port"`
	Leader   string  `json:"leader" doc:"Empty: none is known"`
	Term     uint64  `json:"term"`
	Index    uint64  `json:"index" doc:"Newest applied log entry of this node"`
	MayAct   bool    `json:"may_act" doc:"This node has a lease: it may accept and send"`
	LeaseMS  float64 `json:"lease_ms" doc:"How long the lease still runs"`
	Nodes    int     `json:"nodes"`
	Down     int     `json:"down" doc:"Nodes without a lease"`
	Tenants  int     `json:"tenants"`
	NotArmed int     `json:"not_armed" doc:"Tenants whose backup would not work right now"`
	OneCopy  int     `json:"one_copy" doc:"Tenants whose mail lies on one node alone"`
	// Mismatches counts nodes' reports of a state that differs; always 0.
	Mismatches uint64   `json:"mismatches" doc:"Reports of a state that differs; should be 0"`
	SkewMS     float64  `json:"skew_ms" doc:"How far this node's clock is from the others'"`
	AgeMS      *float64 `json:"age_ms,omitempty" doc:"How old what this answer says may be; absent: unknown"`
}

// NewJoinToken asks for a join token.
type NewJoinToken struct {
	Hours   int    `json:"hours,omitempty" minimum:"0" maximum:"720" doc:"How long it is good; 24 when absent"`
	Witness bool   `json:"witness,omitempty" doc:"The node that joins has no sources and owns nothing"`
	Node    string `json:"node,omitempty" maxLength:"63" doc:"Only a node of this name, which may be a registered one"`
}

// JoinToken lets nodes join.
type JoinToken struct {
	Token   string    `json:"token" doc:"Shown once"`
	Expires time.Time `json:"expires"`
	Witness bool      `json:"witness"`
	Node    string    `json:"node,omitempty"`
}

// OpenToken is a join token that is good now, without its secret.
type OpenToken struct {
	ID      string    `json:"id" doc:"Names it in lists; lets nobody join"`
	Expires time.Time `json:"expires"`
	Witness bool      `json:"witness"`
	Node    string    `json:"node,omitempty" doc:"Only a node of this name may join by it"`
}

// Maintenance lets a node be away for a moment.
type Maintenance struct {
	Seconds int `json:"seconds,omitempty" minimum:"0" maximum:"30" doc:"How long at most; 30 when absent"`
}

// Move asks for a handover.
type Move struct {
	To string `json:"to" minLength:"1" maxLength:"63" doc:"Node"`
}

// Forecast says what would happen; nothing is moved.
type Forecast struct {
	What    string          `json:"what"`
	Moves   []ForecastMove  `json:"moves" nullable:"false"`
	Stays   int             `json:"stays" doc:"Tenants that are not touched"`
	Nodes   []ForecastNode  `json:"nodes" nullable:"false" doc:"How many each node would own"`
	Nowhere []ForecastStuck `json:"nowhere" nullable:"false" doc:"Tenants that would have to move and cannot: their mail would wait"`
	// Reserve tells whether another loss after this one would leave all a place.
	Reserve bool `json:"reserve" doc:"After this, the loss of any one more node would still leave every tenant a place"`
	Quorum  bool `json:"quorum" doc:"The nodes left could still decide"`
	// Suspects are, for a listing, the accounts that used the source.
	Suspects []CaseSuspect `json:"suspects,omitempty" doc:"For a listing: the accounts that used the source, the worst first"`
}

// ForecastMove is one tenant that would move.
type ForecastMove struct {
	Tenant string `json:"tenant"`
	From   Place  `json:"from"`
	To     Place  `json:"to"`
	Why    string `json:"why"`
	Sends  bool   `json:"sends" doc:"It is prepared there; else it would accept mail and send nothing"`
}

// ForecastStuck is one tenant that would have to move and cannot.
type ForecastStuck struct {
	Tenant string `json:"tenant"`
	Why    string `json:"why"`
}

// ForecastNode is one node's load.
type ForecastNode struct {
	Node string `json:"node"`
	Now  int    `json:"now"`
	Then int    `json:"then"`
}

// Capacity says what the cluster carries.
type Capacity struct {
	Nodes     int  `json:"nodes" doc:"That may own tenants"`
	Witnesses int  `json:"witnesses"`
	Tenants   int  `json:"tenants" doc:"Now"`
	Most      int  `json:"most" doc:"Tenants with reserve: any one node may be lost"`
	MostBare  int  `json:"most_without_reserve"`
	IPv4      int  `json:"ipv4" doc:"Sources with an IPv4 address"`
	IPv6      int  `json:"ipv6"`
	Dedicated int  `json:"dedicated" doc:"Sources for one tenant each"`
	Free      int  `json:"free" doc:"Dedicated sources no place names"`
	Shared    int  `json:"shared" doc:"Sources in pools"`
	Networks  int  `json:"networks" doc:"Different /24s of the IPv4 sources"`
	Reserve   bool `json:"reserve" doc:"Today's tenants all have a place after the loss of any one node"`
	// Short says what to add, in sentences.
	Short []string `json:"short" nullable:"false" doc:"What is missing"`
}
