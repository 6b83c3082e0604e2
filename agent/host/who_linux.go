package host

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema/safe"
)

// processText names a process for people: "nft (pid 123 of cron.service)". thread is any of its threads. Without the
// right to look further, or where it has ended, there is less of it; with look false thread means nothing here.
func processText(name string, thread int, look bool) string {
	name = printable(name)
	if name == "" && thread <= 0 {
		return ""
	}
	if !look || thread <= 0 {
		return name
	}
	pid, unit := thread, ""
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread)); err == nil {
		for l := range bytes.Lines(b) {
			if v, ok := bytes.CutPrefix(l, []byte("Tgid:")); ok {
				if n, err := strconv.Atoi(string(bytes.TrimSpace(v))); err == nil {
					pid = n
				}
			}
		}
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", thread)); err == nil {
		unit = unitOfGroup(string(b))
	}
	text := fmt.Sprintf("pid %d", pid)
	if unit != "" {
		text += " of " + unit
	}
	if name == "" {
		return text
	}
	return name + " (" + text + ")"
}

// unitOfGroup is the unit in the text of /proc/PID/cgroup: the innermost service or scope of a path. Empty where there is none.
func unitOfGroup(text string) string {
	for l := range strings.Lines(text) {
		_, rest, _ := strings.Cut(strings.TrimSpace(l), ":")
		controllers, at, _ := strings.Cut(rest, ":")
		if controllers != "" && controllers != "name=systemd" {
			continue
		}
		for ; at != "/" && at != "." && at != ""; at = path.Dir(at) {
			if base := path.Base(at); strings.HasSuffix(base, ".service") || strings.HasSuffix(base, ".scope") {
				return printable(base)
			}
		}
	}
	return ""
}

// initialNamespace is the kernel's number of the first namespace of processes (PROC_PID_INIT_INO).
const initialNamespace = "pid:[4026531836]"

// initialProcesses reports whether this program sees the processes of the whole machine by the kernel's own numbers.
func initialProcesses() bool {
	to, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && to == initialNamespace
}

// printable is text of another program, fit for a line.
func printable(s string) string { return safe.Words(s, 64) }
