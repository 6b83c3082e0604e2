// Package durable replaces a file of this program's own whole or not at all, and for good: once a call has returned
// without an error, neither a crash nor a power cut brings the old file back.
//
// The folder must exist and be this program's alone. A file is readable by its owner only.
package durable

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Unfinished is how the names of files begin that a crash has left behind.
const Unfinished = ".new-"

// Write replaces the file at a path by one that holds b.
func Write(path string, b []byte) error {
	return WriteFrom(path, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// WriteFrom replaces the file at a path by what write puts into its argument. On an error the file is as it was, but for
// one of the folder's: then it may be either, and is either whole.
func WriteFrom(path string, write func(io.Writer) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, Unfinished+"*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	w := bufio.NewWriterSize(f, 64<<10)
	if err = errors.Join(write(w), w.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	if err := Folder(dir); err != nil {
		return fmt.Errorf("make the name of %q durable: %w", filepath.Base(path), err)
	}
	return nil
}

// Folder makes the names in a folder durable, where the system can do that: Windows and some file systems cannot.
func Folder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, fs.ErrPermission) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
