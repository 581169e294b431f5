package cluster

import (
	"time"

	"golang.org/x/sys/unix"
)

// clocks are the two that leases run on. The boot-time clock goes on while the
// machine sleeps and nobody can set it; the wall clock goes on when a paused
// virtual machine is continued and its boot-time clock did not notice.
type clocks struct {
	boot func() time.Duration
	wall func() time.Time
}

// moment is one reading of both clocks.
type moment struct {
	boot time.Duration
	wall int64 // Unix nanoseconds
}

func (c clocks) now() moment { return moment{boot: c.boot(), wall: c.wall().UnixNano()} }

// plus is the moment d later.
func (m moment) plus(d time.Duration) moment {
	return moment{boot: m.boot + d, wall: m.wall + int64(d)}
}

// before says that m is earlier on both clocks.
func (m moment) before(end moment) bool { return m.boot < end.boot && m.wall < end.wall }

// bootTime reads CLOCK_BOOTTIME; time.Now's monotonic clock stands still while
// the machine sleeps.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // every Linux has it; and no lease ever runs by a clock at 0
	}
	return time.Duration(ts.Nano())
}
