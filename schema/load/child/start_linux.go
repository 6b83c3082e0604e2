package child

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// start starts a command in a process group and, where allowed, a network namespace of its own.
// The child is killed with its group when its context ends, and by the kernel when this process dies.
// It inherits no file but the three.
func start(command func() *exec.Cmd) (*exec.Cmd, error) {
	// Go closes on exec what Go has opened; what this program was given open would be the child's too. Linux before
	// 5.11 has no such call, and a service of systemd's is given nothing.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	try := func(namespaces bool) (*exec.Cmd, error) {
		cmd := command()
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if namespaces {
			isolate(cmd.SysProcAttr)
		}
		cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
		return cmd, cmd.Start()
	}
	cmd, err := try(true)
	if notAllowed(err) {
		// No namespaces here: without one then. The evaluation has no code that opens a connection.
		return try(false)
	}
	return cmd, err
}

// Program is what runs, also where an upgrade has put another program at its place: that one may answer in another form.
func Program() (string, error) {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self, nil
	}
	return os.Executable()
}

func isolate(attr *syscall.SysProcAttr) {
	attr.Cloneflags = syscall.CLONE_NEWNET
	if uid := os.Geteuid(); uid != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	}
}

// notAllowed reports whether a namespace is what an error is of: by the kernel's settings, a filter of system calls, or a /proc that
// is read-only, so that nobody can be mapped.
func notAllowed(err error) bool {
	for _, e := range []syscall.Errno{syscall.EPERM, syscall.ENOSPC, syscall.EINVAL, syscall.EUSERS, syscall.EACCES, syscall.EROFS, syscall.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Limit is what the child does first: it sets itself limits that it cannot lift again.
func Limit() error {
	debug.SetMemoryLimit(maxHeap)
	debug.SetMaxStack(64 << 20)
	set := func(what int, soft, hard uint64) error {
		return unix.Setrlimit(what, &unix.Rlimit{Cur: soft, Max: hard})
	}
	if err := set(unix.RLIMIT_DATA, maxData, maxData); err != nil {
		return err
	}
	if err := set(unix.RLIMIT_CPU, maxCPU, maxCPU+1); err != nil {
		return err
	}
	if err := set(unix.RLIMIT_CORE, 0, 0); err != nil {
		return err
	}
	return set(unix.RLIMIT_FSIZE, 0, 0)
}

func killedByCPU(s *os.ProcessState) bool {
	w, ok := s.Sys().(syscall.WaitStatus)
	return ok && w.Signaled() && w.Signal() == syscall.SIGXCPU
}
