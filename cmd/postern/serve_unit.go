package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

const (
	// unitLook is how often the node is looked at for systemd's status line.
	unitLook = 5 * time.Second
	// unitStart is how often until the node is ready.
	unitStart = 200 * time.Millisecond
	// unitPatience is how long a start may wait for the node to be ready. Then
	// it counts as started all the same: it answers its operator, and what is
	// missing (another node, a majority, a disk with room) a restart does not bring.
	unitPatience = 20 * time.Second
)

// unit tells systemd how the node is (sd_notify(3)): started, stopping, in a
// word for systemctl status, and that it lives only while it is healthy.
type unit struct {
	send           func(state string) error
	look           time.Duration // how often, once it has started
	alive          bool          // whether systemd wants signs of life
	ready, healthy func() error
	log            *slog.Logger

	status string // told last
	well   bool
}

// newUnit gives nil where systemd did not ask to be told.
func newUnit(ready, healthy func() error, log *slog.Logger) (*unit, error) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil, nil
	}
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("read what systemd wants: %w", err)
	}
	u := &unit{send: sendUnit, look: unitLook, alive: within > 0, ready: ready, healthy: healthy, log: log, well: true}
	if u.alive {
		u.look = min(u.look, within/4)
	}
	return u, nil
}

func sendUnit(state string) error {
	_, err := daemon.SdNotify(false, state)
	return err
}

// run tells until ctx ends.
func (u *unit) run(ctx context.Context) {
	began, started := time.Now(), false
	every := min(unitStart, u.look)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		why := u.ready()
		u.say(why)
		if !started && (why == nil || time.Since(began) >= unitPatience) {
			started = true
			u.tell(daemon.SdNotifyReady)
			tick.Reset(u.look)
		}
		if started && u.alive {
			u.live()
		}
		select {
		case <-ctx.Done():
			u.tell(daemon.SdNotifyStopping)
			return
		case <-tick.C:
		}
	}
}

// say writes the line that systemctl status shows.
func (u *unit) say(why error) {
	status := "accepts and sends mail"
	if why != nil {
		// One line: what comes after a line feed would be another assignment.
		status = "NOT READY: " + strings.Join(strings.Fields(why.Error()), " ")
	}
	if status != u.status {
		u.status = status
		u.tell("STATUS=" + status)
	}
}

// live tells that the node lives, if it does. Without it systemd ends the
// process, which then says where each goroutine was, and starts another.
func (u *unit) live() {
	err := u.healthy()
	if err != nil && u.well {
		u.log.Error("node is not healthy: systemd restarts it unless that ends soon", "err", err)
	}
	if u.well = err == nil; u.well {
		u.tell(daemon.SdNotifyWatchdog)
	}
}

// reload tells that what is done changes the configuration of a running node.
func (u *unit) reload(do func()) {
	if u != nil {
		u.tell(daemon.SdNotifyReloading)
		defer u.tell(daemon.SdNotifyReady)
	}
	do()
}

func (u *unit) tell(state string) {
	if err := u.send(state); err != nil {
		u.log.Warn("systemd not told", "state", state, "err", err)
	}
}
