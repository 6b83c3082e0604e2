package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reapWait is how long a killed child may take to go before it is left behind.
const reapWait = 10 * time.Second

func run(ctx context.Context, c Command) (Output, error) {
	out := Output{ExitCode: -1}
	path, err := lookPath(c.Path)
	if err != nil {
		return out, err
	}
	stdout, stderr := tail{watch: c.Watch}, tail{}
	cmd := child(path, append([]string{c.Path}, c.Args...), c.Env)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = c.Dir, &stdout, &stderr, c.Grace
	if c.Stdin != nil {
		cmd.Stdin = bytes.NewReader(c.Stdin)
	}
	if err := cmd.Start(); err != nil {
		return out, fmt.Errorf("run %q: %w", c.Path, err)
	}
	stopped := stopWith(ctx, cmd.Process.Pid, c.Grace)
	if errors.Is(stopped, errUnkillable) {
		go cmd.Wait() // nothing else can be done about a child that the kernel does not let go
		return out, fmt.Errorf("run %q: %w", c.Path, stopped)
	}
	err = cmd.Wait()
	out.Stdout, out.Stderr = stdout.bytes(), stderr.bytes()
	out.Truncated = stdout.cut || stderr.cut
	if stopped != nil {
		if errors.Is(stopped, context.DeadlineExceeded) && c.Timeout > 0 {
			return out, fmt.Errorf("run %q: not done after %v, killed: %w", c.Path, c.Timeout, stopped)
		}
		return out, fmt.Errorf("run %q: killed: %w", c.Path, stopped)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() < 0:
		return out, fmt.Errorf("run %q: %s", c.Path, exit.ProcessState)
	case err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay):
		return out, fmt.Errorf("run %q: %w", c.Path, err)
	}
	out.ExitCode = cmd.ProcessState.ExitCode()
	return out, nil
}

// child is every process that this program starts on its host, before it is told what to read and write: in a group of its
// own, in "/", with a fixed search path and nothing of this program's environment, its own additions after that. It
// inherits no file but the three and what ExtraFiles names.
func child(path string, args, env []string) *exec.Cmd {
	keepFiles()
	return &exec.Cmd{
		Path: path, Args: args, Dir: "/", Env: append(cleanEnvironment(), env...),
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
}

// cleanEnvironment is all that a child knows from us. The language is that of the parsers of what it says.
func cleanEnvironment() []string {
	return []string{"PATH=" + searchPath, "LC_ALL=C.UTF-8", "HOME=/root"}
}

// keepFiles sees to it that what this program itself was given open, by a shell or a service manager, ends with it: Go
// closes on exec what Go has opened, and nothing else.
func keepFiles() {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	open, err := os.ReadDir("/proc/self/fd") // before Linux 5.11
	if err != nil {
		return
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

var errUnkillable = errors.New("killed, but the kernel does not let it go")

// stopWith waits until the child has ended, unreaped, and ends its process group with ctx. It returns
// the context's error if it did. As long as the child is unreaped its number names no other group.
func stopWith(ctx context.Context, pid int, grace time.Duration) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	unix.Kill(-pid, unix.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
	unix.Kill(-pid, unix.SIGKILL)
	timer.Reset(reapWait)
	select {
	case <-ended:
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("%w: %w", errUnkillable, ctx.Err())
	}
}

// lookPath finds a program and refuses one that somebody else could have changed.
func lookPath(name string) (string, error) {
	candidates := []string{name}
	if !filepath.IsAbs(name) {
		if strings.Contains(name, "/") {
			return "", fmt.Errorf("run %q: neither a name nor an absolute path", name)
		}
		candidates = nil
		for dir := range strings.SplitSeq(searchPath, ":") {
			candidates = append(candidates, dir+"/"+name)
		}
	}
	for _, path := range candidates {
		real, err := filepath.EvalSymlinks(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("run %q: %w", name, err)
		}
		if err := trusted(real); err != nil {
			return "", fmt.Errorf("run %q: %w", name, err)
		}
		return path, nil
	}
	return "", fmt.Errorf("run %q: %w", name, ErrNoProgram)
}

// trusted refuses a program, or a folder above it, that belongs to somebody else or that others may write.
// In a folder with the sticky bit nobody else can replace an entry of ours.
func trusted(path string) error {
	for p := path; ; p = filepath.Dir(p) {
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			return fmt.Errorf("%q belongs to uid %d, not to root: not run", p, st.Uid)
		}
		if info.Mode().Perm()&0o022 != 0 && !(info.IsDir() && info.Mode()&fs.ModeSticky != 0) && !(info.Mode().Perm()&0o002 == 0 && st.Gid == 0) {
			return fmt.Errorf("%q may be written by others (mode %04o): not run", p, info.Mode().Perm())
		}
		if p == path && (!info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0) {
			return fmt.Errorf("%q is not a program", p)
		}
		if p == filepath.Dir(p) {
			return nil
		}
	}
}
