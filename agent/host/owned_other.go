//go:build !linux

package host

import (
	"errors"
	"fmt"
)

// Owned is known on Linux only.
func Owned(path string) error {
	return fmt.Errorf("ask who may write %q: %w", path, errors.ErrUnsupported)
}

// Private is known on Linux only.
func Private(path string) error {
	return fmt.Errorf("ask who may read %q: %w", path, errors.ErrUnsupported)
}
