package host

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// LockedError says who else works with the state folder.
type LockedError struct{ Path, Holder string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("state folder is in use by %s (lock %q)", e.Holder, e.Path)
}

// Lock takes the one lock of a state folder, or fails with a *LockedError that names its holder. who is what others
// are told. The lock ends with unlock or with the process, however that ends; the file stays.
func Lock(path, who string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %q: %w", path, err)
		}
		b := make([]byte, holderSize)
		n, _ := f.ReadAt(b, 0)
		holder := strings.TrimSpace(string(b[:n]))
		if holder == "" {
			holder = "another program"
		}
		return nil, &LockedError{Path: path, Holder: holder}
	}
	// What the file says is for people; the lock is the kernel's. It always has the same size: a file that was cut
	// and is closed is written to disk by some file systems at once, and the next one who cuts it waits for that.
	text := fmt.Sprintf("%s (pid %d)", who, os.Getpid())
	_, _ = f.WriteAt(fmt.Appendf(nil, "%-*.*s\n", holderSize-1, holderSize-1, text), 0)
	return func() { _ = f.Close() }, nil
}

// holderSize is how much of a lock file says who holds it, in bytes.
const holderSize = 128
