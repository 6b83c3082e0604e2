//go:build !linux

package child

import (
	"os"
	"os/exec"
	"runtime/debug"
)

// start has the wall clock for its only limit from outside.
func start(command func() *exec.Cmd) (*exec.Cmd, error) {
	cmd := command()
	return cmd, cmd.Start()
}

// Program is what runs.
func Program() (string, error) { return os.Executable() }

// Limit has no limit of the system to set; the collector's is one that can be exceeded.
func Limit() error {
	debug.SetMemoryLimit(maxHeap)
	debug.SetMaxStack(64 << 20)
	return nil
}

func killedByCPU(*os.ProcessState) bool { return false }
