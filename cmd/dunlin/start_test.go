package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Every start of the program pays for what its packages make before main: one pattern with a repetition may cost more
// than all else. Bytes are counted and not time, so that a busy machine changes nothing.
func TestPackagesMakeLittleBeforeMain(t *testing.T) {
	const most = 16 << 10
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	total := 0
	var ours []string
	for line := range strings.Lines(string(out)) {
		var name string
		var at, clock float64
		var bytes, allocs int
		if n, _ := fmt.Sscanf(line, "init %s @%f ms, %f ms clock, %d bytes, %d allocs", &name, &at, &clock, &bytes, &allocs); n == 5 && strings.HasPrefix(name, "github.com/dunlin-dev/dunlin/") {
			total += bytes
			ours = append(ours, fmt.Sprintf("%s: %d bytes in %d pieces", name, bytes, allocs))
		}
	}
	if len(ours) == 0 || total > most {
		t.Errorf("%d bytes are allocated before main, want some and at most %d: make it when it is needed (sync.OnceValue)\n%s", total, most, strings.Join(ours, "\n"))
	}
}
