package host

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/schema"
)

// kept are the extended attributes that a new file takes from the one it replaces: its SELinux
// label and its access control list. Capabilities and user attributes belong to the old content.
var kept = [...]string{"security.selinux", accessList}

const accessList = "system.posix_acl_access"

// attributes are the owner and mode that a file is to get.
type attributes struct {
	mode     uint32
	uid, gid uint32
	// noList is that no access control list is kept or inherited: who owns the folder could have given themselves the file.
	noList bool
}

// parent is what is known of the folder that a file is written into.
type parent struct {
	uid  uint32
	open bool // others than root can make files in it
}

func parentOf(fd int) (parent, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return parent{}, fmt.Errorf("look at its folder: %w", err)
	}
	return parent{st.Uid, st.Uid != 0 || st.Mode&0o022 != 0}, nil
}

// attributesOf fills what want leaves open from the file that is there.
func (s System) attributesOf(want schema.File, old status) (attributes, error) {
	a := attributes{mode: old.mode & 0o7777, uid: old.uid, gid: old.gid}
	n := names{root: s.Root}
	uid, gid, err := n.owner(&want)
	if err != nil {
		return a, err
	}
	if want.Owner != "" {
		a.uid = uid
	}
	if want.Group != "" {
		a.gid = gid
	}
	if want.Mode != "" {
		if a.mode, err = parseMode(want.Mode); err != nil {
			return a, err
		}
	}
	return a, nil
}

// WriteFile puts content at the path, whole or not at all: a reader, or a crash at any moment, finds the
// old file or the new one, with its owner and mode. What want leaves open is taken from the old file; a new
// one gets 0644, root, root. SELinux label and access control list of the old file are kept, the list unless it was made by
// an owner who is the owner no more.
//
// Nobody is given a secret (ContentFrom) by a file that they put there first: where others can make files in the folder, owner
// and group that are not given are root, unless root or the wanted owner had the old file; and the owner of the folder gives
// the file no access control list.
//
// What earlier runs left behind in that folder when they were killed is removed.
func (s System) WriteFile(ctx context.Context, path string, want schema.File, content []byte) error {
	folder, base, old, err := s.find(ctx, path)
	if err != nil {
		return err
	}
	defer unix.Close(folder)
	fresh := old.ino == 0
	if fresh {
		old.mode = 0o644
	}
	a, err := s.attributesOf(want, old)
	if err != nil {
		return err
	}
	f, err := parentOf(folder)
	if err != nil {
		return err
	}
	if want.ContentFrom != nil && f.open && !fresh && old.uid != 0 && (want.Owner == "" || old.uid != a.uid) {
		// Somebody may have put the old one there to be given what comes.
		if want.Owner == "" {
			a.uid = 0
		}
		if want.Group == "" {
			a.gid = 0
		}
	}
	a.noList = want.ContentFrom != nil && f.uid != 0 && f.uid != a.uid
	s.sweep(folder)
	temp, err := s.writeTemp(folder, base, fresh, a, content)
	if err != nil {
		return err
	}
	if err := s.moveIn(folder, temp, base, fresh, old); err != nil {
		unix.Unlinkat(folder, temp, 0)
		return err
	}
	return s.syncFolder(folder)
}

// find opens the folder of a path to change something in it, and looks at the file. The status is zero if there is none.
func (s System) find(ctx context.Context, path string) (folder int, base string, old status, err error) {
	if err := ctx.Err(); err != nil {
		return -1, "", old, err
	}
	dir, base, err := splitPath(path)
	if err != nil {
		return -1, "", old, err
	}
	if folder, err = s.openFolder(dir, unix.O_RDONLY); err != nil {
		return -1, "", old, err
	}
	old, err = lookAt(folder, base)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		unix.Close(folder)
		return -1, "", old, err
	}
	return folder, base, old, nil
}

// writeTemp writes a file beside the one it will replace, with everything it is to have, and syncs it.
// On an error it leaves nothing behind.
func (s System) writeTemp(folder int, base string, fresh bool, a attributes, content []byte) (_ string, err error) {
	var random [8]byte
	rand.Read(random[:])
	name := tempPrefix + hex.EncodeToString(random[:])
	s.at("create")
	fd, err := unix.Openat(folder, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return "", fmt.Errorf("create in its folder: %w", err)
	}
	defer func() {
		unix.Close(fd)
		if err != nil {
			unix.Unlinkat(folder, name, 0)
		}
	}()
	unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) // tells a sweep that it is in use
	if a.noList {
		err := unix.Fremovexattr(fd, accessList)
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
			return "", fmt.Errorf("remove attribute %s: %w", accessList, err)
		}
	}
	if !fresh {
		if err := s.copyKept(folder, base, fd, a); err != nil {
			return "", err
		}
	}
	// Owner and mode before content: nobody reads it in between who may not. chown clears setuid, so mode is last.
	s.at("chown")
	if err := unix.Fchown(fd, int(a.uid), int(a.gid)); err != nil {
		return "", fmt.Errorf("change owner: %w", err)
	}
	s.at("chmod")
	if err := unix.Fchmod(fd, a.mode); err != nil {
		return "", fmt.Errorf("change mode: %w", err)
	}
	for rest := content; len(rest) > 0; {
		s.at("write")
		n, err := unix.Write(fd, rest[:min(len(rest), 128<<10)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("write: %w", err)
		}
		rest = rest[n:]
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	// Without CAP_FSETID, in a container, writing has cleared setuid.
	if st.Mode&0o7777 != a.mode {
		if err := unix.Fchmod(fd, a.mode); err != nil {
			return "", fmt.Errorf("change mode: %w", err)
		}
	}
	s.at("fsync")
	// Not repeated on an error: the kernel may have dropped the pages, and a second call would succeed.
	if err := unix.Fsync(fd); err != nil {
		return "", fmt.Errorf("sync: %w", err)
	}
	return name, nil
}

// moveIn puts the temporary file in the place of what was seen there, and of nothing else.
func (s System) moveIn(folder int, temp, base string, fresh bool, old status) error {
	now, err := lookAt(folder, base)
	switch {
	case fresh && errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case fresh || now.dev != old.dev || now.ino != old.ino:
		return errChanged
	}
	s.at("rename")
	if fresh {
		err = unix.Renameat2(folder, temp, folder, base, unix.RENAME_NOREPLACE)
		if err == nil || !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
			return wrap("rename", err)
		}
	}
	return wrap("rename", unix.Renameat(folder, temp, folder, base))
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%s: %w (is the file or its folder immutable? see lsattr)", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (s System) syncFolder(folder int) error {
	s.at("sync folder")
	// Some file systems have no sync for folders.
	if err := unix.Fsync(folder); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("sync its folder: %w", err)
	}
	return nil
}

