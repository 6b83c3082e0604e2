//go:build !unix

package gitrepo

const noWait = 0
