package host

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
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
