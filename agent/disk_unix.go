//go:build !windows

package agent

import (
	"errors"
	"syscall"
)

// diskFull reports whether an error is for want of room on this host.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
