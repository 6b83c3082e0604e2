package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Owned refuses a file or folder that somebody else could have changed or could exchange: it and all folders above it,
// by their real names, belong to root or to who runs this, and nobody else may write them. Above it a folder
// with the sticky bit will do, in which nobody else can replace an entry of ours. The error wraps ErrNotOwned.
func Owned(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if real, err = filepath.Abs(real); err != nil {
		return err
	}
	for p := real; ; p = filepath.Dir(p) {
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			return fmt.Errorf("%q belongs to uid %d, neither to root nor to who runs this: %w", p, st.Uid, ErrNotOwned)
		}
		mode := info.Mode().Perm()
		byGroup, byAll := mode&0o020 != 0 && st.Gid != 0, mode&0o002 != 0
		sticky := p != real && info.IsDir() && info.Mode()&fs.ModeSticky != 0
		if (byGroup || byAll) && !sticky {
			return fmt.Errorf("%q may be written by others (mode %04o): %w", p, mode, ErrNotOwned)
		}
		if p == filepath.Dir(p) {
			return nil
		}
	}
}

// Private refuses a file of secrets that somebody else could read, change or exchange. The error wraps ErrNotOwned,
// or fs.ErrNotExist where there is none.
func Private(path string) error {
	if err := Owned(path); err != nil {
		return err
	}
	if err := Owned(filepath.Dir(path)); err != nil { // in which the name may be a link
		return err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%q is not a regular file: %w", path, ErrNotOwned)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%q may be read by others (mode %04o): %w", path, info.Mode().Perm(), ErrNotOwned)
	}
	return nil
}

// StateFolder makes a program's own folder, with mode 0700, where there is none, and refuses one as Owned does. One that
// others may look into is taken from them where it is empty, or where this program has worked before (Lock has its file
// there); any other is refused, because closing it could take something else away. The error wraps ErrNotOwned.
func StateFolder(path, lock string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if err := Owned(path); err != nil {
		return err
	}
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	info, err := dir.Stat() // of what was opened: the name may be a link that changes
	if err != nil {
		return err
	}
	mode := info.Mode().Perm()
	if mode&0o077 == 0 {
		return nil
	}
	var st unix.Stat_t
	worked := unix.Fstatat(int(dir.Fd()), lock, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && int(st.Uid) == os.Geteuid()
	if _, err := dir.Readdirnames(1); !worked && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%q may be read by others (mode %04o), and holds what is not this program's: %w", path, mode, ErrNotOwned)
	}
	return dir.Chmod(0o700)
}
