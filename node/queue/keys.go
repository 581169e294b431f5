package queue

import (
	"encoding/binary"

	"postern/tenant"
)

// Tables: the first byte of every key. The numbers are on disk; never reuse one.
const (
	tabMessage byte = 0x10 // tenant epoch seq                            -> head, prefix, body
	tabBody    byte = 0x11 // tenant epoch seq                            -> prefix, body (when too big for the message record)
	tabDue     byte = 0x20 // tenant account class domain 0 due epoch seq n rev -> when it was written
	tabShare   byte = 0x30 // tenant epoch seq n rev                      -> state after an attempt, or ended
	tabDoubt   byte = 0x38 // tenant epoch seq n rev                      -> found in doubt after a crash
	tabSpend   byte = 0x40 // tenant epoch account window                 -> sum (merge)
	tabCount   byte = 0x48 // tenant                                      -> sum of messages and recipients (merge)
	tabOutcome byte = 0x50 // tenant epoch seq n rev                      -> what an attempt gave
	tabTalk    byte = 0x58 // tenant epoch seq n rev                      -> the SMTP dialogue
	tabDay     byte = 0x60 // tenant epoch day                            -> first seq of that day
	tabFence   byte = 0x68 // tenant epoch                                -> adopted here
	tabBar     byte = 0x6a // tenant                                      -> lowest epoch whose records are let in
	tabHeld    byte = 0x6c // tenant                                      -> position of a log kept for another node
	tabSync    byte = 0x6e // tenant                                      -> how far that log is like the owner's
	tabChunk   byte = 0x70 // file name (16 octets)                       -> the message it belongs to

	tabReturned    byte = 0x72 // tenant epoch       -> handed over to a later owner
	tabTransaction byte = 0x78 // tenant transaction -> epoch seq
	tabDenied      byte = 0x79 // tenant transaction -> epoch seq where it would be; zeros: not known
	tabSuppress    byte = 0x7a // tenant address     -> why nothing is sent to it
)

// shareKey names an item within one tenant's log.
type shareKey struct {
	epoch, seq uint64
	n          uint16
}

func be64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }
func be32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }
func be16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }

func tenantPrefix(b []byte, tab byte, t tenant.ID) []byte {
	return be64(append(b, tab), uint64(t))
}

const messageKeyLen = 1 + 3*8

func messageKey(b []byte, tab byte, id ID) []byte {
	return be64(be64(tenantPrefix(b, tab, id.Tenant), id.Epoch), id.Seq)
}

// idOfKey reads the id out of a key whose table is keyed by message.
func idOfKey(k []byte) (ID, bool) {
	if len(k) < messageKeyLen {
		return ID{}, false
	}
	return ID{
		Tenant: tenant.ID(binary.BigEndian.Uint64(k[1:])),
		Epoch:  binary.BigEndian.Uint64(k[9:]),
		Seq:    binary.BigEndian.Uint64(k[17:]),
	}, true
}

const revKeyLen = messageKeyLen + 2 + 4

func revKey(b []byte, tab byte, id ID, n uint16, rev uint32) []byte {
	return be32(be16(messageKey(b, tab, id), n), rev)
}

func parseRevKey(k []byte) (id ID, n uint16, rev uint32, ok bool) {
	if len(k) != revKeyLen {
		return ID{}, 0, 0, false
	}
	id, _ = idOfKey(k)
	return id, binary.BigEndian.Uint16(k[25:]), binary.BigEndian.Uint32(k[27:]), true
}

// lanePrefix starts all due keys of a lane. The domain ends with a zero octet,
// which no domain contains, so one lane's keys are one range.
func lanePrefix(b []byte, l Lane) []byte {
	b = be64(tenantPrefix(b, tabDue, l.Tenant), uint64(l.Account))
	b = append(b, byte(l.Class))
	return append(append(b, l.Domain...), 0)
}

// dueAt is a position in a lane.
type dueAt struct {
	due        int64 // Unix microseconds
	epoch, seq uint64
	n          uint16
	rev        uint32
}

const dueTailLen = 3*8 + 2 + 4

func dueKey(b []byte, l Lane, d dueAt) []byte {
	return appendDueTail(lanePrefix(b, l), d)
}

func appendDueTail(b []byte, d dueAt) []byte {
	b = be64(be64(be64(b, uint64(d.due)), d.epoch), d.seq)
	return be32(be16(b, d.n), d.rev)
}

func (d dueAt) key() shareKey { return shareKey{d.epoch, d.seq, d.n} }

// before orders positions as their keys are ordered.
func (d dueAt) before(o dueAt) bool {
	switch {
	case d.due != o.due:
		return d.due < o.due
	case d.epoch != o.epoch:
		return d.epoch < o.epoch
	case d.seq != o.seq:
		return d.seq < o.seq
	case d.n != o.n:
		return d.n < o.n
	}
	return d.rev < o.rev
}

func parseDueTail(k []byte) (dueAt, bool) {
	if len(k) < dueTailLen {
		return dueAt{}, false
	}
	k = k[len(k)-dueTailLen:]
	return dueAt{
		due:   int64(binary.BigEndian.Uint64(k)),
		epoch: binary.BigEndian.Uint64(k[8:]),
		seq:   binary.BigEndian.Uint64(k[16:]),
		n:     binary.BigEndian.Uint16(k[24:]),
		rev:   binary.BigEndian.Uint32(k[26:]),
	}, true
}

// parseDueKey reads a whole due key.
func parseDueKey(k []byte) (Lane, dueAt, bool) {
	const head = 1 + 8 + 8 + 1
	if len(k) < head+1+dueTailLen || k[0] != tabDue || k[len(k)-dueTailLen-1] != 0 {
		return Lane{}, dueAt{}, false
	}
	d, _ := parseDueTail(k)
	return Lane{
		Tenant:  tenant.ID(binary.BigEndian.Uint64(k[1:])),
		Account: tenant.AccountID(binary.BigEndian.Uint64(k[9:])),
		Class:   tenant.Class(k[17]),
		Domain:  string(k[head : len(k)-dueTailLen-1]),
	}, d, true
}

func spendKey(b []byte, t tenant.ID, epoch uint64, a tenant.AccountID, w tenant.Window) []byte {
	b = be64(be64(tenantPrefix(b, tabSpend, t), epoch), uint64(a))
	return be64(append(b, byte(w.Kind)), uint64(w.Start))
}

const spendKeyLen = 1 + 8 + 8 + 8 + 1 + 8

func parseSpendKey(k []byte) (epoch uint64, a tenant.AccountID, w tenant.Window, ok bool) {
	if len(k) != spendKeyLen {
		return 0, 0, w, false
	}
	return binary.BigEndian.Uint64(k[9:]), tenant.AccountID(binary.BigEndian.Uint64(k[17:])),
		tenant.Window{Kind: tenant.WindowKind(k[25]), Start: int64(binary.BigEndian.Uint64(k[26:]))}, true
}

const dayKeyLen = 1 + 8 + 8 + 4

func dayKey(b []byte, t tenant.ID, epoch uint64, day uint32) []byte {
	return be32(be64(tenantPrefix(b, tabDay, t), epoch), day)
}

func fenceKey(b []byte, t tenant.ID, epoch uint64) []byte {
	return be64(tenantPrefix(b, tabFence, t), epoch)
}

func chunkKey(b []byte, name chunkName) []byte {
	return append(append(b, tabChunk), name[:]...)
}

// after is the smallest key greater than every key that starts with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
