//go:build !linux

package host

import (
	"errors"
	"fmt"
)

// LockedError says who else works with the state folder.
type LockedError struct{ Path, Holder string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("state folder is in use by %s (lock %q)", e.Holder, e.Path)
}

// Lock is not there on this system.
func Lock(path, _ string) (unlock func(), err error) {
	return nil, fmt.Errorf("lock %q: %w", path, errors.ErrUnsupported)
}
