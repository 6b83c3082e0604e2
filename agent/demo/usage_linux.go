package demo

import "golang.org/x/sys/unix"

// usage is what this process used, and the evaluators that it started.
func usage() Usage {
	var self, children unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &self) != nil || unix.Getrusage(unix.RUSAGE_CHILDREN, &children) != nil {
		return Usage{}
	}
	var cpu float64
	for _, t := range []unix.Timeval{self.Utime, self.Stime, children.Utime, children.Stime} {
		cpu += float64(t.Nano()) / 1e9
	}
	return Usage{PeakMiB: float64(self.Maxrss / 1024), CPUSeconds: float64(int(cpu*10)) / 10}
}
