//go:build !linux

package inventory

import (
	"errors"
	"fmt"
)

// installedTimes is for dpkg on Linux only.
func installedTimes(tree, []Package) error {
	return fmt.Errorf("read times of packages: %w", errors.ErrUnsupported)
}
