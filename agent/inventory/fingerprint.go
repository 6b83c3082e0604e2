package inventory

import (
	"encoding/binary"
	"errors"
	"hash"
	"hash/fnv"
	"io/fs"
	"os"
	"path"
)

// Inputs tells cheaply whether ReadPatches could give something new. It
// belongs to one goroutine.
type Inputs struct {
	t     tree
	conf  *aptConf
	print uint64 // of apt's configuration when conf was read
}

// NewInputs watches the host below root; "" is "/".
func NewInputs(root string) *Inputs { return &Inputs{t: newTree(root)} }

// Fingerprint changes when dpkg's status, apt's lists, sources, preferences or
// configuration change. It looks at names, sizes, times and inodes only. Equal
// prints mean equal patches; the reboot flag and os-release are not in it.
func (in *Inputs) Fingerprint() (uint64, error) {
	h := fnv.New64a()
	if err := in.dir(h, "/etc/apt/apt.conf.d"); err != nil {
		return 0, err
	}
	if err := in.file(h, "/etc/apt/apt.conf"); err != nil {
		return 0, err
	}
	if sum := h.Sum64(); in.conf == nil || sum != in.print {
		conf, err := readAptConf(in.t)
		if err != nil {
			return 0, err
		}
		in.conf, in.print = conf, sum
	}
	// apt and dpkg put files in place by renaming, which changes the folder's
	// time; people edit files of the configuration in place.
	for _, p := range [...]string{StatusPath, archPath, "/etc/machine-id", in.conf.path("Dir::State::lists"),
		in.conf.path("Dir::Etc::sourcelist"), in.conf.path("Dir::Etc::preferences")} {
		if err := in.file(h, p); err != nil {
			return 0, err
		}
	}
	for _, p := range [...]string{in.conf.path("Dir::Etc::sourceparts"), in.conf.path("Dir::Etc::preferencesparts")} {
		if err := in.dir(h, p); err != nil {
			return 0, err
		}
	}
	return h.Sum64(), nil
}

func (in *Inputs) dir(h hash.Hash64, dir string) error {
	names, err := in.t.names(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := in.file(h, path.Join(dir, n)); err != nil {
			return err
		}
	}
	return nil
}

func (in *Inputs) file(h hash.Hash64, p string) error {
	real, err := in.t.locate(p)
	if err != nil {
		return &InputError{Path: p, Err: err}
	}
	var b [25]byte
	st, err := os.Stat(real)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		b[24] = 1
	case err != nil:
		return &InputError{Path: p, Err: cause(err)}
	default:
		binary.LittleEndian.PutUint64(b[:], uint64(st.Size()))
		binary.LittleEndian.PutUint64(b[8:], uint64(st.ModTime().UnixNano()))
		binary.LittleEndian.PutUint64(b[16:], inode(st))
	}
	h.Write([]byte(p)) // a hash never fails to write
	h.Write(b[:])
	return nil
}
