package secret

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Guard keeps this process from leaving its memory anywhere: it dumps no core, and no other process of the same user may
// trace it or read its memory. It lasts until the process ends. Programs that it starts dump cores as ever: limits are
// inherited, by services too that a maintainer script starts, so that none is set.
func Guard() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keep memory out of dumps: %w", err)
	}
	return nil
}
