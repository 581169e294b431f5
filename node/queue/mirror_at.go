package queue

import (
	"encoding/binary"

	"postern/tenant"
)

// verdict is a holder's answer to a log.
type verdict byte

const (
	verdictFresh verdict = iota + 1 // begun: nothing older has been compared
	verdictKnown                    // goes on
	verdictWhole                    // goes on, and everything older has been compared
	verdictStale                    // a later owner or generation was here
	verdictBusy                     // not now
	verdictChunk                    // a chunk file is missing: send it and go on
	verdictAgain                    // the log is not open on this connection any more
)

const atLen = 3*8 + 1 + 8

// atFrame is the holder's word on one log.
type atFrame struct {
	tenant            tenant.ID
	epoch, generation uint64
	verdict           verdict
	last              uint64
}

func (a *atFrame) append(b []byte) []byte {
	b = be64(be64(be64(b, uint64(a.tenant)), a.epoch), a.generation)
	return be64(append(b, byte(a.verdict)), a.last)
}

func readAt(b []byte) atFrame {
	return atFrame{tenant.ID(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:]),
		binary.BigEndian.Uint64(b[16:]), verdict(b[24]), binary.BigEndian.Uint64(b[25:])}
}
