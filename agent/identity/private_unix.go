//go:build unix

package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

func supported() error { return nil }

// checkFolder refuses a folder of keys in which another user could exchange them.
func checkFolder(folder string) error {
	info, err := os.Lstat(folder)
	if err != nil {
		return err
	}
	switch {
	case !info.IsDir():
		return damaged(folder, "it is not a folder")
	case !own(info):
		return foreign(folder)
	case info.Mode().Perm()&0o022 != 0:
		return &RefusedError{Path: folder, Why: fmt.Sprintf("others may write it (mode %04o)", info.Mode().Perm()),
			Remedy: fmt.Sprintf("chmod 0700 %s, and make sure that the keys in it are still this host's", folder)}
	}
	return nil
}

// readPrivate reads a file that its owner alone may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, damaged(path, "it is missing, and the other keys are there")
	case errors.Is(err, syscall.ELOOP):
		return nil, damaged(path, "it is a symbolic link")
	case err != nil:
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat() // of what was opened: the name may mean something else by now
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, damaged(path, "it is not a regular file")
	case !own(info):
		return nil, foreign(path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, &RefusedError{Path: path, Why: fmt.Sprintf("others may read or write it (mode %04o)", info.Mode().Perm()),
			Remedy: fmt.Sprintf("chmod 0600 %s; if somebody may have read it, move the folder away, so that new keys are made, and exchange this host's line in the roster", path)}
	case info.Size() > maxKey:
		return nil, damaged(path, fmt.Sprintf("it is longer than %d bytes", maxKey))
	}
	return io.ReadAll(io.LimitReader(f, maxKey))
}

func own(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

func foreign(path string) error {
	return &RefusedError{Path: path, Why: fmt.Sprintf("it does not belong to uid %d, who runs this", os.Geteuid()),
		Remedy: "run this as the owner of the state folder, or give the folder of keys and what is in it to who runs it (chown -R)"}
}
