package delivery

import (
	"context"
	"net/netip"

	"postern/node/bounce"
	"postern/node/queue"
)

// dialer opens sessions from a source.
type dialer interface {
	// Dial connects from src to one address of h (in order), greets with ehlo
	// and upgrades to TLS where offered. The error is a *hostError.
	Dial(ctx context.Context, src netip.Addr, ehlo string, h host) (session, error)
}

// session is one open SMTP connection. Not safe for concurrent use.
type session interface {
	// Send makes one transaction. before is called right before the final dot;
	// its error ends the transaction without a dot. res is always complete: one
	// reply for each recipient.
	Send(ctx context.Context, m outbound, before func() error) result
	// Alive reports whether another transaction may be tried on it.
	Alive() bool
	Peer() peer
	// Close says QUIT within a second and closes.
	Close()
}

// peer describes the far end for trace and log.
type peer struct {
	Host   string
	Addr   netip.AddrPort
	TLS    string // "TLS1.3 TLS_AES_128_GCM_SHA256" or ""
	Banner string
}

// outbound is one message for one transaction.
type outbound struct {
	From     string
	Rcpts    []queue.Rcpt
	Body     queue.Body
	EightBit bool
	UTF8     bool
	Ret      string
	EnvID    string
}

// stage is how far a transaction came.
type stage uint8

const (
	stageConnect stage = iota + 1
	stageBanner
	stageEHLO
	stageTLS
	stageMail
	stageRcpt
	stageData
	stageBody
	stageDot // the final dot was written, wholly or in part: outcome may be unknown
)

// said is the stage in the words of package bounce.
func (s stage) said() bounce.Stage {
	switch s {
	case stageBanner:
		return bounce.StageBanner
	case stageEHLO, stageTLS:
		return bounce.StageHello
	case stageMail:
		return bounce.StageMail
	case stageRcpt:
		return bounce.StageRcpt
	case stageData, stageBody, stageDot:
		return bounce.StageData
	}
	return 0
}

// result is what one transaction gave. Replies[i] belongs to Rcpts[i]; a 2xx
// there is a delivery. A broken connection gives Code 0 with our diagnosis.
type result struct {
	Stage    stage
	DotSent  bool // at least one octet of the final dot may have left
	Replies  []queue.Reply
	Err      error // I/O fault, nil when every reply was read
	Dialogue string
	DSN      bool // next hop took over DSN duties (it offers DSN)
	// Stale says that a kept session turned out to be closed by the far end
	// before this transaction: no attempt took place, try a new session at once.
	Stale bool
}

// hostError is why no session came about.
type hostError struct {
	Stage stage
	Reply queue.Reply // the far end's words (banner 554, EHLO refused) or our diagnosis
	// Ours: the source address is not on this machine or we are out of
	// descriptors. Never bounce, never try another source.
	Ours     bool
	Dialogue string
	Peer     peer
	Err      error
}

func (e *hostError) Error() string { return e.Reply.Text }
