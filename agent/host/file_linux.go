package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/schema"
)

// LookFiles calls found once for each resource, in order, with what is at its path (Key), as package file
// describes it. It only reads. Names of owners come from the host's own passwd and group files.
func (s System) LookFiles(ctx context.Context, rs []schema.Resource, found func(i int, got schema.File, blob schema.Blob, err error)) {
	type look struct {
		got  schema.File
		blob schema.Blob
		err  error
	}
	looks := make([]look, len(rs))
	n := names{root: s.Root}
	part := func(from, to int) {
		l := looker{system: s, names: &n, folder: -1}
		defer l.close()
		for i := from; i < to; i++ {
			if err := ctx.Err(); err != nil {
				looks[i].err = err
				continue
			}
			looks[i].got, looks[i].blob, looks[i].err = l.look(rs[i])
		}
	}
	// Most of a look is waiting for the kernel and hashing: many are shared out, a few are not worth it.
	const few = 128
	workers := min(max(1, len(rs)/few), runtime.GOMAXPROCS(0), 4)
	var wg sync.WaitGroup
	for w := range workers - 1 {
		wg.Go(func() { part(len(rs)*w/workers, len(rs)*(w+1)/workers) })
	}
	part(len(rs)*(workers-1)/workers, len(rs))
	wg.Wait()
	for i, l := range looks {
		found(i, l.got, l.blob, l.err)
	}
}

// looker keeps what many looks share: one buffer, the last folder, the names.
type looker struct {
	system System
	names  *names
	reader reader

	folder  int // descriptor of dir, -1 for none
	dir     string
	failure error // why there is none
}

func (l *looker) close() {
	if l.folder >= 0 {
		unix.Close(l.folder)
	}
}

// open moves the looker to a folder. Files are mostly given in order, so that the last one serves again.
func (l *looker) open(dir string) (int, error) {
	if dir != l.dir {
		l.close()
		l.dir = dir
		l.folder, l.failure = l.system.openFolder(dir, unix.O_PATH)
	}
	return l.folder, l.failure
}

func (l *looker) look(r schema.Resource) (schema.File, schema.Blob, error) {
	none := schema.File{State: schema.Absent}
	dir, base, err := splitPath(r.Key)
	if err != nil {
		return none, schema.Blob{}, err
	}
	want := r.File
	uid, gid, err := l.names.owner(want)
	if err != nil {
		return none, schema.Blob{}, err
	}
	folder, err := l.open(dir)
	if err != nil {
		return none, schema.Blob{}, err
	}
	st, err := lookAt(folder, base)
	if errors.Is(err, fs.ErrNotExist) {
		return none, schema.Blob{}, nil
	}
	if err != nil {
		return none, schema.Blob{}, err
	}
	got := schema.File{State: schema.Present, Mode: modeText(st.mode)}
	got.Owner = l.names.user(want.Owner, uid, st.uid)
	got.Group = l.names.group(want.Group, gid, st.gid)
	blob := schema.Blob{Size: st.size}
	switch {
	case want.State == schema.Absent:
	case want.Content != nil:
		if int64(len(*want.Content)) != st.size {
			break
		}
		var same bool
		if same, blob.SHA256, err = l.reader.is(folder, base, *want.Content); same {
			got.Content = want.Content
		}
	case r.Blob != nil && r.Blob.Size == st.size:
		blob.SHA256, err = l.reader.digest(folder, base, st.size)
	}
	if err != nil {
		return none, schema.Blob{}, fmt.Errorf("read: %w", err)
	}
	return got, blob, nil
}

// splitPath takes a clean absolute path apart.
func splitPath(p string) (dir, base string, err error) {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || strings.ContainsRune(p, 0) {
		return "", "", errors.New("not a clean absolute path of a file")
	}
	dir, base = path.Split(p)
	return path.Clean(dir), base, nil
}

// openFolder opens a folder below Root through real folders only. flags is O_PATH to look, O_RDONLY to
// write (a folder is synced through it).
//
// The kernel's openat2 does it in one call. Where it is missing (before Linux 5.6) or forbidden (seccomp), and whenever it
// refuses, the path is walked: that does the same and knows what to say.
func (s System) openFolder(dir string, flags int) (int, error) {
	root := s.Root
	if root == "" {
		root = "/"
	}
	top, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %q: %w", root, err)
	}
	defer unix.Close(top)
	rel := strings.TrimPrefix(dir, "/")
	if rel == "" {
		rel = "."
	}
	if !s.stepwise {
		fd, err := unix.Openat2(top, rel, &unix.OpenHow{
			Flags:   uint64(flags | unix.O_DIRECTORY | unix.O_CLOEXEC),
			Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_BENEATH,
		})
		if err == nil {
			return fd, nil
		}
	}
	return s.walk(top, rel, flags)
}

