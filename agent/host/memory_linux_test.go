package host

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// residentFile is RssFile of this process in KiB.
func residentFile(t *testing.T) int {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "RssFile:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAProgramGoesOnWithoutItsPages(t *testing.T) {
	words := map[string]int{"one": 1}
	before := residentFile(t)
	GiveBack()
	after := residentFile(t)
	if words["one"] != 1 || strings.ToUpper("goes on") != "GOES ON" {
		t.Error("something was lost")
	}
	if after >= before {
		t.Errorf("%d KiB of files are resident, were %d", after, before)
	}
}
