//go:build !linux

package load

import (
	"os"
	"os/exec"
	"runtime/debug"
)

// startChild has the wall clock for its only limit from outside.
func startChild(command func() *exec.Cmd) (*exec.Cmd, error) {
	cmd := command()
	return cmd, cmd.Start()
}

func thisProgram() (string, error) { return os.Executable() }

// limitSelf has no limit of the system to set; the collector's is one that can be exceeded.
func limitSelf() error {
	debug.SetMemoryLimit(childHeap)
	debug.SetMaxStack(64 << 20)
	return nil
}

func killedByCPU(*os.ProcessState) bool { return false }