// walk opens a folder one component a step and names the step that fails.
func (s System) walk(top int, rel string, flags int) (int, error) {
	if rel == "." {
		return unix.Openat(top, ".", flags|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	at, done := top, "" // done is what has been walked, "/etc"
	defer func() {
		if at != top {
			unix.Close(at)
		}
	}()
	parts := strings.Split(rel, "/")
	for i, part := range parts {
		here := done + "/" + part
		// O_PATH touches nothing: the type is known before anything is opened.
		next, err := unix.Openat(at, part, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return -1, noParentError(here)
		}
		if err != nil {
			return -1, fmt.Errorf("parent %q: %w", here, err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(next, &st); err != nil {
			unix.Close(next)
			return -1, fmt.Errorf("parent %q: %w", here, err)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
		case unix.S_IFLNK:
			unix.Close(next)
			return -1, &linkedError{parent: here, real: s.realPath("/" + rel)}
		default:
			unix.Close(next)
			return -1, fmt.Errorf("parent %q is %s, not a folder: %w", here, typeText(uint32(st.Mode)), unix.ENOTDIR)
		}
		if i == len(parts)-1 && flags != unix.O_PATH {
			unix.Close(next)
			next, err = unix.Openat(at, part, flags|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil {
				return -1, fmt.Errorf("parent %q: %w", here, err)
			}
		}
		if at != top {
			unix.Close(at)
		}
		at, done = next, here
	}
	fd := at
	at = top // it is the caller's now
	return fd, nil
}

// linkedError says that a parent is a link and which folder is meant.
type linkedError struct{ parent, real string }

func (e *linkedError) Error() string {
	if e.real == "" {
		return fmt.Sprintf("parent %q is a link that leads nowhere", e.parent)
	}
	return fmt.Sprintf("parent %q is a link; the real folder to write is %q", e.parent, e.real)
}

// realPath follows the links of a folder's path below Root, as text and only for messages. It is
// empty where they lead nowhere.
func (s System) realPath(p string) string {
	rest := strings.Split(strings.Trim(p, "/"), "/")
	real, links := "/", 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		next := path.Join(real, part) // ".." too: real has no links
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlink(s.Root+next, buf)
		if errors.Is(err, unix.EINVAL) { // not a link
			real = next
			continue
		}
		links++
		if err != nil || links > 40 {
			return ""
		}
		target := string(buf[:n])
		if path.IsAbs(target) {
			real = "/"
		}
		rest = append(strings.Split(strings.Trim(target, "/"), "/"), rest...)
	}
	return real
}

// status is what is known about a file without opening it.
type status struct {
	dev, ino uint64
	mode     uint32
	uid, gid uint32
	size     int64
}

// lookAt reports what is at a name, following nothing. Anything but a regular file with one
// name that is not a mount point is an error; it wraps fs.ErrNotExist if there is nothing.
func lookAt(folder int, base string) (status, error) {
	var x unix.Statx_t
	err := unix.Statx(folder, base, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, &x)
	var st status
	var links uint64
	switch {
	case err == nil:
		st = status{unix.Mkdev(x.Dev_major, x.Dev_minor), x.Ino, uint32(x.Mode), x.Uid, x.Gid, int64(x.Size)}
		links = uint64(x.Nlink)
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM): // before Linux 4.11, or seccomp
		var old unix.Stat_t
		if err := unix.Fstatat(folder, base, &old, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return status{}, err
		}
		st, links = statusOf(old), uint64(old.Nlink)
	default:
		return status{}, err
	}
	switch {
	case st.mode&unix.S_IFMT == unix.S_IFLNK:
		return status{}, fmt.Errorf("is %s: not followed, not replaced", linkText(folder, base))
	case st.mode&unix.S_IFMT != unix.S_IFREG:
		return status{}, fmt.Errorf("is %s, not a regular file", typeText(st.mode))
	case x.Attributes&x.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0:
		// Before Linux 5.8 the attribute is missing; there rename and unlink refuse a mount point (EBUSY).
		return status{}, errors.New("is a mount point: not replaced")
	case links > 1:
		return status{}, fmt.Errorf("has %d hard links: not replaced, the other names would keep the old file", links)
	}
	return st, nil
}

func statusOf(st unix.Stat_t) status {
	return status{uint64(st.Dev), st.Ino, st.Mode, st.Uid, st.Gid, st.Size}
}

// readFlags open a file for reading. If it has become a link it is not followed; if it has become a pipe or a
// device opening does not wait.
const readFlags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC

// openFile opens the regular file that lookAt saw, and not another one.
func openFile(folder int, base string, seen status) (int, error) {
	fd, err := unix.Openat(folder, base, readFlags, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Ino != seen.ino || uint64(st.Dev) != seen.dev || st.Nlink != 1 {
		unix.Close(fd)
		return -1, errChanged
	}
	return fd, nil
}

var errChanged = errors.New("was changed by somebody else at the same moment")

func linkText(folder int, base string) string {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(folder, base, buf)
	if err != nil {
		return "a link"
	}
	return fmt.Sprintf("a link to %q", buf[:n])
}

func typeText(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "a folder"
	case unix.S_IFIFO:
		return "a named pipe"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFBLK, unix.S_IFCHR:
		return "a device"
	case unix.S_IFREG:
		return "a file"
	}
	return "something else"
}

// modeText writes permission bits as four octal digits.
func modeText(mode uint32) string {
	const digits = "01234567"
	return string([]byte{digits[mode>>9&7], digits[mode>>6&7], digits[mode>>3&7], digits[mode&7]})
}

// parseMode reads four octal digits.
func parseMode(text string) (uint32, error) {
	v, err := strconv.ParseUint(text, 8, 12)
	if err != nil || len(text) != 4 {
		return 0, fmt.Errorf("mode %q is not four octal digits", text)
	}
	return uint32(v), nil
}
