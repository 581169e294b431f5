package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// looseAge is how long a chunk file may wait for its message.
const looseAge = time.Hour

// sweepLoose removes chunk files, and parts of such, that came ahead of a
// message that then did not come: it had ended meanwhile, or the way broke.
func (s *Store) sweepLoose(age time.Duration) error {
	names, err := s.fs.List(s.chunks)
	if err != nil {
		return fmt.Errorf("list chunk files: %w", err)
	}
	before := time.Now().Add(-age)
	for _, f := range names {
		n, ok := parseChunkName(f)
		if !ok && !strings.HasSuffix(f, partSuffix) {
			continue
		}
		path := s.fs.PathJoin(s.chunks, f)
		info, err := s.fs.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look up chunk file: %w", err)
		}
		if info.ModTime().After(before) {
			continue
		}
		if ok {
			err := s.get(chunkKey(nil, n), func([]byte) error { return nil })
			if err == nil {
				continue
			}
			if !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("look up chunk file: %w", err)
			}
		}
		if err := s.fs.Remove(path); err != nil {
			s.cfg.Log.Warn("chunk file not removed", "err", err)
		}
	}
	return nil
}
