package host

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func features(ctx context.Context) []Feature {
	say := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	return []Feature{
		{Name: "openat2", Problem: say(canOpenat2()), Without: "parents of managed files are opened one by one, which does the same and takes longer"},
		{Name: "nf_tables", Problem: say(canNFT()), Without: "ports cannot be blocked", Needed: true},
		{Name: "network namespaces", Problem: say(canIsolate(ctx)), Without: "policies are evaluated without a network of their own; the evaluator opens no connection in any case"},
		{Name: "fanotify", Problem: say(canFanotify()), Without: "drift of files is corrected, and not told by whom"},
	}
}

func canOpenat2() error {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func canNFT() error {
	// A connection belongs to the network namespace of its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	conn, err := dialNFT(nil)
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseLasting() }()
	if _, err := conn.ListTables(); err != nil {
		return nftError("list tables", err)
	}
	return nil
}

// canIsolate starts a program with a network of its own, as the evaluator is.
func canIsolate(ctx context.Context) error {
	path, err := lookPath("true")
	if err != nil {
		return err
	}
	cmd := child(path, []string{"true"}, nil)
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := stopWith(ctx, cmd.Process.Pid, time.Second); err != nil {
		return err
	}
	return cmd.Wait()
}

func canFanotify() error {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_REPORT_DFID_NAME, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func clockSynchronised() (bool, error) {
	var t unix.Timex // no modes: it only reads
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return false, fmt.Errorf("ask the clock: %w", err)
	}
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, nil
}

func freeSpace(path string) (bytes, files uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, err
	}
	if st.Files == 0 { // it does not count them
		st.Ffree = 1 << 30
	}
	return st.Bavail * uint64(st.Bsize), st.Ffree, nil
}

func packageLock() string { return holder(frontendLock, dpkgLock, archivesLock, listsLock) }

func privateFolder(path string) error {
	if err := Owned(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%q is not a folder: %w", path, ErrNotOwned)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%q may be read by others (mode %04o): %w", path, info.Mode().Perm(), ErrNotOwned)
	}
	return nil
}

func systemdIsThere() bool { return systemdRuns() }
