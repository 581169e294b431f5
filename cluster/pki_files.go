package cluster

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// What a directory of certificates holds. A key and its certificate share a
// file, so that one rename changes both.
const (
	fileAuthorityKey = "ca.key"     // key and certificate, until the state has them
	fileAuthority    = "ca.crt"     // the certificate alone
	fileNode         = "node.pem"   // this node's key, its certificate, the authority's
	fileToken        = "token.json" // what the founding node has to register
	filePeers        = "peers.json" // where the others are

	// maxFile bounds what is read from the directory.
	maxFile = 256 << 10

	blockKey         = "PRIVATE KEY"
	blockCertificate = "CERTIFICATE"
)

// pkiDir is a node's directory of certificates. Every change is a temporary
// file, synced, renamed, and its directory synced: a crash leaves the old or
// the new one.
type pkiDir struct {
	fs  vfs.FS
	dir string
}

func openPKI(dir string) pkiDir { return pkiDir{privateFS{vfs.Default}, dir} }

func (d pkiDir) path(name string) string { return d.fs.PathJoin(d.dir, name) }

// make makes the directory, durably with all its parents, and gives it its
// mode.
func (d pkiDir) make() error {
	missing := 0 // parents that do not exist yet
	parent := d.fs.PathDir(d.dir)
	for p := parent; p != d.fs.PathDir(p); p = d.fs.PathDir(p) {
		if _, err := d.fs.Stat(p); err == nil {
			break
		}
		missing++
	}
	err := makeDir(d.fs, d.dir)
	for ; err == nil && missing > 0; missing-- {
		parent = d.fs.PathDir(parent)
		err = syncDir(d.fs, parent)
	}
	if err != nil {
		return fmt.Errorf("make directory of certificates: %w", err)
	}
	return nil
}

// write replaces a file.
func (d pkiDir) write(name string, content []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", d.path(name), err)
		}
	}()
	temp := d.path(name + ".tmp")
	f, err := d.fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = d.fs.Rename(temp, d.path(name)); err != nil {
		return err
	}
	return syncDir(d.fs, d.dir)
}

// read returns a file; os.ErrNotExist when there is none.
func (d pkiDir) read(name string) ([]byte, error) {
	f, err := d.fs.Open(d.path(name))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.path(name), err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", d.path(name), err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("read %s: over %d octets", d.path(name), maxFile)
	}
	return b, nil
}

// remove takes a file away for good; one that is not there is no error.
func (d pkiDir) remove(name string) error {
	if err := d.fs.Remove(d.path(name)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("remove %s: %w", d.path(name), err)
	}
	if err := syncDir(d.fs, d.dir); err != nil {
		return fmt.Errorf("remove %s: %w", d.path(name), err)
	}
	return nil
}

func (d pkiDir) writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", d.path(name), err)
	}
	return d.write(name, append(b, '\n'))
}

func (d pkiDir) readJSON(name string, v any) error {
	b, err := d.read(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", d.path(name), err)
	}
	return nil
}

// putBlocks writes a PKCS #8 key, if any, and certificates as PEM.
func putBlocks(key []byte, certs ...[]byte) []byte {
	var b bytes.Buffer
	if key != nil {
		_ = pem.Encode(&b, &pem.Block{Type: blockKey, Bytes: key}) // a buffer takes all
	}
	for _, c := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: blockCertificate, Bytes: c})
	}
	return b.Bytes()
}

// getBlocks reads what putBlocks writes.
func getBlocks(b []byte) (key []byte, certs [][]byte, err error) {
	for len(bytes.TrimSpace(b)) > 0 {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return nil, nil, errors.New("not PEM")
		}
		switch {
		case block.Type == blockKey && key == nil:
			key = block.Bytes
		case block.Type == blockCertificate && len(certs) < 4:
			certs = append(certs, block.Bytes)
		default:
			return nil, nil, fmt.Errorf("unexpected PEM block %.32q", block.Type)
		}
	}
	return key, certs, nil
}
