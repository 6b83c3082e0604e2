//go:build !linux

package gitrepo

func isReadOnly(error) bool { return false }
