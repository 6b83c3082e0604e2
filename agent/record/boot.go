package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
	f, err := os.CreateTemp(dir, ".boot-*")
	if err != nil {
		return fmt.Errorf("count this start: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = fmt.Fprintf(f, "%d\n", boot)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, "boot"))
	}
	if err == nil {
		err = syncFolder(dir)
	}
	if err != nil {
		return fmt.Errorf("count this start: %w", err)
	}
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, fs.ErrPermission) {
		err = nil // a system whose folders cannot be synced
	}
	return errors.Join(err, d.Close())
}
