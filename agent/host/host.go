// Package host is the one place that touches an operating system: it reads and
// writes managed files, kernel parameters and accounts, speaks to the kernel
// and to the service manager, and starts every child process.
//
// There are two of everything. System is the machine the program runs on, one
// implementation for each operating system, where another has none its methods
// return errors that wrap errors.ErrUnsupported. Simulated is a folder that
// plays a host, for the demo and for tests of whole fleets. The resource kinds
// of package reconciler declare what they need of a host as small interfaces;
// both types satisfy them, and one conformance suite (reconciler/kind/kindtest)
// runs against both.
//
// Nothing here decides. What should be comes from the caller, which has it from
// a verified commit; it is checked again all the same, because this code runs
// as root.
package host

import (
	"fmt"
	"io/fs"
)

// System is the operating system that the program runs on.
type System struct {
	// Root is put before every path, for a host mounted below a folder; empty means "/".
	// Links in Root itself are followed, links below it never.
	Root string

	// own are the sockets from which the firewall is changed; nil remembers none.
	own *ownSockets
	// stepwise leaves openat2 alone, as a kernel without it would.
	stepwise bool
	// step, where set, is called with a word before every system call that changes
	// something, so that a test can die there.
	step func(what string)
}

// at calls the hook of a test.
func (s System) at(what string) {
	if s.step != nil {
		s.step(what)
	}
}

// noParentError is fs.ErrNotExist for a folder in which a managed file is to be, and says so once.
type noParentError string

func (e noParentError) Error() string {
	return fmt.Sprintf("parent %q does not exist (parents of managed files are not made)", string(e))
}

func (noParentError) Is(target error) bool { return target == fs.ErrNotExist }
