package inventory

import (
	"io/fs"
	"syscall"
)

// inodeAndChange are what a program cannot set back, unlike the time of modification.
func inodeAndChange(info fs.FileInfo) (inode uint64, changed int64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return st.Ino, st.Ctim.Nano()
}
