package host

import (
	"errors"
	"syscall"
)

// DiskFull reports whether an error is for want of room on this host.
func DiskFull(err error) bool {
	const (
		handleDiskFull = syscall.Errno(39)  // ERROR_HANDLE_DISK_FULL
		full           = syscall.Errno(112) // ERROR_DISK_FULL
	)
	return errors.Is(err, handleDiskFull) || errors.Is(err, full)
}
