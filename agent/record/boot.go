package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/agent/durable"
)

// NextBoot counts a start in the state folder and gives its number, from 1. It fails where the number cannot be
// made durable, and for a file that holds no number: to begin again at 1 would hide everything this node says.
func NextBoot(dir string) (uint64, error) {
	path := filepath.Join(dir, "boot")
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("count this start: %w", err)
	}
	last := uint64(0)
	if err == nil {
		last, err = strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
		if err != nil || last >= maxBoot {
			return 0, fmt.Errorf("count this start: %q holds no number of starts; remove it, and this node rises above what others remember of it", path)
		}
	}
	return last + 1, SetBoot(dir, last+1)
}

// SetBoot makes a boot durable: the next start is above it.
func SetBoot(dir string, boot uint64) error {
	if err := durable.Write(filepath.Join(dir, "boot"), fmt.Appendf(nil, "%d\n", boot)); err != nil {
		return fmt.Errorf("count this start: %w", err)
	}
	return nil
}
