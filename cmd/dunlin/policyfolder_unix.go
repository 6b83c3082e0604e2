//go:build !windows

package main

import (
	"io/fs"
	"syscall"
)

// keepOwner gives a file that is about to replace old the owner of that, if this user may.
func (p *policyFolder) keepOwner(name string, old fs.FileInfo) {
	if s, ok := old.Sys().(*syscall.Stat_t); ok {
		_ = p.root.Lchown(name, int(s.Uid), int(s.Gid)) // who may not is the owner already, or could not keep it
	}
}
