package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/schema"
)

// openSysctl opens a parameter below Root/proc/sys. No links are followed.
func (s System) openSysctl(key string, flags int) (int, error) {
	rel, err := schema.SysctlPath(key)
	if err != nil {
		return -1, err
	}
	dir, base, err := splitPath("/proc/sys/" + rel)
	if err != nil {
		return -1, err
	}
	folder, err := s.openFolder(dir, unix.O_PATH)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, fs.ErrNotExist // the words about parents are for files
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(folder)
	if _, err := lookAt(folder, base); err != nil {
		return -1, err
	}
	return unix.Openat(folder, base, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
}

// ReadSysctl gives the value of a kernel parameter as the kernel writes it, without the final newline. The error
// wraps fs.ErrNotExist if there is no such parameter.
func (s System) ReadSysctl(key string) (string, error) {
	fd, err := s.openSysctl(key, unix.O_RDONLY)
	if errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("cannot be read, so that it cannot be kept: %w", err)
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, 64<<10)
	n := 0
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("read: %w", err)
		}
		if m == 0 {
			break
		}
		n += m
	}
	return strings.TrimRight(string(buf[:n]), "\n"), nil
}

// WriteSysctl sets a kernel parameter.
func (s System) WriteSysctl(key, value string) error {
	s.at("sysctl")
	fd, err := s.openSysctl(key, unix.O_WRONLY)
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("kernel parameters cannot be written here (a container with a read-only /proc/sys, a read-only parameter, or not root?): %w", err)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// One write: the kernel parses each on its own.
	n, err := unix.Write(fd, []byte(value+"\n"))
	switch {
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE):
		return fmt.Errorf("the kernel does not take the value %q: %w", value, err)
	case err != nil:
		return fmt.Errorf("write %q: %w", value, err)
	case n < len(value):
		return fmt.Errorf("the kernel took only %d bytes of the value %q", n, value)
	}
	return nil
}

// BootSysctls gives the lines of our file in sysctl.d; none if there is no file.
func (s System) BootSysctls() (map[string]string, error) {
	b, err := readBounded(s.Root+bootFile, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseBoot(b), nil
}

// SetBootSysctls replaces our file in sysctl.d, and makes the folder where it is missing. Without lines the file goes.
func (s System) SetBootSysctls(lines map[string]string) error {
	if len(lines) == 0 {
		return s.RemoveFile(context.Background(), bootFile)
	}
	b, err := formatBoot(lines)
	if err != nil {
		return err
	}
	if etc, err := s.openFolder("/etc", unix.O_PATH); err == nil {
		unix.Mkdirat(etc, "sysctl.d", 0o755) // there already, mostly; what is wrong WriteFile tells
		unix.Close(etc)
	}
	err = s.WriteFile(context.Background(), bootFile, schema.File{State: schema.Present, Mode: "0644", Owner: "0", Group: "0"}, b)
	if err != nil {
		return fmt.Errorf("write %q: %w", bootFile, err)
	}
	return nil
}
