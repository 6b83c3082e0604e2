package host

import "runtime/debug"

// GiveBack hands to the kernel what this process needs no longer: what it has freed, and those pages of its own program
// that only its start needed. They are read again, from the page cache, when they are needed after all.
func GiveBack() {
	debug.FreeOSMemory()
	dropProgram()
}
