package cluster

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// MaxCommand is the most octets one encoded command may have: half of what
// raft itself calls the most that is wise. Small entries keep heartbeats on
// time; split what is larger.
const MaxCommand = 256 << 10

// Times of elections. A starved processor (TLS, DKIM) must not look like a
// dead leader. A lone voter does not wait for them, see stand.
const (
	heartbeat   = 2 * time.Second
	election    = 2 * time.Second
	leaderLease = 1 * time.Second
)

const (
	// commitTimeout is how often raft repeats its position to idle followers.
	// They hear of a new entry at once (spread); raft's own 50 ms would wake
	// an idle leader forty times a second.
	commitTimeout = time.Second
	// hungWrite is the default of Config.HungWrite.
	hungWrite = 10 * time.Second
	// maxAppendEntries is raft's batch: what one fsync carries.
	maxAppendEntries = 256
	// maxPending is how many proposals may be on their way at once. It leaves
	// room in raft's queue (of maxAppendEntries), so that handing one over
	// never blocks and a caller's deadline always holds.
	maxPending = maxAppendEntries - 16
	// proposeTimeout bounds a proposal whose caller set no deadline.
	proposeTimeout = 20 * time.Second
	// quietTimeout is how long a stop waits for proposals on their way.
	quietTimeout = 5 * time.Second
	// logCache is how many entries a follower's catching up reads from memory.
	logCache = 512
	// tickPause is how often the leader looks at its clocks and followers.
	tickPause = 500 * time.Millisecond
	// spreadPause bounds how often followers are told of new entries.
	spreadPause = 2 * time.Millisecond
	// keepSnapshots is how many snapshots stay.
	keepSnapshots = 2
)

// tuning is what tests make smaller.
type tuning struct {
	snapshotInterval  time.Duration
	snapshotThreshold uint64
	trailingLogs      uint64
}

// standard keeps a replay short (some 16,000 entries at the most, a fifth of a
// second) and the trailing log long: at the most a few entries a second are
// written, so it holds the better part of an hour.
func standard() tuning {
	return tuning{
		snapshotInterval:  2 * time.Minute,
		snapshotThreshold: 8192,
		trailingLogs:      10240,
	}
}

// raftConfig is raft's configuration for a node called name.
func raftConfig(name string, t tuning, log hclog.Logger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(name)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = heartbeat, election, leaderLease
	c.CommitTimeout = commitTimeout
	c.MaxAppendEntries = maxAppendEntries
	c.BatchApplyCh = true
	c.SnapshotInterval = t.snapshotInterval
	c.SnapshotThreshold = t.snapshotThreshold
	c.TrailingLogs = t.trailingLogs
	// Removing a node is an operator's act that ends in this process's own
	// shutdown, not in a raft that stopped behind its back.
	c.ShutdownOnRemove = false
	c.NoLegacyTelemetry = true
	c.Logger = log
	return c
}

// storeOptions is pebble's configuration for the log: little memory, the
// newest format from the first day (the default is the oldest), no write stall
// before a real one.
func storeOptions(fs vfs.FS, log storeLog) *pebble.Options {
	o := &pebble.Options{
		FS:                          fs,
		FormatMajorVersion:          pebble.FormatNewest,
		CacheSize:                   1 << 20,
		MaxOpenFiles:                64,
		MemTableSize:                2 << 20,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		Logger:                      log,
		EventListener:               log.listener(),
	}
	// The default also looks ten times a second whether more compactions than
	// before may run at once. Here it is one, always.
	o.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	return o
}
