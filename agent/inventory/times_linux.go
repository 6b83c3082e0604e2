package inventory

import (
	"time"

	"golang.org/x/sys/unix"
)

// times finds when packages were unpacked: the modification time of their lists
// of files. It asks for one after the other beside whoever reads the status file.
type times struct {
	dir   int // of the lists; negative if there is none
	next  chan []Package
	found chan []time.Time
}

// newTimes starts a goroutine, which all ends.
func newTimes(t tree) (*times, error) {
	real, err := t.locate(infoPath)
	if err != nil {
		return nil, &InputError{Path: infoPath, Err: err}
	}
	dir, err := unix.Open(real, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil && err != unix.ENOENT {
		return nil, &InputError{Path: infoPath, Err: err}
	}
	x := &times{dir: dir, next: make(chan []Package, 64), found: make(chan []time.Time)}
	go func() {
		var out []time.Time
		for pkgs := range x.next {
			for i := range pkgs {
				out = append(out, x.of(&pkgs[i]))
			}
		}
		if dir >= 0 {
			_ = unix.Close(dir)
		}
		x.found <- out
	}()
	return x, nil
}

// add hands over packages; they must not change any more.
func (x *times) add(pkgs []Package) { x.next <- pkgs }

// all gives the times of the packages that were added, in their order; it must be called once. Zero is unknown.
func (x *times) all() []time.Time {
	close(x.next)
	return <-x.found
}

func (x *times) of(p *Package) time.Time {
	if x.dir < 0 {
		return time.Time{}
	}
	// dpkg names the list by the architecture too where several may be installed; the others are of older versions.
	name, other := p.Name+".list", p.Name+":"+p.Arch+".list"
	if p.CoInstalled {
		name, other = other, name
	}
	var st unix.Stat_t
	if unix.Fstatat(x.dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil && unix.Fstatat(x.dir, other, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return time.Time{}
	}
	return time.Unix(st.Mtim.Sec, 0)
}
