//go:build !linux

package demo

func usage() Usage { return Usage{} }
