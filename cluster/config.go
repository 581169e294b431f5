package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

// maxName bounds a node's name: it is a raft server id.
const maxName = 255

// Config of a Cluster.
type Config struct {
	Dir  string
	FS   vfs.FS // pebble's default; tests pass a crashable one
	Name string // this node's name; also its raft server id
	// Bootstrap forms a cluster of one in an empty directory. A directory that
	// already holds this node's cluster is opened as it is.
	Bootstrap bool
	// HungWrite is how long a log write may take before the node gives up [10 s].
	HungWrite time.Duration
	// Fatal ends the process; it must not return.
	Fatal      func(error)
	Now        func() time.Time
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: the metrics are kept and not shown
	Peering    *Peering              // nil: a cluster of one without a peer port

	boot  func() time.Duration // boot-time clock; tests pass their own
	peers peers                // tests pass a network in memory
}

// complete checks c and fills in defaults.
func (c *Config) complete() error {
	var problems []error
	if c.Dir == "" {
		problems = append(problems, errors.New("no directory (Dir)"))
	}
	if c.Name == "" || len(c.Name) > maxName {
		problems = append(problems, fmt.Errorf("server name (Name) has %d octets, not 1 to %d", len(c.Name), maxName))
	}
	if c.Fatal == nil {
		problems = append(problems, errors.New("way to end the process (Fatal) is missing"))
	}
	if c.HungWrite < 0 {
		problems = append(problems, fmt.Errorf("longest log write (HungWrite) is %s", c.HungWrite))
	}
	if c.HungWrite == 0 {
		c.HungWrite = hungWrite
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.boot == nil {
		c.boot = bootTime
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("check cluster config: %w", err)
	}
	return nil
}
