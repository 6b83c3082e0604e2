package inventory

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxStamped bounds how many files a stamp looks at.
const maxStamped = 20_000

// ErrNoStamp says that the host reads more than a stamp can see, such as files that its configuration includes
// from elsewhere; then nothing may be taken from an earlier look.
var ErrNoStamp = errors.New("the host's package configuration is spread too far to be stamped")

// Stamp names the state of everything that ReadFacts reads, from metadata alone: inode, size, time of change. Equal
// stamps give equal facts, but for the instant. It costs a fraction of a millisecond.
func Stamp(root string) (string, error) {
	t := newTree(root)
	conf, err := readAptConf(t)
	if err != nil {
		return "", err
	}
	if conf.included {
		return "", ErrNoStamp
	}
	h := sha256.New()
	n := 0
	note := func(path string, info fs.FileInfo) error {
		if n++; n > maxStamped {
			return ErrNoStamp
		}
		ino, ctime := inodeAndChange(info)
		fmt.Fprintf(h, "%q %v %d %d %d %d\n", path, info.Mode(), info.Size(), info.ModTime().UnixNano(), ino, ctime)
		return nil
	}
	walk := func(dir string) error {
		at, err := t.locate(dir)
		if err != nil {
			return err
		}
		return filepath.WalkDir(at, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			// What a link points to may change without the link: its target is looked at.
			info, err := os.Stat(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if d.Type()&fs.ModeSymlink != 0 && info.IsDir() {
				return ErrNoStamp
			}
			return note(path, info)
		})
	}
	for _, key := range [...]string{"Dir::Etc", "Dir::State::lists"} {
		if err := walk(conf.path(key)); err != nil {
			return "", fmt.Errorf("stamp packages: %w", err)
		}
	}
	for _, key := range [...]string{"Dir::Etc::main", "Dir::Etc::parts", "Dir::Etc::sourcelist", "Dir::Etc::sourceparts", "Dir::Etc::preferences", "Dir::Etc::preferencesparts"} {
		if rel, err := filepath.Rel(conf.path("Dir::Etc"), conf.path(key)); err != nil || !filepath.IsLocal(rel) {
			return "", ErrNoStamp
		}
	}
	for _, path := range [...]string{
		"/var/lib/dpkg/status", "/var/lib/dpkg/arch", "/etc/os-release", "/usr/lib/os-release", "/etc/machine-id",
		"/run/reboot-required", "/run/reboot-required.pkgs",
	} {
		at, err := t.locate(path)
		if err != nil {
			return "", err
		}
		info, err := os.Stat(at)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(h, "%q absent\n", path)
			continue
		}
		if err != nil {
			return "", fmt.Errorf("stamp packages: %w", err)
		}
		if err := note(path, info); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
