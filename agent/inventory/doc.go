// Package inventory says what a host is and has: the packages that dpkg knows,
// the versions that apt could install, and SSM's inventory types.
//
// Everything is read from files, below a root folder given as a value; no
// package manager is run. What apt would choose is computed from the same
// inputs that apt reads (its sources, Release files, lists, preferences and
// configuration) by the rules of apt_preferences(5), so that a choice here
// equals that of `apt-cache policy`.
//
// All input is hostile until checked: files are read through windows of fixed
// size, lines, stanzas and values are bounded, and whatever cannot be
// understood is an error that names the file.
package inventory

import (
	"errors"
	"fmt"
)

// Limits of what is read. A file beyond them is an error, never a slow host.
const (
	windowSize    = 1 << 20   // bytes of a list or the status file in memory at a time, a worker
	maxValue      = 4 << 10   // bytes of one kept value; longer texts are cut, longer names are errors
	maxPackages   = 200_000   // stanzas of the status file
	maxEntries    = 1_000_000 // versions found in all lists
	maxStatusSize = 512 << 20 // bytes of the status file
	maxListSize   = 4 << 30   // bytes of one list, unpacked
	maxConfigSize = 1 << 20   // bytes of one configuration, sources or preferences file
	maxRelease    = 16 << 20  // bytes of one Release file
	maxDirEntries = 4096      // files of one configuration folder
)

// InputError is a file of the host that cannot be used. Hint says what to do.
type InputError struct {
	Path string // as on the host, without the root folder
	Line int    // from 1; 0 if the whole file is meant
	Hint string // a remedy, or empty
	Err  error
}

func (e *InputError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("read %q line %d: %v", e.Path, e.Line, e.Err)
	}
	return fmt.Sprintf("read %q: %v", e.Path, e.Err)
}

func (e *InputError) Unwrap() error { return e.Err }

// Hint gives the remedy of the first InputError within err that has one, or "".
func Hint(err error) string {
	var in *InputError
	if errors.As(err, &in) {
		return in.Hint
	}
	return ""
}

const (
	hintUpdate = "run apt-get update"
	hintStatus = "compare with /var/lib/dpkg/status-old and /var/backups/dpkg.status.0; restore the newest whole one"
)