// copyKept gives the open file, which is to be as a says, the attributes in kept that the named one has.
func (s System) copyKept(folder int, base string, to int, a attributes) error {
	seen, err := lookAt(folder, base)
	if err != nil {
		return err
	}
	from, err := openFile(folder, base, seen)
	if err != nil {
		return fmt.Errorf("read its attributes: %w", err)
	}
	defer unix.Close(from)
	buf := make([]byte, 64<<10) // the kernel's limit for one
	for _, attr := range kept {
		if attr == accessList && (a.noList || seen.uid != 0 && seen.uid != a.uid) {
			continue
		}
		n, err := unix.Fgetxattr(from, attr, buf)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read attribute %s: %w", attr, err)
		}
		s.at("setxattr")
		if err := unix.Fsetxattr(to, attr, buf[:n], 0); err != nil {
			return fmt.Errorf("keep attribute %s: %w", attr, err)
		}
	}
	return nil
}

// ChangeFile sets mode, owner and group where want names them, in place: owner first, because that
// clears setuid. A crash between the two is made good by the next pass. The rights of an owner or group (setuid, setgid) are
// not lent to content that somebody else can have written.
func (s System) ChangeFile(ctx context.Context, path string, want schema.File) error {
	folder, base, old, err := s.find(ctx, path)
	if err != nil {
		return err
	}
	defer unix.Close(folder)
	if old.ino == 0 {
		return fs.ErrNotExist
	}
	a, err := s.attributesOf(want, old)
	if err != nil {
		return err
	}
	own := old.uid == 0 || old.uid == a.uid && a.mode&unix.S_ISGID == 0
	if a.mode&(unix.S_ISUID|unix.S_ISGID) != 0 && (!own || old.mode&0o022 != 0) {
		return fmt.Errorf("mode %04o lends rights, and others can have written what is in the file (it is uid %d's, mode %04o): give its content or source",
			a.mode, old.uid, old.mode&0o7777)
	}
	fd, err := openFile(folder, base, old)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	chowned := a.uid != old.uid || a.gid != old.gid
	if chowned {
		s.at("chown")
		if err := unix.Fchown(fd, int(a.uid), int(a.gid)); err != nil {
			return wrap("change owner", err)
		}
	}
	if chowned || a.mode != old.mode&0o7777 {
		s.at("chmod")
		if err := unix.Fchmod(fd, a.mode); err != nil {
			return wrap("change mode", err)
		}
	}
	s.at("fsync")
	return wrap("sync", unix.Fsync(fd))
}

// RemoveFile removes a regular file. Nothing there is no error.
func (s System) RemoveFile(ctx context.Context, path string) error {
	folder, base, old, err := s.find(ctx, path)
	if err != nil {
		return err
	}
	defer unix.Close(folder)
	if old.ino == 0 {
		return nil
	}
	s.at("unlink")
	if err := unix.Unlinkat(folder, base, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrap("remove", err)
	}
	return s.syncFolder(folder)
}

// tempPrefix begins the name of a file that is being written; 16 hex digits follow.
const tempPrefix = ".dunlin-"

func isTemp(name string) bool {
	if len(name) != len(tempPrefix)+16 || name[:len(tempPrefix)] != tempPrefix {
		return false
	}
	for _, c := range []byte(name[len(tempPrefix):]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// sweep removes what killed runs left in a folder: regular files with a name of ours and no other
// name, which nobody holds locked. Their owner is
// not asked: they may have been given to the one they were meant for. Errors are passed over: it is housekeeping.
func (s System) sweep(folder int) {
	fd, err := unix.Openat(folder, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	dir := os.NewFile(uintptr(fd), "folder")
	defer dir.Close()
	for {
		found, err := dir.Readdirnames(1024)
		for _, name := range found {
			if isTemp(name) {
				s.sweepOne(folder, name)
			}
		}
		if err != nil || len(found) == 0 { // io.EOF among them
			return
		}
	}
}

func (s System) sweepOne(folder int, name string) {
	seen, err := lookAt(folder, name)
	if err != nil {
		return
	}
	fd, err := openFile(folder, name, seen)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
		s.at("sweep")
		unix.Unlinkat(folder, name, 0)
	}
}
