package inventory

import (
	"time"

	"golang.org/x/sys/unix"
)

// installedTimes sets when each package was unpacked: the modification time of
// its list of files. One fstatat a package; a missing list leaves the time zero.
func installedTimes(t tree, pkgs []Package) error {
	real, err := t.locate(infoPath)
	if err != nil {
		return &InputError{Path: infoPath, Err: err}
	}
	dir, err := unix.Open(real, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return &InputError{Path: infoPath, Err: err}
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	for i := range pkgs {
		p := &pkgs[i]
		if unix.Fstatat(dir, p.Name+".list", &st, unix.AT_SYMLINK_NOFOLLOW) != nil &&
			unix.Fstatat(dir, p.Name+":"+p.Arch+".list", &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			continue
		}
		p.InstalledTime = time.Unix(int64(st.Mtim.Sec), 0)
	}
	return nil
}
