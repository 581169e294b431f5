package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"postern/node"
)

// asOwner gives root's rights up for those of the state directory's owner:
// what root wrote there the node's own user could not read. Another user, and
// a directory that is missing or root's own, stay as they are.
func asOwner(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	fi, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	who, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || who.Uid == 0 {
		return nil
	}
	gid, uid := int(who.Gid), int(who.Uid)
	if err := errors.Join(syscall.Setgroups([]int{gid}), syscall.Setgid(gid), syscall.Setuid(uid)); err != nil {
		return fmt.Errorf("become the owner of %s: %w; run it as that user", dir, err)
	}
	return nil
}

// readOwn reads the configuration for a verb that writes below its dir.
func (a *app) readOwn() (node.Config, error) {
	cfg, err := node.ReadConfig(a.configFile())
	if err != nil {
		return cfg, err
	}
	return cfg, asOwner(cfg.Dir)
}
