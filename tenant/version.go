package tenant

// NewestVersion is the newest command version this program knows. A node
// registers it, and no command is newer than what every node knows: the log
// must say the same to all of them.
const NewestVersion = 29

// listingVersion is the command version that DNS lists and listings came with.
const listingVersion = 2

// containVersion is the one that what follows from a listing came with.
const containVersion = 3

// worldVersion is the one since which a list is set aside only by the word of
// as many nodes as a verdict needs.
const worldVersion = 4

// roomVersion is the one since which room is judged at the end of what is under
// way, and what waits for a time says until when.
const roomVersion = 4

// journalVersion is the one the journal came with.
const journalVersion = 5

// readyVersion is the one that what nodes find in the DNS came with.
const readyVersion = 6

// denialVersion is the one that refusals measured while delivering came with.
const denialVersion = 7

// rangeVersion is the one since which sources in a listed range are no way out.
const rangeVersion = 8

// banVersion is the one that bans, closing for ever and what is asked of lists
// came with.
const banVersion = 9

// conductVersion is the one that conducts of tenants and classes of pools came
// with.
const conductVersion = 10

// heardVersion is the one that what comes back about accounts came with.
const heardVersion = 11

// throttleVersion is the one since which a strong suspect that is not held sends
// a tenth.
const throttleVersion = 12

// noticeVersion is the one that notices came with.
const noticeVersion = 13

// bounceVersion is the one that bounce subdomains of sender domains came with.
const bounceVersion = 14

// hashVersion is the one that imported passwords and enrolments of sources came
// with.
const hashVersion = 15

// weighVersion is the one since which the worst part of the window counts, and
// what an account sends after the listing.
const weighVersion = 16

// listWordVersion is the one that signed notices of lists' operators came with.
const listWordVersion = 17

// circleVersion is the one that whom accounts write to came with.
const circleVersion = 18

// batchVersion is the one that several operations in one command came with.
const batchVersion = 19

// pastVersion is the one since which an account that was no better before is
// suspected less for it.
const pastVersion = 20

// domainVersion is the one that what lists say of domains came with.
const domainVersion = 21

// customerVersion is the one that suspensions, retention, erasing and the plans
// of past months came with.
const customerVersion = 22

// keptVersion is the one since which a batch may set imported passwords and
// enrolments, so that what is exported is the whole.
const keptVersion = 23

// suppressVersion is the one that lists of suppressed addresses in tenants' logs
// came with.
const suppressVersion = 24

// importVersion is the one that imports, which can be taken back, and sources
// that were warm before came with.
const importVersion = 25

// eraseVersion is the one since which erasing takes a tenant's texts out of what
// stays, the journal ends where its retention does, and a declaration says for
// how long things are kept.
const eraseVersion = 26

// linkVersion is the one that domains in the links of mail came with.
const linkVersion = 27

// pointsVersion is the one since which refused content, logins and first-time
// recipients count for as much as they tell, and what held innocents no longer
// does.
const pointsVersion = 28

// discloseVersion is the one that what is given out came with.
const discloseVersion = 29

// since is the command version an operation came with. What came with the
// first one has no method of that name.
type since interface{ since() uint32 }

func sinceOf(op Op) uint32 {
	if v, ok := op.(since); ok {
		return v.since()
	}
	return 1
}

// Version is the newest command version all nodes know. A witness that names
// none does not count.
func (s *State) Version() uint32 {
	least := uint32(0)
	for n := range s.nodes.all() {
		if n.Witness && n.Version == 0 {
			continue
		}
		if v := max(n.Version, 1); least == 0 || v < least {
			least = v
		}
	}
	return max(least, 1)
}

// KnownToAll reports whether every node knows an operation, so that it may be
// proposed.
func (s *State) KnownToAll(op Op) bool { return sinceOf(op) <= s.Version() }

// Knows says whether every node's program knows an operation.
func (s *State) Knows(op Op) bool { return s.Version() >= sinceOf(op) }

// known refuses an operation that a node does not know yet.
func (d *draft) known(op Op) error {
	v := sinceOf(op)
	// What the log holds already, all that read it know. A name that was added
	// and has not joined stops such operations no more since there is a journal:
	// from then on every operator's word is of its version.
	held := v >= journalVersion && v <= d.level
	if least := d.Version(); v > least && !held {
		return refuse("operation is of version %d and a node knows %d only", v, least)
	}
	d.level = max(d.level, v)
	return nil
}

// from says whether what commands of an older version do is done as since
// version v: as soon as every node's program knows it, and for ever after.
func (d *draft) from(v uint32) bool {
	if d.level < v && d.Version() >= v {
		d.level = v
	}
	return d.level >= v
}

// does is from, for reads.
func (s *State) does(v uint32) bool { return s.level >= v || s.Version() >= v }

// speaks refuses a node whose program cannot read what the log holds already.
func (d *draft) speaks(version uint32) error {
	if max(version, 1) < d.level {
		return refuse("the node knows commands of version %d, and version %d is in use", max(version, 1), d.level)
	}
	return nil
}
