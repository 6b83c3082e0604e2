//go:build !linux

package host

import "time"

// ServiceManager is known on Linux only: nobody is told.
func ServiceManager() (notify func(state string), watchdog time.Duration) { return nil, 0 }
