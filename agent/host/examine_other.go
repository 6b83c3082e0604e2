//go:build !linux

package host

import (
	"context"
	"errors"
	"fmt"
)

func features(context.Context) []Feature { return nil }

func clockSynchronised() (bool, error) {
	return false, fmt.Errorf("ask the clock: %w", errors.ErrUnsupported)
}

func freeSpace(path string) (bytes, files uint64, err error) {
	return 0, 0, fmt.Errorf("ask for the room in %q: %w", path, errors.ErrUnsupported)
}

func packageLock() string { return "" }

func privateFolder(path string) error { return Private(path) }

func systemdIsThere() bool { return false }
