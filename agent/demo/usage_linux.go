package demo

import "golang.org/x/sys/unix"

// usage is what this process used, and the evaluators that it started.
func usage() Usage {
	var self, children unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &self) != nil || unix.Getrusage(unix.RUSAGE_CHILDREN, &children) != nil {
		return Usage{}
	}
	own, evaluators := processor(self), processor(children)
	return Usage{PeakMiB: float64(self.Maxrss / 1024), CPUSeconds: tenths(own + evaluators), EvaluatorSeconds: tenths(evaluators)}
}

// processor is the time of it that was used, in seconds.
func processor(r unix.Rusage) float64 { return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9 }

func tenths(f float64) float64 { return float64(int(f*10)) / 10 }
