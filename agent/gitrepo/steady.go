package gitrepo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
)

// steady lists folders that others write to at the same time. osfs fails where a file goes while its folder is read, as
// temporary ones do, and go-git takes that for a folder that is not there: for a repository without packs, or references.
type steady struct{ billy.Filesystem }

// readTries is how often a folder is read that is there and says that it is not.
const readTries = 100

func repositoryFiles(dir string) billy.Filesystem { return steady{osfs.New(dir)} }

func (s steady) ReadDir(path string) (list []os.FileInfo, err error) {
	for range readTries {
		list, err = s.Filesystem.ReadDir(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return slices.DeleteFunc(list, isLock), err
		}
		if _, gone := s.Lstat(path); gone != nil {
			return nil, err
		}
	}
	return nil, errors.New("the folder changes too fast to be read")
}

// isLock reports whether a file is what some program will give another name to (git-check-ref-format(1): no reference is
// called so). go-git would read it as a reference, which is empty or not there a moment later.
func isLock(info os.FileInfo) bool { return !info.IsDir() && strings.HasSuffix(info.Name(), ".lock") }

// maxSmall bounds each of a repository's own small files in bytes, but for its list of packed references: they are read whole.
const maxSmall = 1 << 20

// Open opens a file for reading.
func (s steady) Open(name string) (billy.File, error) { return s.OpenFile(name, os.O_RDONLY, 0) }

// OpenFile opens what is a regular file. The folder may be somebody else's: a named pipe there would be waited for, a device or
// a huge file read to the end of memory.
func (s steady) OpenFile(name string, flag int, perm os.FileMode) (billy.File, error) {
	info, err := s.Stat(name)
	if err == nil {
		if err := fit(name, info); err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
	}
	return s.Filesystem.OpenFile(name, flag|noWait, perm)
}

// fit fails for what a repository has not among its files.
func fit(name string, info fs.FileInfo) error {
	most := int64(maxSmall)
	switch {
	case info.IsDir():
		return nil // opening fails, in words that go-git knows
	case !info.Mode().IsRegular():
		return errNotRegular
	case strings.HasPrefix(filepath.ToSlash(name), "objects/"):
		return nil
	case name == "packed-refs":
		most = maxAdvertised
	}
	if info.Size() > most {
		return fmt.Errorf("%d bytes: %w", info.Size(), ErrTooLarge)
	}
	return nil
}

// Capabilities are those of what is wrapped.
func (s steady) Capabilities() billy.Capability { return billy.Capabilities(s.Filesystem) }
