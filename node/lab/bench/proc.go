package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what a process tree has used.
type usage struct {
	cpu  time.Duration // of the tree, ended children included
	peak int64         // octets; sum of the resident peaks
}

const clockTick = 10 * time.Millisecond // USER_HZ is 100 on every Linux port

// treeUsage reads /proc for a process and what descends from it.
func treeUsage(root int) (usage, error) {
	parents := map[int]int{}
	stats := map[int][]string{}
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return usage{}, err
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // gone
		}
		s := string(b)
		f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
		pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
		if len(f) < 15 {
			continue
		}
		stats[pid] = f
		parents[pid], _ = strconv.Atoi(f[1])
	}
	if stats[root] == nil {
		return usage{}, fmt.Errorf("process %d is gone", root)
	}
	var u usage
	for pid, f := range stats {
		if !descends(pid, root, parents) {
			continue
		}
		for _, i := range []int{11, 12, 13, 14} { // utime stime cutime cstime
			n, _ := strconv.ParseInt(f[i], 10, 64)
			u.cpu += time.Duration(n) * clockTick
		}
		u.peak += peak(pid)
	}
	return u, nil
}

func descends(pid, root int, parents map[int]int) bool {
	for ; pid > 1; pid = parents[pid] {
		if pid == root {
			return true
		}
	}
	return false
}

func peak(pid int) int64 { return memory(pid, "VmHWM:") }

// resident is what a process has in memory now, in octets.
func resident(pid int) int64 { return memory(pid, "VmRSS:") }

func memory(pid int, key string) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n * 1024
		}
	}
	return 0
}

// resetPeak makes the kernel count the resident peak anew.
func resetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}
