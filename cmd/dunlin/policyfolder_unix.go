//go:build !windows

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives an open file that is about to replace old the owner of that, if this user may. It is not found by its name: who
// owns the folder could give another file of root's that name, and become its owner.
func keepOwner(f *os.File, old fs.FileInfo) {
	if s, ok := old.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(s.Uid), int(s.Gid)) // who may not is the owner already, or could not keep it
	}
}
