package queue

import (
	"fmt"
	"io"
)

// Body is a message's bytes. Bytes returns them when they are in memory, else
// nil; they are valid until Close.
type Body interface {
	io.ReadCloser
	Bytes() []byte
	Size() int64
}

// Body opens the message's bytes as they go out.
func (s *Store) Body(id ID) (Body, error) {
	if err := s.broken(); err != nil {
		return nil, err
	}
	if b := s.cachedBody(id); b != nil {
		return b, nil
	}
	h, buf, err := s.readMessage(id, true)
	if err != nil {
		return nil, err
	}
	switch h.place {
	case bodyApart:
		if buf, err = s.readApart(id); err != nil {
			return nil, err
		}
	case bodyChunk:
		return s.openChunk(h, buf)
	}
	return &memoryBody{buf: buf, b: buf.bytes()}, nil
}

func (s *Store) cachedBody(id ID) Body {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.index.logs[id.Tenant]
	if g == nil {
		return nil
	}
	m := g.msgs[id]
	if m == nil || m.buf == nil {
		return nil
	}
	m.buf.retain()
	return &memoryBody{buf: m.buf, b: m.buf.bytes()}
}

// readMessage reads a message record; with body also what stands inline in it
// (the whole message, or the prefix of one in a chunk file).
func (s *Store) readMessage(id ID, body bool) (h *head, buf *buffer, err error) {
	err = s.get(messageKey(nil, tabMessage, id), func(p []byte) error {
		var inline []byte
		if h, inline, err = splitMessage(p); err != nil {
			return err
		}
		if body && h.place != bodyApart {
			buf = s.pool.get(max(len(inline), 1))
			buf.b = append(buf.b, inline...)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read message %s: %w", id, err)
	}
	return h, buf, nil
}

func (s *Store) readApart(id ID) (buf *buffer, err error) {
	err = s.get(messageKey(nil, tabBody, id), func(p []byte) error {
		buf = s.pool.get(max(len(p), 1))
		buf.b = append(buf.b, p...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read body of %s: %w", id, err)
	}
	return buf, nil
}

func (s *Store) openChunk(h *head, prefix *buffer) (Body, error) {
	defer prefix.release()
	f, err := s.fs.Open(s.fs.PathJoin(s.chunks, h.chunk.file()))
	if err != nil {
		return nil, fmt.Errorf("open chunk file: %w", err)
	}
	return &chunkBody{
		prefix: append([]byte(nil), prefix.bytes()...),
		file:   f,
		size:   h.env.Size,
		left:   h.env.Size - int64(h.prefix),
		want:   h.crc,
	}, nil
}
