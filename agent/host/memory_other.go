//go:build !linux

package host

func dropProgram() {}
