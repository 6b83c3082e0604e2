//go:build !windows

package host

import (
	"errors"
	"syscall"
)

// DiskFull reports whether an error is for want of room on this host.
func DiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
