package host

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// dropProgram unmaps the pages of this program's file that nobody can write and nobody has written (madvise(2),
// MADV_DONTNEED): they are as the file has them.
func dropProgram() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	// Each mapping is a line "00400000-00f41000 r-xp 00000000 fe:00 10314951  /usr/bin/dunlin", then lines "Rss:  10624 kB".
	var start, end uint64
	written := 2 // of two numbers that must both be there and be none
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) > 4 && !strings.HasSuffix(fields[0], ":"):
			from, to, _ := strings.Cut(fields[0], "-")
			var err1, err2 error
			start, err1 = strconv.ParseUint(from, 16, 64)
			end, err2 = strconv.ParseUint(to, 16, 64)
			ours := strings.HasSuffix(lines.Text(), " "+program) && (fields[1] == "r--p" || fields[1] == "r-xp")
			written = 2
			if err1 != nil || err2 != nil || !ours {
				end = 0
			}
		case len(fields) == 3 && (fields[0] == "Anonymous:" || fields[0] == "Swap:") && fields[1] == "0":
			if written--; written == 0 && end > start {
				_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
			}
		}
	}
}
