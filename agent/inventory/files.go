package inventory

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// tree is a host's file system below a folder. Paths are the host's own,
// absolute and with slashes; links are followed as the host would.
type tree struct{ root string }

func newTree(root string) tree {
	if root == "" {
		root = "/"
	}
	return tree{root: filepath.Clean(root)}
}

func (t tree) native() bool { return t.root == "/" }

// locate turns a host's path into one of this machine. In a foreign root every
// link is resolved by hand, so that an absolute one stays below the root.
func (t tree) locate(p string) (string, error) {
	if t.native() {
		return p, nil
	}
	rest := strings.Split(strings.Trim(path.Clean("/"+p), "/"), "/")
	at := "/"
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, name)
		target, err := os.Readlink(filepath.Join(t.root, filepath.FromSlash(next)))
		if err != nil { // not a link, or not there: the caller finds out
			at = next
			continue
		}
		if links++; links > 40 {
			return "", fmt.Errorf("too many links in %q", p)
		}
		if strings.HasPrefix(target, "/") {
			at = "/"
		}
		rest = append(strings.Split(strings.Trim(target, "/"), "/"), rest...)
	}
	return filepath.Join(t.root, filepath.FromSlash(at)), nil
}

var errNotRegular = errors.New("not a regular file")

// open opens a regular file for reading and gives its size. A pipe or device
// is refused without waiting for it.
func (t tree) open(p string) (*os.File, int64, error) {
	real, err := t.locate(p)
	if err != nil {
		return nil, 0, &InputError{Path: p, Err: err}
	}
	f, err := openNonblock(real)
	if err != nil {
		return nil, 0, &InputError{Path: p, Err: cause(err)}
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, 0, &InputError{Path: p, Err: cause(err)}
	}
	return f, st.Size(), nil
}

// read reads a whole file of at most limit bytes.
func (t tree) read(p string, limit int64) ([]byte, error) {
	f, size, err := t.open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, &InputError{Path: p, Err: fmt.Errorf("%d bytes, more than the %d that are read", size, limit)}
	}
	// Files in /proc say size 0, so the limit is held while reading, too.
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	if err != nil {
		return nil, &InputError{Path: p, Err: cause(err)}
	}
	return b, nil
}

// exists reports whether a file or folder is there.
func (t tree) exists(p string) bool {
	real, err := t.locate(p)
	if err != nil {
		return false
	}
	_, err = os.Stat(real)
	return err == nil
}

// names lists a folder in byte order, as apt sorts it. A missing folder is empty.
func (t tree) names(p string) ([]string, error) {
	real, err := t.locate(p)
	if err != nil {
		return nil, &InputError{Path: p, Err: err}
	}
	d, err := os.Open(real)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &InputError{Path: p, Err: cause(err)}
	}
	defer d.Close()
	names, err := d.Readdirnames(maxDirEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, &InputError{Path: p, Err: cause(err)}
	}
	if len(names) > maxDirEntries {
		return nil, &InputError{Path: p, Err: fmt.Errorf("more than %d files", maxDirEntries)}
	}
	slices.Sort(names)
	return names, nil
}

// parts lists the files of a configuration folder that apt reads: extensions
// as given, "" for none, and only letters, digits and -_.: in the name.
func (t tree) parts(dir string, ext ...string) ([]string, error) {
	names, err := t.names(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		e := ""
		if i := strings.LastIndexByte(n, '.'); i >= 0 {
			e = n[i+1:]
		}
		if n[0] == '.' || n[len(n)-1] == '.' || !slices.Contains(ext, e) || strings.ContainsFunc(n, badPartRune) {
			continue
		}
		p := path.Join(dir, n)
		if real, err := t.locate(p); err == nil {
			if st, err := os.Stat(real); err == nil && st.Mode().IsRegular() {
				out = append(out, p)
			}
		}
	}
	return out, nil
}

func badPartRune(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-:.", r))
}

// cause drops the path of this machine from an error of package os.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
