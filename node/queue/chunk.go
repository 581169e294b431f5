package queue

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	chunkBuffer  = 256 << 10
	chunkSuffix  = ".chunk"
	spoolWriting = vfs.WriteCategoryUnspecified
)

func (n chunkName) file() string { return hex.EncodeToString(n[:]) + chunkSuffix }

func parseChunkName(file string) (n chunkName, ok bool) {
	base, found := strings.CutSuffix(file, chunkSuffix)
	if !found || len(base) != 2*len(n) {
		return n, false
	}
	_, err := hex.Decode(n[:], []byte(base))
	return n, err == nil
}

// chunkWriter streams a big body to a file of its own. The name is random, so
// that no name, and no key made of it, is ever used twice.
type chunkWriter struct {
	s    *Store
	name chunkName
	path string
	file vfs.File
	buf  *buffer
	crc  uint32
}

func (s *Store) newChunk() (*chunkWriter, error) {
	c := &chunkWriter{s: s}
	if _, err := rand.Read(c.name[:]); err != nil {
		return nil, fmt.Errorf("name chunk file: %w", err)
	}
	c.path = s.fs.PathJoin(s.chunks, c.name.file())
	f, err := s.fs.Create(c.path, spoolWriting)
	if err != nil {
		return nil, fmt.Errorf("create chunk file: %w", err)
	}
	// Sync as it grows: one sync of 90 MB at the end would hold up the log's.
	c.file = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{NoSyncOnClose: true, BytesPerSync: 1 << 20})
	c.buf = s.pool.get(chunkBuffer)
	return c, nil
}

func (c *chunkWriter) write(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), chunkBuffer-len(c.buf.b))
		c.buf.b = append(c.buf.b, p[:n]...)
		p = p[n:]
		if len(c.buf.b) == chunkBuffer {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *chunkWriter) flush() error {
	if len(c.buf.b) == 0 {
		return nil
	}
	c.crc = crc32.Update(c.crc, castagnoli, c.buf.b)
	_, err := c.file.Write(c.buf.b)
	c.buf.b = c.buf.b[:0]
	if err != nil {
		c.s.disk.suspect.Store(true)
		return fmt.Errorf("write chunk file: %w", err)
	}
	return nil
}

// finish makes the file and its name durable. A failed sync poisons the store:
// what the kernel dropped cannot be known.
func (c *chunkWriter) finish() error {
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.file.Sync(); err != nil {
		err = fmt.Errorf("sync chunk file: %w", err)
		c.s.fail(err)
		return err
	}
	err := c.file.Close()
	c.file = nil
	if err != nil {
		return fmt.Errorf("close chunk file: %w", err)
	}
	c.buf.release()
	c.buf = nil
	if err := c.s.syncDir(c.s.chunks); err != nil {
		c.s.fail(err)
		return err
	}
	return nil
}

func (c *chunkWriter) discard() {
	if c.file != nil {
		_ = c.file.Close()
	}
	if c.buf != nil {
		c.buf.release()
		c.buf = nil
	}
	c.s.removeChunk(c.name)
}

// removeChunk removes a file nobody needs; when that fails the next start does it.
func (s *Store) removeChunk(n chunkName) {
	if err := s.fs.Remove(s.fs.PathJoin(s.chunks, n.file())); err != nil {
		s.cfg.Log.Warn("chunk file not removed", "err", err)
	}
}

func (s *Store) syncDir(name string) error {
	d, err := s.fs.OpenDir(name)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// sweepChunks removes files whose message never became durable, or ended.
func (s *Store) sweepChunks() error {
	names, err := s.fs.List(s.chunks)
	if err != nil {
		return fmt.Errorf("list chunk files: %w", err)
	}
	for _, f := range names {
		if strings.HasSuffix(f, partSuffix) { // another node was sending it
			if err := s.fs.Remove(s.fs.PathJoin(s.chunks, f)); err != nil {
				return fmt.Errorf("remove part of chunk file: %w", err)
			}
			continue
		}
		n, ok := parseChunkName(f)
		if !ok {
			continue
		}
		err := s.get(chunkKey(nil, n), func([]byte) error { return nil })
		if errors.Is(err, ErrNotFound) {
			s.removeChunk(n)
		} else if err != nil {
			return fmt.Errorf("look up chunk file: %w", err)
		}
	}
	return nil
}

// chunkBody reads prefix and file as one. The checksum is judged at the end:
// a damaged file gives an error instead of the end of the message.
type chunkBody struct {
	prefix []byte
	file   vfs.File
	size   int64
	left   int64
	crc    uint32
	want   uint32
}

func (c *chunkBody) Bytes() []byte { return nil }
func (c *chunkBody) Size() int64   { return c.size }

func (c *chunkBody) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	if c.left == 0 {
		if c.crc != c.want {
			return 0, fmt.Errorf("read chunk file: %w: checksum", errCorrupt)
		}
		return 0, io.EOF
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.file.Read(p)
	c.crc = crc32.Update(c.crc, castagnoli, p[:n])
	c.left -= int64(n)
	if n > 0 {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return 0, fmt.Errorf("read chunk file: %w", err)
}

func (c *chunkBody) Close() error {
	if c.file == nil {
		return nil
	}
	err := c.file.Close()
	c.file = nil
	return err
}
