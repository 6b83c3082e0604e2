package secret

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Memory puts a value into a file that is nowhere but in memory, sealed against change, for a program to read: as its
// standard input, or as /proc/self/fd/N of a file handed on. The reader stands at the beginning. The caller closes it.
func Memory(s Secret) (*os.File, error) {
	fail := func(err error) (*os.File, error) { return nil, fmt.Errorf("hand on %s: %w", s.name, err) }
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("dunlin-secret", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("dunlin-secret", flags)
	}
	if err != nil {
		return fail(err)
	}
	f := os.NewFile(uintptr(fd), "secret")
	if _, err := f.Write(s.Reveal()); err != nil {
		return fail(errors.Join(err, f.Close()))
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		return fail(errors.Join(err, f.Close()))
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fail(errors.Join(err, f.Close()))
	}
	return f, nil
}

// Credentials are values as files in a folder of their own, as systemd's LoadCredential gives them to a service: the
// folder is 0700, a file 0400, and both are on a file system in memory.
type Credentials struct {
	Dir string // what CREDENTIALS_DIRECTORY of the program is to say
}

// NewCredentials makes the folder below parent, which is made with mode 0700 where it is missing and must be on tmpfs
// or ramfs, such as one in /run. The caller removes it.
func NewCredentials(parent string) (*Credentials, error) {
	fail := func(err error) (*Credentials, error) { return nil, fmt.Errorf("make folder of credentials: %w", err) }
	if err := os.Mkdir(parent, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fail(err)
	}
	info, err := os.Lstat(parent)
	if err != nil {
		return fail(err)
	}
	if !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return fail(fmt.Errorf("%q is not a folder that its owner alone may write", parent))
	}
	var owner unix.Stat_t
	if err := unix.Lstat(parent, &owner); err != nil {
		return fail(err)
	}
	if owner.Uid != 0 && int(owner.Uid) != os.Geteuid() {
		return fail(fmt.Errorf("%q belongs to uid %d, who could exchange what is in it", parent, owner.Uid))
	}
	var st unix.Statfs_t
	if err := unix.Statfs(parent, &st); err != nil {
		return fail(err)
	}
	if t := uint32(st.Type); t != unix.TMPFS_MAGIC && t != ramfsMagic {
		return fail(fmt.Errorf("%q is not on a file system in memory (tmpfs, ramfs)", parent))
	}
	dir := filepath.Join(parent, rand.Text())
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fail(err)
	}
	return &Credentials{Dir: dir}, nil
}

const ramfsMagic = 0x858458f6 // linux/magic.h

// Add writes a value as a file, and gives its path. name is what the program asks for: letters, digits, `.`, `_` and `-`.
func (c *Credentials) Add(name string, s Secret) (string, error) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	if name == "" || len(name) > 255 || name[0] == '.' || strings.Trim(name, letters) != "" {
		return "", fmt.Errorf("hand on %s: %q is not the name of a credential", s.name, name)
	}
	path := filepath.Join(c.Dir, name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o400)
	if err != nil {
		return "", fmt.Errorf("hand on %s: %w", s.name, err)
	}
	_, err = f.Write(s.Reveal())
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("hand on %s: %w", s.name, err), os.Remove(path))
	}
	return path, nil
}

// Give lets another user read the credentials, who alone can from then on, beside root.
func (c *Credentials) Give(uid, gid int) error {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return fmt.Errorf("give credentials: %w", err)
	}
	for _, e := range entries {
		if err := os.Lchown(filepath.Join(c.Dir, e.Name()), uid, gid); err != nil {
			return fmt.Errorf("give credentials: %w", err)
		}
	}
	if err := os.Lchown(c.Dir, uid, gid); err != nil {
		return fmt.Errorf("give credentials: %w", err)
	}
	return nil
}

// Remove takes the folder and all in it away.
func (c *Credentials) Remove() error {
	if err := os.RemoveAll(c.Dir); err != nil {
		return fmt.Errorf("remove credentials: %w", err)
	}
	return nil
}
