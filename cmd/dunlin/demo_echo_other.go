//go:build !linux

package main

import "os"

func silence(*os.File) (restore func()) { return func() {} }
