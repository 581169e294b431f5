package node

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Sizes of the node's small secrets, in bytes.
const (
	secretSize = 32
	maxSecret  = 4096 // of a file
	minToken   = 16
	maxToken   = 512
)

var (
	errSecret = errors.New("it is not 32 bytes in hexadecimal")
	errToken  = errors.New("it is not one line of 16 to 512 characters")
)

// secretFile reads a small secret, or makes it, 0600 and durable, when the
// file does not exist. Of two that make it at once one wins and both read it.
func secretFile(name string, fresh func() []byte) ([]byte, error) {
	if name == "" {
		return nil, errors.New("no file is named for it")
	}
	b, err := readSecretFile(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if err := writeSecretFile(name, fresh()); err != nil {
		return nil, err
	}
	return readSecretFile(name)
}

func readSecretFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxSecret {
		return nil, fmt.Errorf("%s is too large for a secret", name)
	}
	return b, nil
}

// writeSecretFile makes a file that is not there yet, in such a way that a crash
// leaves either none or all of it.
func writeSecretFile(name string, b []byte) error {
	return putSecretFile(name, b, func(whole, name string) error {
		if err := os.Link(whole, name); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
}

// replaceSecretFile puts whole, synced content in a file's place.
func replaceSecretFile(name string, b []byte) error {
	if err := putSecretFile(name, b, os.Rename); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	return nil
}

// putSecretFile writes a whole, synced file and has it put in its place.
func putSecretFile(name string, b []byte, put func(whole, name string) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := put(f.Name(), name); err != nil {
		return err
	}
	return syncDirectory(vfs.Default, filepath.Dir(name))
}

func parseSecret(b []byte) ([]byte, error) {
	key, err := hex.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil || len(key) != secretSize {
		return nil, errSecret
	}
	return key, nil
}

func parseToken(b []byte) (string, error) {
	b = bytes.TrimSpace(b)
	if len(b) < minToken || len(b) > maxToken || bytes.ContainsFunc(b, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errToken
	}
	return string(b), nil
}
