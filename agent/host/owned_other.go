//go:build !linux

package host

import (
	"errors"
	"fmt"
	"os"
)

// Owned is known on Linux only.
func Owned(path string) error {
	return fmt.Errorf("ask who may write %q: %w", path, errors.ErrUnsupported)
}

// Private is known on Linux only.
func Private(path string) error {
	return fmt.Errorf("ask who may read %q: %w", path, errors.ErrUnsupported)
}

// StateFolder makes the folder; who may look into it is known on Linux only.
func StateFolder(path, _ string) error { return os.MkdirAll(path, 0o700) }
