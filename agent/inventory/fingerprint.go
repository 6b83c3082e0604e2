package inventory

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path"
)

// Fingerprint tells cheaply whether ReadPatches could give something new: it
// changes when dpkg's status, apt's lists, sources, preferences or
// configuration change. It looks at names, sizes and times only. Equal prints
// of one boot mean equal facts, but for the reboot flag and os-release.
func Fingerprint(root string) (uint64, error) {
	t := newTree(root)
	h := fnv.New64a()
	note := func(p string) error {
		real, err := t.locate(p)
		if err != nil {
			return &InputError{Path: p, Err: err}
		}
		st, err := os.Stat(real)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(h, "%s -\n", p)
			return nil
		}
		if err != nil {
			return &InputError{Path: p, Err: cause(err)}
		}
		fmt.Fprintf(h, "%s %d %d %d\n", p, st.Size(), st.ModTime().UnixNano(), inode(st))
		return nil
	}
	conf, err := readAptConf(t)
	if err != nil {
		return 0, err
	}
	// apt and dpkg put files in place by renaming, which changes the folder's
	// time; people edit files of the configuration in place.
	for _, p := range []string{StatusPath, archPath, "/etc/machine-id", conf.path("Dir::State::lists"), conf.path("Dir::Etc::sourcelist"),
		conf.path("Dir::Etc::preferences"), conf.path("Dir::Etc::main")} {
		if err := note(p); err != nil {
			return 0, err
		}
	}
	for _, dir := range []string{conf.path("Dir::Etc::sourceparts"), conf.path("Dir::Etc::preferencesparts"), conf.path("Dir::Etc::parts")} {
		names, err := t.names(dir)
		if err != nil {
			return 0, err
		}
		for _, n := range names {
			if err := note(path.Join(dir, n)); err != nil {
				return 0, err
			}
		}
	}
	return h.Sum64(), nil
}
