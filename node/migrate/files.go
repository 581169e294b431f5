package migrate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Bounds of what is read.
const (
	maxFile    = 16 << 20 // octets of a file of settings, users or entries
	maxAll     = 64 << 20 // of all of them
	maxKey     = 16 << 10 // of a private key
	maxLogical = 64 << 10 // of a logical line, and of an expanded value
	maxEntries = 200_000  // of a table, and users of a file
)

// tree are the old server's files, by the names they have there.
type tree struct {
	files fs.FS
	left  int64 // octets that may still be read
}

func newTree(files fs.FS) *tree { return &tree{files: files, left: maxAll} }

// inTree is the name of a file in the tree: what is written absolutely there
// begins at the tree's root, all else beside base.
func inTree(base, name string) string {
	if !strings.HasPrefix(name, "/") {
		name = path.Join("/", base, name)
	}
	return strings.TrimPrefix(path.Clean(name), "/")
}

func (t *tree) open(name string) (fs.File, error) {
	name = inTree("", name)
	info, err := fs.Stat(t.files, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read /%s: no such file", name)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("read /%s: not allowed; run this as root, or copy the file", name)
	case err != nil:
		return nil, fmt.Errorf("read /%s: %w", name, cause(err))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read /%s: it is no regular file", name)
	}
	f, err := t.files.Open(name)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("read /%s: not allowed; run this as root, or copy the file", name)
	}
	if err != nil {
		return nil, fmt.Errorf("read /%s: %w", name, cause(err))
	}
	return f, nil
}

// read gives a whole file of at most most octets.
func (t *tree) read(name string, most int64) (string, error) {
	f, err := t.open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	most = min(most, t.left)
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return "", fmt.Errorf("read /%s: %w", inTree("", name), cause(err))
	}
	if int64(len(b)) > most {
		return "", fmt.Errorf("read /%s: larger than %d KB", inTree("", name), most>>10)
	}
	t.left -= int64(len(b))
	return string(b), nil
}

// cause leaves out the path an error says again.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// line is a logical line and where it began.
type line struct {
	number int
	text   string
}

// logical reads lines as Postfix does in all its files: empty ones and comments
// are passed over, and one that begins with white space goes on the one before.
func logical(text string) ([]line, error) {
	var all []line
	in := bufio.NewScanner(strings.NewReader(text))
	in.Buffer(make([]byte, 0, 4096), maxLogical)
	for n := 1; in.Scan(); n++ {
		s := strings.TrimRight(in.Text(), "\r")
		bare := strings.TrimSpace(s)
		switch {
		case bare == "" || bare[0] == '#':
		case s[0] != ' ' && s[0] != '\t':
			if len(all) == maxEntries {
				return nil, fmt.Errorf("more than %d lines", maxEntries)
			}
			all = append(all, line{n, strings.TrimRight(s, " \t")})
		case len(all) > 0: // at the head of a file it goes on nothing
			last := &all[len(all)-1]
			if len(last.text)+len(s) > maxLogical {
				return nil, fmt.Errorf("line %d: longer than %d KB", last.number, maxLogical>>10)
			}
			last.text += strings.TrimRight(s, " \t")
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("a line is longer than %d KB", maxLogical>>10)
	}
	return all, nil
}

// clip shortens what is shown of a file's words, and leaves out what a terminal
// would obey.
func clip(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
